"""The kept parameters of a stack, close together: an optimizer need not look at the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from synflow_bench.training.stacked._storage import ALIGNMENT, Storage

MOST = 0.5
"""Above which share of kept parameters, moving them to and fro costs more than it saves."""


class Survivors:
    """What the optimizer of a stack updates: `values`, with its gradient, kept parameters only or all.

    Either way every entry is updated by the same vectorised operations, so that the choice is not seen.
    """

    def __init__(self, storage: Storage, masks: Tensor) -> None:
        self._stored, self._gradients = storage.values.detach().view(-1), storage.gradients.view(-1)
        self._masks, self._places = masks.view(-1), _places(masks)
        self.values = storage.values
        if self._places is not None:
            self.values = nn.Parameter(self._stored[self._places])
            self.values.grad = torch.zeros_like(self.values)

    def gather(self) -> None:
        """Take the gradients of the last backward pass, masked: with them zero, weights of zero stay zero."""
        if self._places is None:
            self._gradients.mul_(self._masks)
        else:
            torch.index_select(self._gradients, 0, self._places, out=self.values.grad)

    def scatter(self) -> None:
        """Give the networks the updated parameters."""
        if self._places is not None:  # places of padding come several times, with zeros for all
            self._stored.scatter_(0, self._places, self.values.detach())


def _places(masks: Tensor) -> Tensor | None:
    """Where the kept parameters lie, filled up to whole vectors by places of padding; None for too many."""
    places = masks.view(-1).nonzero().squeeze(1)
    if len(places) > MOST * masks.numel():
        return None
    filling = -len(places) % ALIGNMENT
    return torch.cat([places, torch.full((filling,), masks.shape[1] - 1)])
