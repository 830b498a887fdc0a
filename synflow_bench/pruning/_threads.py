"""The same task for many arrays, on as many threads as torch may use: numpy computes unlocked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def on_threads(task: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`task` of every item, in order."""
    threads = torch.get_num_threads()
    if threads == 1:
        return [task(item) for item in items]
    with ThreadPoolExecutor(threads - 1) as pool:
        others = pool.map(lambda first: [task(item) for item in items[first::threads]], range(1, threads))
        shares = [[task(item) for item in items[::threads]], *others]
    return [shares[place % threads][place // threads] for place in range(len(items))]
