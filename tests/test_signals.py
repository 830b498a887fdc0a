"""Signals that end a run like Ctrl-C."""

from __future__ import annotations

import signal
import threading

import pytest

from synflow_bench import signals
from synflow_bench.signals import ENDING, SignalInterrupt, interrupted_by_signals


@pytest.mark.parametrize("name", ENDING)
def test_a_signal_interrupts_and_is_named_and_its_handler_is_there_again(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(SignalInterrupt, match=f"by {name}"), interrupted_by_signals():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


def test_further_signals_are_ignored_while_the_run_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    with interrupted_by_signals():
        with pytest.raises(SignalInterrupt):
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        monkeypatch.setattr(signals, "QUIET", 0.0)
        with pytest.raises(SignalInterrupt, match="by SIGTERM"):
            signal.raise_signal(signal.SIGTERM)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupted_by_signals():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_leave_the_handlers() -> None:
    seen = []

    def look() -> None:
        with interrupted_by_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]
