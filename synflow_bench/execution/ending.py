"""The workers that are ending, whose output is still to be passed on."""

from __future__ import annotations

import time
from contextlib import suppress

from synflow_bench.execution.forkserver import ForkServer, WorkerEnded
from synflow_bench.execution.relay import OutputRelay


class EndingWorkers:
    """The output of workers that have been told to end, by the number of the worker."""

    def __init__(self) -> None:
        self._relays: dict[int, OutputRelay] = {}

    def __bool__(self) -> bool:
        """True while some worker has not ended."""
        return bool(self._relays)

    def add(self, number: int, relay: OutputRelay, server: ForkServer, seconds: float) -> None:
        """Let a worker end, within some seconds."""
        self._relays[number] = relay
        server.end(number, seconds)

    def end_now(self, server: ForkServer) -> None:
        """End all of them without waiting for their grace."""
        for number in self._relays:
            server.end(number)

    def remove(self, number: int) -> None:
        """Pass on the rest of the output of a worker that has ended."""
        if relay := self._relays.pop(number, None):
            relay.close()

    def wait(self, server: ForkServer, seconds: float) -> None:
        """Wait until all have ended, for some seconds at most."""
        deadline = time.monotonic() + seconds
        with suppress(EOFError, OSError):  # the server has ended, or was closed before a signal came
            while self._relays and server.channel.poll(max(0.0, deadline - time.monotonic())):
                message = server.receive()
                if isinstance(message, WorkerEnded):
                    self.remove(message.number)

    def close(self) -> None:
        """Stop reading the output of all."""
        while self._relays:
            self._relays.popitem()[1].close()
