"""The output of workers: the first lines of each batch of cells reach stderr, the rest is counted."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

from synflow_bench.errors import printable_lines

MOST_LINES = 100
"""The most lines that are shown of the cells that a worker receives at once."""

MOST_BYTES = 20_000
"""The most bytes of them."""

READY = b"\0the worker is set up\0\n"
"""The line after the output of the imports of plugins, which every worker would repeat."""

_CHUNK = 1 << 16
_READS = 64
"""The reads at a time, so that one worker cannot occupy the run."""
_FLOOD_INTERVAL = 0.05
"""The seconds between two looks at a worker that has printed too much."""


class OutputRelay:
    """Passes on what a worker prints, without control characters and up to a limit.

    What is printed before `READY` appears only if the worker never becomes ready.

    Args:
        descriptor: The descriptor to read from; it does not block.
        title: The code that runs in the worker, for the line that counts what is not shown.

    Attributes:
        has_ended: True if the worker and its children have closed their ends.
        not_before: The time, on the monotonic clock, before which nobody need look again.
    """

    def __init__(self, descriptor: int, title: str) -> None:
        self.descriptor = descriptor
        self._title = title
        self.has_ended = False
        self.not_before = 0.0
        self._before_ready: bytes | None = b""
        self._partial = b""
        self._lines = self._bytes = self._hidden = 0

    def pump(self) -> None:
        """Pass on what there is to read now."""
        for _ in range(_READS):
            try:
                chunk = os.read(self.descriptor, _CHUNK)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            if not chunk:
                self.has_ended = True
                return
            self._take_raw(chunk)
        if self._is_full:
            self.not_before = time.monotonic() + _FLOOD_INTERVAL

    def finish_cells(self) -> None:
        """Pass on an unfinished line, say how many lines were not shown, and begin to count anew."""
        self.pump()
        if self._partial:
            self._take(b"\n")
        if self._hidden:
            _write(f"... {self._hidden} more lines that {self._title} printed are not shown")
        self._lines = self._bytes = self._hidden = 0

    def close(self) -> None:
        """Pass on the rest and stop reading."""
        self.pump()
        before, self._before_ready = self._before_ready, None
        if before:
            self._take(before)
        self.finish_cells()
        os.close(self.descriptor)

    @property
    def _is_full(self) -> bool:
        return self._lines >= MOST_LINES or self._bytes >= MOST_BYTES

    def _take_raw(self, chunk: bytes) -> None:
        if self._before_ready is None:
            self._take(chunk)
            return
        before, ready, after = (self._before_ready + chunk).partition(READY)
        self._before_ready = None if ready else before[-MOST_BYTES:]
        if after:
            self._take(after)

    def _take(self, chunk: bytes) -> None:
        if self._is_full:
            self._hidden += chunk.count(b"\n")
            self._partial = b"" if chunk.endswith(b"\n") else b"."
            return
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        if len(self._partial) > MOST_BYTES:
            lines.append(self._partial)
            self._partial = b""
        shown = []
        for line in lines:
            if self._is_full:
                self._hidden += 1
                continue
            shown.append(line[: MOST_BYTES - self._bytes])
            self._lines, self._bytes = self._lines + 1, self._bytes + len(line)
        if shown:
            _write(printable_lines(b"\n".join(shown).decode(errors="replace")))


def _write(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # nobody reads it any more
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
