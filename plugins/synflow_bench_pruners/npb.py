"""NPB, node-path balancing: masks that reach many units by many paths."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from synflow_bench import Masks, NotDefinedError, Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench.graph import call_with
from synflow_bench.pruning import is_bias, kept_count, round_shares
from synflow_bench.pruning.causes import listed
from synflow_bench_pruners.helpers import made_up_inputs
from synflow_bench_pruners.layer_densities import Erk, draw, even_shares
from synflow_bench_pruners.paths import Paths

LAYERS: frozenset[Any] = frozenset({F.linear, torch.conv1d, torch.conv2d, torch.conv3d})
"""The functions whose weights connect every unit that enters with every unit that leaves, or of a group."""


class Npb(Pruner):
    """NPB: balance reached units and paths at ERK densities.

    Layer by layer, with the numbers of `erk`, the numbers M_io of weights kept in the kernels of input i and
    output o maximize alpha A + (1 - alpha) B + beta C. A is the share of inputs and outputs with at least one
    weight; B is the sum of P_i M_io over its largest possible value, with P_i the number of paths that the
    layers before lead to input i; C is the number of kernels with at least one weight, over the number of
    weights. The places inside a kernel are random.

    Paper: Pham, Ta, Liu, Xiang, Le, Wen, Tran-Thanh, "Towards Data-Agnostic Pruning At Initialization: What
    Makes a Good Sparse Mask?", NeurIPS 2023. The densities are those of Evci et al., 2020, arXiv 1911.11134.

    The official code gives each layer to a solver of integer programs, 16 or 32 outputs at a time. The
    objective grows by less with each further weight of an input, so that the best masks are found exactly and
    fast by taking the largest gains first, over whole layers; where several masks are best, one is drawn. An
    input without a path does not count as reached; the official code removes weights without a path in a last
    step and fills kernels in their place, and here nothing follows. Biases and normalization make and weigh
    no paths; neither do pools, whose windows the official code counts. Tensors that are not weights of linear
    layers or convolutions are random at their density, and a warning names the matrices. The code's largest B
    counts all inputs where fewer weights than one full input are kept, which weighs B less there; here it is
    the largest. The defaults are those of the authors' command for `lottery/resnet20`; for ResNet-18 it has
    `npb[beta=2,per_kernel=6]`.

    Args:
        alpha: The weight of reached units against paths, from 0 to 1.
        beta: The weight of kernels with at least one weight.
        per_kernel: The largest number of weights of a kernel, if the density allows it; 0 sets no limit.
    """

    needs_data: ClassVar[bool] = False
    alpha: float = 0.01
    beta: float = 1.0
    per_kernel: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1 or not 0 <= self.beta < inf or self.per_kernel < 0:
            raise UsageError(
                f"alpha={self.alpha:g}, beta={self.beta:g}, per_kernel={self.per_kernel}: "
                "alpha must be from 0 to 1, beta and per_kernel at least 0"
            )
        if self.rounds != 1:
            raise UsageError(f"npb makes its masks at once: rounds={self.rounds} has no effect, leave it out")

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return the balanced masks, layer by layer in the order in which the network uses them."""
        total, masks = kept_count(density, problem.masks.size), problem.masks
        if problem.invert:
            total = masks.kept - total
        rule = even_shares if problem.options.scope == "local" else Erk().shares
        numbers = round_shares(rule(problem, total), total, masks.layer_kept)
        chosen = self._chosen(problem, numbers)
        return Masks({n: masks[n] & ~m for n, m in chosen.items()}) if problem.invert else chosen

    def _chosen(self, problem: Problem, numbers: Mapping[str, int]) -> Masks:
        device = problem.device
        balancing = _Balancing(self, problem, numbers)
        with torch.no_grad(), made_up_inputs(problem.in_double(), torch.ones_like) as inputs, balancing:
            call_with(problem.model, balancing.ones, inputs)
        matrices = [name for name, weight in problem.parameters.items() if weight.dim() > 1]
        if unmet := [name for name in matrices if name not in balancing.masks]:
            problem.warn(
                f"npb draws the mask of {listed(unmet)} at random: the input reaches no linear layer or "
                "convolution of torch with these weights"
            )
        return Masks({**draw(problem, numbers), **balancing.masks}).to(device)

    def balance(self, allowed: Tensor, paths: Tensor, number: int, generator: torch.Generator) -> Tensor:
        """Return the mask of one layer that maximizes the objective.

        Args:
            allowed: The entries that may be kept, (groups, outputs, inputs, kernel) bool.
            paths: P for the inputs of all groups, (groups * inputs,) float64.
            number: The number of entries to keep.
            generator: For what the objective leaves open.
        """
        layer = _Layer.of(allowed, self.per_kernel, number, generator)
        most = float(layer.largest(paths, number))
        gain = (1 - self.alpha) * paths / most if most else torch.zeros_like(paths)
        reached = (paths > 0).double()
        opening = gain + self.beta / max(number, 1) * reached
        first = opening + self.alpha / (len(paths) + allowed.shape[0] * allowed.shape[1]) * reached
        return layer.place(layer.shared([first, opening, gain], number))


