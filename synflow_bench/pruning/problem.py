"""The problem that a pruner solves, and the checks of its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from synflow_bench.errors import PluginError, ScoreError, UsageError
from synflow_bench.graph import Graph, Untraceable, trace
from synflow_bench.pruning.causes import cause_of_failure, causes_of_zeros, listed
from synflow_bench.pruning.granularity import groups_of
from synflow_bench.pruning.groups import Groups, ScoreGroups
from synflow_bench.pruning.interface import (
    HALF,
    Inputs,
    cast,
    copy_network,
    in_eval_mode,
    is_floating,
    map_examples,
    to_network,
    widened,
)
from synflow_bench.pruning.masks import Masks
from synflow_bench.pruning.network_state import Attributes, compute_in, convert, named_tensors, write_masked
from synflow_bench.pruning.prunable import (
    drop_pruned,
    is_bias,
    prunable_parameters,
    use_dense_gradients,
    zero_biases,
)
from synflow_bench.pruning.score_checks import (
    PrecisionError,
    UnrankedError,
    check_scores,
    check_underflow,
    is_constant,
)
from synflow_bench.pruning.selection import select
from synflow_bench.pruning.tokens import token_embeddings
from synflow_bench.pruning.weight_norm import allow_removed_units
from synflow_bench.suites import PruningOptions

Loss = Callable[[Tensor, Tensor], Tensor]
"""A function of logits (N, K) and labels (N,) that returns the mean over the examples."""

Score = Callable[["Problem"], Mapping[str, Tensor]]
"""A function that returns a score per prunable weight, by parameter name; higher is kept."""

Examples = tuple[Inputs, Tensor]
"""Inputs (N, ...) and labels (N,) int64; several inputs are one tuple or dictionary, which `model` takes."""

BATCH_SIZE = 256
"""The number of examples of up to 3x64x64 in a batch of scoring data; batches of larger ones are smaller."""
BATCH_ENTRIES = BATCH_SIZE * 3 * 64 * 64


@dataclass(frozen=True)
class Problem:
    """One round of one pruning: a network, its prunable weights, and the data that a pruner may see.

    Attributes:
        model: A copy of the network, made for this pruning, in eval mode and with masked weights zero. It may
            be changed: the harness restores it before the next round.
        parameters: The prunable tensors of `model` by name.
        dense: Their values before any mask.
        masks: The weights that earlier rounds have kept.
        loss: The loss of the training.
        input_shape: The shape of one example, such as (3, 32, 32).
        num_classes: The number of classes.
        generator: The generator for all that the pruner draws.
        options: Which parameters are prunable, and how scores are ranked.
        examples: The scoring data; None for a pruner that needs no data. Use `batches`.
        example_inputs: Inputs of one example, if the caller gave any: token ids, or several inputs as a tuple
            or a dictionary. `model` takes them as one argument. None means an image or a vector of
            `input_shape`.
        density: The share of the prunable weights to keep after this round.
        round: The number of this round, from 1.
        invert: Keep the weights with the smallest scores, an ablation.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> generator = torch.Generator().manual_seed(0)
        >>> problem = Problem.of(nn.Linear(4, 2), input_shape=(4,), num_classes=2, generator=generator)
        >>> {name: tuple(weight.shape) for name, weight in problem.parameters.items()}
        {'weight': (2, 4)}
    """

    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    dense: Mapping[str, Tensor]
    masks: Masks
    loss: Loss
    input_shape: tuple[int, ...]
    num_classes: int
    generator: torch.Generator
    options: PruningOptions = PruningOptions()
    examples: Examples | None = None
    example_inputs: Inputs | None = None
    density: float = 1.0
    round: int = 1
    invert: bool = False
    _rest: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    _modules: Sequence[tuple[str, nn.Module]] = field(default=(), repr=False)
    _attributes: Attributes = field(default_factory=lambda: Attributes(()), repr=False)
    _notes: _Notes = field(default_factory=lambda: _Notes(), repr=False)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        generator: torch.Generator,
        loss: Loss = nn.functional.cross_entropy,
        options: PruningOptions = PruningOptions(),
        examples: Examples | None = None,
        example_inputs: Inputs | None = None,
        invert: bool = False,
    ) -> Self:
        """Pose the problem of pruning `model`, which is copied and left as it is.

        The copy of a network in float16 or bfloat16 is in float32, and so are examples of these types. With
        the option `biases = "zero"`, its biases and shifts that are not prunable are zero: such a one adds to
        its unit whatever reaches the unit, also when every path to it is pruned.

        Raises:
            ModelError: The network has nothing to prune under these options.
        """
        copy = in_eval_mode(copy_network(model))
        drop_pruned(copy)
        allow_removed_units(copy)
        use_dense_gradients(copy)
        parameters = prunable_parameters(copy, options)
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        modules = list(copy.named_modules())
        tensors = [*(tensor for _, tensor in named_tensors(modules)), *Attributes(modules).tensors]
        for tensor in (half := [tensor for tensor in tensors if tensor.dtype in HALF]):
            tensor.grad, tensor.data = None, tensor.data.float()
        if half:
            compute_in(copy, torch.float32)
        if options.biases == "zero":
            zero_biases(copy, parameters)
        state = {name: tensor.detach().clone() for name, tensor in named_tensors(modules)}
        return cls(
            model=copy,
            parameters=parameters,
            dense={name: state.pop(name) for name in parameters},
            masks=Masks.ones(parameters),
            loss=loss,
            input_shape=input_shape,
            num_classes=num_classes,
            generator=generator,
            options=options,
            examples=examples and (widened(examples[0]), examples[1]),
            example_inputs=widened(example_inputs),
            invert=invert,
            _rest=state,
            _modules=modules,
            _attributes=Attributes(modules),
        )

    @property
    def device(self) -> torch.device:
        """The device of the network and the data."""
        return next(iter(self.parameters.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """float32, or float64 where float32 is not enough."""
        return next(iter(self.parameters.values())).dtype

    @property
    def batch_size(self) -> int:
        """The number of examples in a batch of scoring data: `BATCH_SIZE`, fewer for large inputs."""
        return max(1, min(BATCH_SIZE, BATCH_ENTRIES // max(1, prod(self.input_shape))))

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that the user should know about the scores so far, a line each."""
        return tuple(self._notes.warnings)

    @property
    def unranked(self) -> Mapping[str, float]:
        """The one score of all weights of a layer, for layers whose scores did not differ at first."""
        return self._notes.unranked

    @property
    def groups(self) -> Groups | None:
        """The groups of weights that are kept or removed together; None for single weights.

        Raises:
            ModelError: The network has no groups of this granularity.
        """
        notes = self._notes.groups
        if not notes and (found := groups_of(self.model, self.parameters, self.options, self._graph)):
            notes.append(found)
        return notes[0] if notes else None

    def _graph(self) -> Graph | Untraceable:
        if not self.input_shape and self.example_inputs is None:
            raise UsageError(
                f"granularity {self.options.granularity!r} follows the network; pass "
                "input_shape=(3, 32, 32), or example_inputs= for tokens and several inputs"
            )
        graph = trace(self.model, self.forward_inputs())
        self._attributes.restore()
        return graph

    def warn(self, text: str) -> None:
        """Add a warning for the user, unless it is there."""
        if text not in self._notes.warnings:
            self._notes.warnings.append(text)

    def keep_warnings(self, number: int) -> None:
        """Keep the first warnings alone: scores that others are about are computed again."""
        del self._notes.warnings[number:]

    def count_passes(self, passes: float) -> None:
        """Add to the cost of the pruning what it computes without calling layers of a network.

        Calls of layers, and derivatives of their outputs, are counted by the harness.

        Args:
            passes: Forward passes of one example of the dense network; its derivatives are two more.
        """
        self._notes.passes.append(passes)

    @property
    def passes(self) -> float:
        """The passes that `count_passes` has added so far."""
        return sum(self._notes.passes)

    def forward_inputs(self) -> Inputs:
        """Return the argument of a forward pass: ones (1, *input_shape), or the example inputs.

        Floating-point example inputs are filled with ones; token ids and masks stay as they are.
        """
        if self.example_inputs is None:
            return torch.ones(1, *self.input_shape, dtype=self.dtype, device=self.device)
        moved = to_network(self.example_inputs, self.device, self.dtype)
        ones: Inputs = tree_map(lambda leaf: torch.ones_like(leaf) if is_floating(leaf) else leaf, moved)
        return ones

    def token_embeddings(self) -> frozenset[str]:
        """Return the names of the embeddings that look up token ids of the inputs, by `token_embeddings`."""
        if not self._notes.tokens:
            self._notes.tokens.append(token_embeddings(self.model, self.forward_inputs()))
            self._attributes.restore()
        return self._notes.tokens[0]

    def batches(self, size: int | None = None) -> Iterator[Examples]:
        """Yield copies of the scoring data, in batches.

        The data are not augmented and by default have equally many examples of every class.

        Args:
            size: The number of examples per batch; by default `batch_size`.

        Raises:
            PluginError: The pruner has declared that it needs no data.
        """
        size = size or self.batch_size
        if self.examples is None:
            raise PluginError(
                "this pruning has no data; a pruner that asks for batches sets needs_data = True"
            )
        inputs, labels = self.examples
        for start in range(0, len(labels), size):
            own = partial(_part, slice(start, start + size))
            yield map_examples(own, inputs), own(labels)

    def keep(
        self, score: Score, *, revive: bool = False, score_groups: ScoreGroups | None = None
    ) -> tuple[Problem, Masks]:
        """Score this round and keep the `density` share of largest scores; in float64 where float32 fails.

        Args:
            score: Gives a score per weight of `parameters`; it may raise `PrecisionError` where float32 does
                not suffice.
            revive: Let masked weights compete again.
            score_groups: Gives the scores that kernels or channels are ranked by, from the ones that
                `group_score` makes of their weights' scores. A method that draws its scores needs it, because
                a sum of random draws is larger for a larger group.

        Returns:
            The problem as it was scored, and the masks.

        Raises:
            ScoreError: The scores of a layer cannot be ranked.
        """
        try:
            return self, self._keep(score(self), revive, score_groups)
        except PrecisionError:
            wider = self.in_double()
            return wider, wider._keep(score(wider), revive, score_groups)

    def at(self, masks: Masks, *, density: float, round: int) -> Problem:
        """Return the next round: all of the network as at the start, also its modes, with `masks` applied.

        Raises:
            PluginError: The masks do not fit the parameters.
        """
        masks, tensors = masks.check(self.parameters), dict(named_tensors(self._modules))
        with torch.no_grad():
            for name in self.parameters:
                write_masked(self.dense[name], masks[name], tensors[name])
                tensors[name].requires_grad_(True)
            for name in self._rest:
                tensors[name].copy_(self._rest[name])
        self._attributes.restore()
        self.model.zero_grad(set_to_none=True)
        in_eval_mode(self.model)
        return replace(self, masks=masks, density=density, round=round)

    def narrowed(self, masks: Masks, *, density: float, round: int) -> Problem:
        """Return the next round like `at`, for a score that left the network as it was.

        Args:
            masks: Masks that keep nothing which was removed before.
            density: The share of the prunable weights to keep after the round.
            round: The number of the round.

        Raises:
            PluginError: The masks do not fit the parameters.
        """
        masks, tensors = masks.check(self.parameters), dict(named_tensors(self._modules))
        for name in self.parameters:
            write_masked(tensors[name], masks[name], tensors[name])
        self._attributes.restore()
        return replace(self, masks=masks, density=density, round=round)

    def part(self, model: nn.Module, of: Callable[[str, Tensor], Tensor]) -> Problem:
        """Return the same pruning of a part of the network.

        Args:
            model: The part, with the parameter names of the network.
            of: Takes a name and a tensor of the network, and returns what the part has of it.
        """
        modules = list(model.named_modules())
        dense = {name: of(name, tensor) for name, tensor in self.dense.items()}
        rest = {name: of(name, tensor) for name, tensor in self._rest.items()}
        for name, tensor in named_tensors(modules):
            tensor.data = torch.empty_like(dense[name] if name in dense else rest[name])
        parameters = dict(model.named_parameters())
        smaller = replace(
            self,
            model=model,
            parameters={name: parameters[name] for name in self.parameters},
            dense=dense,
            masks=Masks({name: of(name, mask) for name, mask in self.masks.items()}),
            _rest=rest,
            _modules=modules,
            _attributes=Attributes(modules),
            _notes=replace(self._notes, groups=[]),
        )
        return smaller.at(smaller.masks, density=self.density, round=self.round)

    def transformed(self, change: Callable[[str, Tensor], Tensor]) -> Problem:
        """Return the same pruning of a network with other values, for all rounds from this one on.

        Args:
            change: Takes the name and the dense values of a parameter or floating-point buffer, and returns
                new values of the same shape, possibly in another memory layout.
        """
        dense = {name: change(name, tensor) for name, tensor in self.dense.items()}
        rest = {name: change(name, t) if t.is_floating_point() else t for name, t in self._rest.items()}
        for name, tensor in named_tensors(self._modules):
            tensor.data = torch.empty_like(dense[name] if name in dense else rest[name])
        changed = replace(self, dense=dense, _rest=rest)
        return changed.at(self.masks, density=self.density, round=self.round)

    def _keep(self, scores: Mapping[str, Tensor], revive: bool, score_groups: ScoreGroups | None) -> Masks:
        constant = check_scores(scores, self.parameters)
        if self.round == 1 and self.masks.kept == self.masks.size:
            self._check_ranking(constant)
        eligible = Masks.ones(self.parameters) if revive else self.masks
        ordered = {name: scores[name] for name in self.parameters}
        scope, groups = self.options.scope, self.groups
        if groups is not None:
            ranked = groups.ranked_by(score_groups)
            selection = ranked.select(ordered, eligible, self.density, scope, invert=self.invert)
        else:
            if self.invert:
                ordered = {name: -score for name, score in ordered.items()}
            selection = select(ordered, eligible, self.density, scope)
        if self.dtype is not torch.float64:
            check_underflow(ordered, selection)
        return selection.masks

    def _check_ranking(self, constant: Mapping[str, float]) -> None:
        """Warn of layers of an intact network whose weights cannot be ranked.

        Args:
            constant: The one score of all weights of a layer, for layers that have only one.

        Raises:
            ScoreError: All scores of the network are equal; `UnrankedError` if they are zero.
            PrecisionError: Scores are equal in float32, perhaps from underflow.
        """
        nothing = len(constant) == len(self.parameters) and len(set(constant.values())) == 1
        matrices = [name for name, dense in self.dense.items() if dense.dim() > 1]
        zero = [name for name in matrices if constant.get(name) == 0 and not bool(self.dense[name].any())]
        unranked = {
            name: score
            for name, score in constant.items()
            if nothing or name in zero or not is_constant(self.dense[name])
        }
        if not unranked:
            return
        name, score = next(iter(unranked.items()))
        if self.dtype is not torch.float64 and (nothing or unranked.keys() - zero):
            raise PrecisionError(f"scores of layer {name!r} are all {score:g}")
        whole = self.at(self.masks, density=self.density, round=self.round)
        if nothing:
            if score:
                raise ScoreError(f"scores of layer {name!r} are all {score:g}: they rank nothing")
            raise UnrankedError(f"all scores are 0: they rank nothing; {cause_of_failure(whole)}")
        self._notes.unranked.update(unranked)
        for value in sorted(set(unranked.values()) - {0}):
            names = [name for name, score in unranked.items() if score == value]
            self.warn(f"scores of {listed(names)} are all {value:g}: these weights are ranked by index")
        for cause, names in causes_of_zeros(
            whole, [n for n, score in unranked.items() if score == 0]
        ).items():
            self.warn(f"scores of {listed(names)} are all 0 and rank nothing: {cause}")
        self.at(self.masks, density=self.density, round=self.round)

    def with_weights_for_zeros(self) -> tuple[Problem, list[str]]:
        """Return the same pruning with random weights in place of zero-initialized ones, and their names.

        These are prunable tensors, drawn from U(-1, 1) / sqrt(fan-in), and scales of one long dimension, such
        as gains (C, 1, 1, 1), which become ones. Biases stay.
        """
        draws = torch.Generator().manual_seed(self.generator.initial_seed())
        names = [name for name, tensor in self.model.named_parameters() if self._is_zero_weight(name, tensor)]

        def change(name: str, tensor: Tensor) -> Tensor:
            if name not in names:
                return tensor
            if tensor.dim() < 2 or name not in self.parameters:
                return torch.ones_like(tensor)
            drawn = torch.rand(tensor.shape, generator=draws, dtype=torch.float64) * 2 - 1
            return drawn.div_(prod(tensor.shape[1:]) ** 0.5).to(tensor)

        return self.transformed(change), names

    def _is_zero_weight(self, name: str, tensor: Tensor) -> bool:
        values = self.dense.get(name, self._rest.get(name, tensor))
        scales = name in self.parameters or (sum(s > 1 for s in tensor.shape) < 2 and not is_bias(name))
        return scales and not bool(values.any())

    def in_double(self) -> Problem:
        """Return the same pruning in float64, on the CPU where the device has no such numbers."""
        device = torch.device("cpu") if self.device.type == "mps" else self.device
        self._attributes.restore()
        if self.dtype is not torch.float64:
            compute_in(self.model, torch.float64)
        convert(self.model, device, torch.float64)
        for tensor in self._attributes.tensors:
            if tensor.device == device:
                tensor.data = cast(tensor, device, torch.float64)
        examples, inputs = self.examples, self.example_inputs
        wider = replace(
            self,
            parameters={name: self.model.get_parameter(name) for name in self.parameters},
            dense={name: cast(tensor, device, torch.float64) for name, tensor in self.dense.items()},
            masks=self.masks.to(device),
            examples=examples and (to_network(examples[0], device, torch.float64), examples[1].to(device)),
            example_inputs=None if inputs is None else to_network(inputs, device, torch.float64),
            _rest={name: cast(tensor, device, torch.float64) for name, tensor in self._rest.items()},
            _attributes=Attributes(self._modules),
        )
        return wider.at(wider.masks, density=self.density, round=self.round)


@dataclass(frozen=True)
class _Notes:
    """What is found out in one pruning, shared by the problems of all rounds."""

    warnings: list[str] = field(default_factory=list)
    unranked: dict[str, float] = field(default_factory=dict)
    groups: list[Groups] = field(default_factory=list)
    tokens: list[frozenset[str]] = field(default_factory=list)
    passes: list[float] = field(default_factory=list)


def _part(part: slice, tensor: Tensor) -> Tensor:
    return tensor[part].clone()
