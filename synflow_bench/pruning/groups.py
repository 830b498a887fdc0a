"""Groups of weights that pruning keeps or removes as a whole: kernels and channels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from synflow_bench.errors import UsageError
from synflow_bench.pruning.causes import listed
from synflow_bench.pruning.masks import Masks
from synflow_bench.pruning.selection import Selection, kept_count
from synflow_bench.suites import GroupScore, Scope

Scores = Mapping[str, Tensor]
"""A score per weight, by parameter name; higher is kept."""

ScoreGroups = Callable[[Tensor], Tensor]
"""Takes the scores of groups (G,) float64, made from those of their weights, and returns the ones to rank."""


@dataclass(frozen=True)
class Groups(ABC):
    """The groups into which a granularity divides the prunable weights of a network.

    Attributes:
        granularity: The granularity, as in `PruningOptions`.
        whole: The tensors that it cannot divide, which stay whole, with the reason.
    """

    granularity: str
    whole: Mapping[str, str]

    @property
    def notes(self) -> Iterator[str]:
        """A line for every reason why tensors stay whole."""
        for reason in dict.fromkeys(self.whole.values()):
            names = [name for name, why in self.whole.items() if why == reason]
            stays = "stays" if len(names) == 1 else "stay"
            yield f"granularity {self.granularity!r}: {listed(names)} {stays} whole: {reason}"

    def check_density(self, density: float, masks: Masks) -> None:
        """Check that groups can be removed down to a density.

        Raises:
            UsageError: More weights than that belong to no group.
        """
        least, wanted = self.always_kept(masks), kept_count(density, masks.size)
        if least > wanted:
            stays = f"{listed(list(self.whole))} that stay whole" if self.whole else "weights in no group"
            raise UsageError(
                f"granularity {self.granularity!r}: compression {1 / density:g} keeps {wanted} weights, and "
                f"{stays} have {least}; the largest here is {masks.size / least:g}"
            )

    def always_kept(self, masks: Masks) -> int:
        """Return the number of weights that `masks` keep and no choice among groups removes."""
        return sum(masks.layer_kept[name] for name in self.whole)

    def ranked_by(self, score_groups: ScoreGroups | None) -> Groups:  # noqa: ARG002 - weights are ranked
        """Return the same groups with other scores, where groups are ranked and not single weights.

        Args:
            score_groups: Gives the scores that groups are ranked by; None for those made of their weights.
        """
        return self

    @abstractmethod
    def select(
        self, scores: Scores, masks: Masks, density: float, scope: Scope, *, invert: bool
    ) -> Selection:
        """Choose among the weights that `masks` keep, as `selection.select` does for single weights.

        Args:
            scores: A score per weight.
            masks: The weights that compete.
            density: The share of all weights to keep.
            scope: Rank all layers together, or each by itself.
            invert: Keep what scores least.
        """

    @abstractmethod
    def fault(self, masks: Masks, before: Masks, density: float) -> str | None:
        """Return in a few words what is not of this granularity in masks of this density, if anything.

        Args:
            masks: The masks.
            before: The masks among whose weights they were chosen.
            density: The density that was asked for.
        """

    @abstractmethod
    def shuffled(self, masks: Masks, generator: torch.Generator) -> Masks:
        """Permute groups of a layer at random, or the weights of every group where some of each are kept."""


@dataclass(frozen=True)
class WholeGroups(Groups):
    """Groups that are kept or removed as a whole: kernels and channels.

    A weight can belong to several groups, such as the channel that it makes and the one that it reads; it is
    kept while all of them are.

    Attributes:
        labels: The groups of every entry of a tensor, int64 tensors that broadcast to its shape; -1 stands
            for none.
        classes: The layer of every group (G,), or of groups of several layers that are tied, as a number.
        group_score: The way in which the scores of a group's weights become one.
        score_groups: Gives the scores that groups are ranked by, from those made of their weights.
    """

    labels: Mapping[str, tuple[Tensor, ...]]
    classes: Tensor
    group_score: GroupScore
    score_groups: ScoreGroups | None = None

    def ranked_by(self, score_groups: ScoreGroups | None) -> WholeGroups:
        """Return the same groups, ranked by other scores."""
        return replace(self, score_groups=score_groups)

    def select(
        self, scores: Scores, masks: Masks, density: float, scope: Scope, *, invert: bool
    ) -> Selection:
        """Keep the groups with the largest scores, as many as come nearest to round(density * N) weights.

        With scope `local`, all layers keep the same share of their groups, as far as they divide.
        """
        values, members = self._scores(scores, masks)
        values = self.score_groups(values) if self.score_groups else values
        values = -values if invert else values
        order = self._order(values, members > 0, scope)
        ranks = torch.full_like(self.classes, len(order))
        ranks[order] = torch.arange(len(order))
        last = {name: self._last(name, mask, ranks) for name, mask in masks.items()}
        added = torch.zeros(len(order) + 2, dtype=torch.float64)
        for name, mask in masks.items():
            weights = _sum_to(mask.cpu(), last[name].shape).flatten()
            added += torch.bincount(last[name].flatten() + 1, weights, minlength=len(added))
        kept = added.cumsum(0)[:-1].long()  # by the number of groups that are kept, from 0 on
        number = _nearest(kept, kept_count(density, masks.size))
        chosen = {name: (last[name] < number).to(mask.device) & mask for name, mask in masks.items()}
        return Selection(Masks(chosen), float(values[order[number - 1]]) if number else inf)

    def always_kept(self, masks: Masks) -> int:
        """Return the number of weights in no group."""
        no_ranks, count = torch.zeros_like(self.classes), 0
        for name, mask in masks.items():
            last = self._last(name, mask, no_ranks)
            count += int(_sum_to(mask.cpu(), last.shape)[last < 0].sum())
        return count

    def fault(self, masks: Masks, before: Masks, density: float) -> str | None:
        """Return in a few words which weights of a group were removed without the rest."""
        _, kept = self._scores({name: mask.float() for name, mask in masks.items()}, masks)
        _, members = self._scores({name: mask.float() for name, mask in before.items()}, before)
        removed = (kept == 0).long()
        for name, mask in masks.items():
            expected = (self._last(name, mask, removed) < 1).to(mask.device) & before[name]
            if not torch.equal(mask, expected):
                return f"of layer {name!r} not whole {self.granularity}s"
        off, largest = abs(masks.kept - kept_count(density, masks.size)), int(members.max())
        return f"{masks.kept} of {masks.size} weights" if off > largest else None

    def shuffled(self, masks: Masks, generator: torch.Generator) -> Masks:
        """Permute the groups of every layer; those of tied layers together."""
        _, kept = self._scores({name: mask.float() for name, mask in masks.items()}, masks)
        removed = (kept == 0).long()
        for number in torch.unique(self.classes):
            places = (self.classes == number).nonzero().squeeze(1)
            removed[places] = removed[places[torch.randperm(len(places), generator=generator)]]
        return Masks(
            {n: (self._last(n, m, removed) < 1).expand(m.shape).to(m.device) for n, m in masks.items()}
        )

    def _scores(self, scores: Scores, masks: Masks) -> tuple[Tensor, Tensor]:
        """Return the score of every group and its number of weights, of those in `masks`, (G,) float64."""
        total, members = torch.zeros(2, len(self.classes), dtype=torch.float64)
        for name, labels in self.labels.items():
            mask = masks[name].cpu()
            score = scores[name].detach().cpu()
            score = (score.double().square() if self.group_score == "l2" else score) * mask
            for place, label in enumerate(labels):
                new, there = score, mask
                for earlier in labels[:place]:
                    if bool(torch.isin(earlier, label).any()):  # an entry counts once in a group
                        new, there = new.masked_fill(earlier == label, 0), there & (earlier != label)
                _add_to(total, label, new)
                _add_to(members, label, there)
        if self.group_score == "l2":
            total = total.sqrt()
        elif self.group_score == "mean":
            total = total / members.clamp(min=1)
        return total, members

    def _order(self, values: Tensor, there: Tensor, scope: Scope) -> Tensor:
        """Return the groups that are there, those to be kept first in front; among equals by number."""
        order = values.argsort(descending=True, stable=True)
        order = order[there[order]]
        if scope == "global":
            return order
        classes = self.classes[order]
        place = torch.empty(len(order), dtype=torch.float64)
        for number in torch.unique(classes):
            here = classes == number
            count = int(here.sum())
            place[here] = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        return order[place.argsort(stable=True)]

    def _last(self, name: str, mask: Tensor, ranks: Tensor) -> Tensor:
        """Return the largest of the ranks (G,) of the groups of every entry, -1 for an entry in none.

        The result broadcasts to the shape of the mask.
        """
        wide = torch.cat([ranks, ranks.new_full((1,), -1)])
        last = torch.full((1,) * mask.dim(), -1)
        for label in self.labels.get(name, ()):
            last = torch.maximum(last, wide[label])
        return last


def _add_to(totals: Tensor, label: Tensor, entries: Tensor) -> None:
    """Add to the total of every group the sum of its entries; `label` broadcasts to `entries`."""
    there = label >= 0
    totals.index_add_(0, label[there], _sum_to(entries, label.shape)[there])


def _sum_to(entries: Tensor, shape: torch.Size) -> Tensor:
    """Return the sums, in float64, of the entries at one place of a shape that broadcasts to theirs."""
    over = [d for d, size in enumerate(entries.shape) if shape[d] < size]
    return entries.sum(over, keepdim=True, dtype=torch.float64) if over else entries.double()


def _nearest(kept: Tensor, wanted: int) -> int:
    """Return the number of groups that keep nearest to `wanted` weights, and at least one."""
    number = int((kept - wanted).abs().argmin())
    return number if int(kept[number]) else int((kept > 0).int().argmax())