class _Balancing(Paths):
    """A forward pass that chooses the mask of each layer when it meets its weights, and counts paths on."""

    def __init__(self, pruner: Npb, problem: Problem, numbers: Mapping[str, int]) -> None:
        super().__init__()
        self.masks: dict[str, Tensor] = {}
        self.ones = {
            name: (torch.zeros_like if is_bias(name) else torch.ones_like)(p.detach(), dtype=torch.float64)
            for name, p in problem.model.named_parameters()
        }
        self._pruner, self._problem, self._numbers = pruner, problem, numbers
        self._names = {id(tensor): name for name, tensor in self.ones.items() if name in numbers}

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace the weights of layers by masks and leave biases out."""
        if function is F.batch_norm:
            return inspect.signature(function).bind(*args, **(kwargs or {})).arguments["input"]
        if function not in LAYERS:
            return super().__torch_function__(function, types, args, kwargs)
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | (kwargs or {})
        entered, weight = given.pop("input"), given.pop("weight")
        given.pop("bias", None)
        name = self._names.get(id(weight))
        if name is not None:
            weight = self._mask(name, weight, entered).to(weight)
        return function(entered, weight, None, *args[3:], **given)

    def _mask(self, name: str, weight: Tensor, entered: Tensor) -> Tensor:
        if name not in self.masks:
            axis = entered.dim() - 1 if weight.dim() == 2 else entered.dim() - weight.dim() + 1
            paths = entered.abs().transpose(0, axis).flatten(1).sum(1).cpu()
            if not bool(paths.isfinite().all()):
                raise NotDefinedError(f"npb cannot count the paths that lead to layer {name!r}: too many")
            groups = len(paths) // weight.shape[1]
            allowed = self._problem.masks[name].cpu()
            mask = self._pruner.balance(
                allowed.reshape(groups, -1, weight.shape[1], allowed[0, 0].numel()),
                paths,
                self._numbers[name],
                self._problem.generator,
            )
            self.masks[name] = mask.view(weight.shape)
        return self.masks[name]


@dataclass(frozen=True)
class _Layer:
    """The entries of a layer in a random order.

    Attributes:
        order: The place of each entry in the random order of its kernel, from 0; (groups, outputs, inputs,
            kernel), with entries that may not be kept behind all others.
        sizes: The number of entries of each kernel that may be kept; (groups, outputs, inputs).
        generator: For further draws.
    """

    order: Tensor
    sizes: Tensor
    generator: torch.Generator

    @classmethod
    def of(cls, allowed: Tensor, limit: int, number: int, generator: torch.Generator) -> _Layer:
        """Draw an order; a limit of each kernel is raised until `number` entries fit."""
        drawn = torch.rand(allowed.shape, generator=generator, dtype=torch.float64)
        order = (drawn + ~allowed).argsort(-1).argsort(-1)
        sizes = allowed.sum(-1)
        limit = limit or allowed.shape[-1]
        while int(sizes.clamp(max=limit).sum()) < number:
            limit += 1
        return cls(order, sizes.clamp(max=limit), generator)

    def rooms(self) -> list[Tensor]:
        """Return for every input the numbers of first entries, first ones of further kernels, and others."""
        kernels = (self.sizes > 0).sum(1).flatten()
        entries = self.sizes.sum(1).flatten()
        first = (kernels > 0).long()
        return [first, kernels - first, entries - kernels]

    def largest(self, paths: Tensor, number: int) -> Tensor:
        """Return the largest sum of paths over `number` entries."""
        entries = self.sizes.sum(1).flatten()
        ordered, by_paths = paths.sort(descending=True)
        before = entries[by_paths].cumsum(0) - entries[by_paths]
        taken = (number - before).clamp(min=0).minimum(entries[by_paths])
        return (ordered * taken).sum()

    def shared(self, gains: list[Tensor], number: int) -> Tensor:
        """Return how many entries of each input have the largest gains; equal gains are drawn from."""
        rooms, inputs = torch.cat(self.rooms()), len(gains[0])
        values, ranks = torch.unique(torch.cat(gains), return_inverse=True)
        taken, left = torch.zeros_like(rooms), number
        for rank in range(len(values) - 1, -1, -1):
            members = (ranks == rank).nonzero().squeeze(1)
            room = int(rooms[members].sum())
            if room >= left:
                units = members.repeat_interleave(rooms[members])
                drawn = units[torch.randperm(room, generator=self.generator)[:left]]
                taken += torch.bincount(drawn, minlength=len(taken))
                break
            taken[members] = rooms[members]
            left -= room
        return taken.view(3, inputs).sum(0)

    def place(self, numbers: Tensor) -> Tensor:
        """Return a mask of so many entries of each input, first in different kernels and of many outputs."""
        groups, outputs, inputs, _ = self.order.shape
        kept = torch.zeros_like(self.order, dtype=torch.bool)
        ring = torch.randperm(outputs, generator=self.generator)
        for group, part in enumerate(numbers.view(groups, inputs)):
            start = 0
            for unit in torch.randperm(inputs, generator=self.generator).tolist():
                count = int(part[unit])
                if count:
                    opened = self._open(group, unit, ring.roll(-start), count)
                    start = (start + len(opened)) % outputs
                    kept[group, :, unit] = self._fill(group, unit, opened, count)
        return kept

    def _open(self, group: int, unit: int, ring: Tensor, count: int) -> Tensor:
        """Return the outputs of the first kernels in the ring that have room."""
        return ring[self.sizes[group, ring, unit] > 0][:count]

    def _fill(self, group: int, unit: int, opened: Tensor, count: int) -> Tensor:
        """Return the mask (outputs, kernel) of one entry of each opened kernel and a draw from the rest."""
        order, sizes = self.order[group, :, unit], self.sizes[group, :, unit]
        kept = torch.zeros_like(order, dtype=torch.bool)
        kept[opened] = order[opened] == 0
        rest = ((order > 0) & (order < sizes[:, None])).nonzero()
        more = rest[torch.randperm(len(rest), generator=self.generator)[: count - len(opened)]]
        kept[more[:, 0], more[:, 1]] = True
        return kept
