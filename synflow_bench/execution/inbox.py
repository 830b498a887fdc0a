"""The messages of a worker, read without waiting for the rest of one."""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator
from multiprocessing.connection import Connection
from typing import Any

MOST_BYTES = 1 << 26
"""The most bytes of a message; a record has far fewer."""

_CHUNK = 1 << 20
_HEADER = 4


class Inbox:
    """Collects what arrives on a connection until it is a whole message.

    `Connection.recv` waits for the rest of a message: for ever, if the worker is stopped while it writes or
    if a plugin writes into the pipe. Meanwhile nothing would look after the other workers.

    Args:
        pipe: The connection; its other end sends with `Connection.send`.

    Attributes:
        has_ended: True if the other end is closed.
        is_broken: True if something other than messages has arrived.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._buffer = bytearray()
        self._arrived = 0
        self.has_ended = self.is_broken = False

    def receive(self) -> Generator[Any]:
        """Read once, and yield the messages that are whole; this waits only if nothing has arrived.

        Messages that are not taken are kept for the next time.
        """
        try:
            chunk = os.read(self._pipe.fileno(), _CHUNK)
        except OSError:
            chunk = b""
        self.has_ended = not chunk
        self._buffer += chunk
        self._arrived += len(chunk)
        while (end := _HEADER + self._size) <= len(self._buffer) and not self.is_broken:
            content = self._buffer[_HEADER:end]
            del self._buffer[:end]
            try:
                message = pickle.loads(content)  # as the page on security says  # noqa: S301  # nosec B301
            except Exception:
                self.is_broken = True
            else:
                yield message
        self.is_broken |= self._size > MOST_BYTES

    @property
    def unfinished(self) -> int:
        """The bytes that have arrived if they end in the middle of a message, else 0."""
        return self._arrived if self._buffer else 0

    @property
    def _size(self) -> int:
        """The bytes of the next message, which `Connection.send` writes before it."""
        return int.from_bytes(self._buffer[:_HEADER], "big") if len(self._buffer) >= _HEADER else 0
