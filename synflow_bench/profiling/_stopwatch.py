"""Nested timers: each has the time that no timer inside it has."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any


class Stopwatch:
    """Seconds and calls by stage. What runs inside a stage and has a stage of its own counts there alone."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._clock = clock
        self._open: list[str] = []
        self._inner = [0.0]

    def timed(
        self, stage: str, function: Callable[..., Any], inside: str | None = None
    ) -> Callable[..., Any]:
        """`function` with its time noted; where `inside` names a stage, only within that one."""

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            if inside is not None and inside not in self._open:
                return function(*args, **kwargs)
            self._open.append(stage)
            self._inner.append(0.0)
            started = self._clock()
            try:
                return function(*args, **kwargs)
            finally:
                self._note(self._clock() - started)

        return run

    def _note(self, seconds: float) -> None:
        stage = self._open.pop()
        self.seconds[stage] += seconds - self._inner.pop()
        self.calls[stage] += 1
        self._inner[-1] += seconds
