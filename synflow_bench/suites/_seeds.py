"""Where every random number of a cell comes from."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

from synflow_bench.suites._cell import Cell

Purpose = Literal["init", "data", "augment", "split", "score", "pruner", "ablation"]

_OF_THE_PRUNER = ("pruner", "ablation")


def seed_of(cell: Cell, purpose: Purpose) -> int:
    """A seed below 2**63 for one purpose of a cell.

    The pruner's name enters only its own draws: at one repetition all pruners share initial weights, data
    order and augmentation, so that their differences are paired. The validation split is the same in all
    repetitions.
    """
    setting = cell.setting
    parts = [setting.root_seed, purpose, setting.dataset]
    if purpose != "split":
        parts += [setting.model.name, cell.seed]
    if purpose in _OF_THE_PRUNER:
        parts.append(cell.pruner.name)
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
