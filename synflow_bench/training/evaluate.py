"""Accuracy and loss of a network."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from synflow_bench.training.data import LoadedSplit
from synflow_bench.training.precision import Precision

BATCH = 1000
NUMBERS = BATCH * 3 * 64 * 64
"""As many inputs' numbers at a time as a thousand images of 64x64 have: larger images come fewer together."""


@dataclass(frozen=True)
class Evaluation:
    """Shares of examples whose label is the first, or among the first five; and the mean loss."""

    top1: float
    top5: float | None
    loss: float


@torch.no_grad()
def evaluate(model: nn.Module, split: LoadedSplit, precision: Precision) -> Evaluation:
    """Evaluate `model` in eval mode; one synchronisation with the device for the whole split."""
    model.eval()
    sums = torch.zeros(3, dtype=precision.sums, device=split.labels.device)
    classes = 0
    for inputs, labels in split.batches(_batch_size(split.shape)):
        with precision.autocast():
            logits = model(precision.laid_out(inputs))
        logits = logits.float()
        classes = logits.shape[1]
        ranked = logits.topk(min(5, classes), dim=1).indices == labels[:, None]
        parts = ranked[:, 0].sum(), ranked.sum(), cross_entropy(logits, labels, reduction="sum")
        sums += torch.stack([part.to(sums.dtype) for part in parts])
    top1, top5, loss = (sums / len(split)).tolist()
    return Evaluation(top1, top5 if classes > 5 else None, loss)


def _batch_size(shape: tuple[int, ...]) -> int:
    return max(1, min(BATCH, NUMBERS // prod(shape)))
