"""Signals that end a run like Ctrl-C: what has finished is kept, and one line says so."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING = ("SIGTERM", "SIGHUP", "SIGUSR1")
"""The signals of batch systems and of a terminal that is closed."""

QUIET = 25.0
"""The seconds after a signal in which further ones are ignored: a batch system sends several, and the run is
saving its cells."""


class SignalInterrupt(KeyboardInterrupt):
    """An interrupt by a signal other than that of Ctrl-C; the message is "by SIGTERM" or the like."""


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Raise `SignalInterrupt` for the signals of `ENDING` in the block.

    A signal that is ignored, as under `nohup`, or that has a handler already, is left as it is.
    """
    numbers = [number for name in ENDING if (number := getattr(signal, name, None)) is not None]
    is_main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    ours = [number for number in numbers if is_main and signal.getsignal(number) is signal.SIG_DFL]
    last: list[float] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if not last or time.monotonic() - last[-1] > QUIET:
            last.append(time.monotonic())
            _interrupt(number)

    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int) -> None:
    name = signal.Signals(number).name
    if name == "SIGHUP":
        _leave_the_terminal()
    raise SignalInterrupt(f"by {name}")


def _leave_the_terminal() -> None:
    """Write to nowhere in place of a terminal that is closed: writing to it is an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            if os.isatty(descriptor):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)
