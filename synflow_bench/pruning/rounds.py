"""Running a pruner without side effects, and ablations of its data and masks.

Ablations show what a pruner has found: Frankle et al., "Pruning Neural Networks at Initialization: Why Are We
Missing the Mark?", 2021, arXiv 2009.08576.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from synflow_bench.errors import NotDefinedError, PluginError, ScoreError, one_line
from synflow_bench.graph import plain_attention
from synflow_bench.pruning.causes import cause_of_undefined, first_not_finite, listed
from synflow_bench.pruning.groups import Groups
from synflow_bench.pruning.masks import Masks
from synflow_bench.pruning.network_state import convert, own_forward
from synflow_bench.pruning.problem import Examples, Problem
from synflow_bench.pruning.prunable import dense_behind_masks
from synflow_bench.pruning.pruner import Pruner
from synflow_bench.pruning.score_checks import NotFiniteError, UnrankedError
from synflow_bench.pruning.selection import kept_count


@dataclass(frozen=True)
class Pruned:
    """The outcome of `run_pruner`.

    Attributes:
        masks: The masks, on the device of the problem.
        score_dtype: The precision of the last scores, `float32` or `float64`.
        warnings: What the user should know about the masks, a line each.
        passes: The forward passes of one example of the dense network that it has cost, if they were counted.
    """

    masks: Masks
    score_dtype: str
    warnings: tuple[str, ...] = ()
    passes: float = 0.0


def run_pruner(pruner: Pruner, problem: Problem, density: float) -> Pruned:
    """Let a pruner choose the weights to keep.

    The global generators of torch, numpy and Python are left as they were. In the pruner, they are seeded by
    the problem's generator. Attention runs as matrix products, which can be differentiated twice.

    If all scores are zero because weights are zero-initialized, such as those of a classifier, the network is
    scored with random weights in their place, and a warning says so.

    Raises:
        PluginError: The masks do not fit the network, do not keep exactly round(density * N) weights, or do
            not keep whole groups where the granularity asks for them.
        ScoreError: The scores of a layer cannot be ranked.
        UsageError: The density leaves no weight, or cannot be reached in groups of this granularity.
        ModelError: The network has no such groups.
        NotDefinedError: The pruner gives no scores, which groups need.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> class Magnitude(Pruner):
        ...     def score(self, problem):
        ...         return {name: p.detach().abs() for name, p in problem.parameters.items()}
        >>> generator = torch.Generator().manual_seed(0)
        >>> problem = Problem.of(nn.Linear(8, 5), input_shape=(8,), num_classes=5, generator=generator)
        >>> run_pruner(Magnitude(), problem, density=0.1).masks
        Masks(4 of 40 kept in 1 layers, compression 10)
    """
    expected = kept_count(density, problem.masks.size)
    with kept_randomness(problem.device):
        before, groups = problem.masks, _groups(pruner, problem, density)
    device, dtype, state = problem.device, problem.dtype, problem.generator.get_state()
    warned = len(problem.warnings)

    def prune(problem: Problem) -> Masks:
        problem.generator.set_state(state)
        problem.keep_warnings(warned)
        with own_randomness(problem.device, problem.generator.initial_seed()):
            return pruner.prune(problem, density)

    with torch.enable_grad(), differentiable_twice(problem.model), own_forward(problem.model):
        try:
            masks = prune(problem)
        except UnrankedError as error:
            convert(problem.model, device, dtype)
            filled, names = problem.with_weights_for_zeros()
            if not names:
                raise ScoreError(str(error)) from error
            try:
                masks = prune(filled)
            except UnrankedError as again:
                raise ScoreError(str(again)) from again
            problem.warn(f"{error}; {listed(names)} got random weights in place of zeros for the scores")
        except NotFiniteError:
            try:
                masks = _differently(prune, problem, device, dtype)
            except NotFiniteError as error:
                convert(problem.model, device, dtype)
                with first_not_finite(problem.model) as places, suppress(Exception):
                    prune(problem.in_double())
                raise ScoreError(f"{error}{cause_of_undefined(problem, places)}") from error
        except RuntimeError as error:
            if "double backward" in str(error).lower():
                raise ScoreError(
                    f"{one_line(error, with_type=False, first_line=True)}: {type(pruner).__name__} scores "
                    "by second derivatives; choose a pruner without them, such as snip"
                ) from error
            if "derivative for" not in str(error):
                raise
            masks = _differently(prune, problem, device, dtype)
    masks = masks.check(problem.parameters).to(device)
    if groups is None and masks.kept != expected:
        raise PluginError(
            f"pruner {type(pruner).__name__} kept {masks.kept} of {masks.size} weights where compression "
            f"{1 / density:g} asks for {expected}; its prune() must keep exactly that many"
        )
    if groups is not None and (fault := groups.fault(masks, before.to(device), density)):
        raise PluginError(
            f"pruner {type(pruner).__name__} kept {fault} where granularity {groups.granularity!r} and "
            f"compression {1 / density:g} are asked for; its prune() must take its masks from problem.keep()"
        )
    chance = sum(masks.layer_kept[name] for name in problem.unranked)
    if chance:
        problem.warn(
            f"{chance} of {masks.kept} weights are kept by index, because their scores are all equal"
        )
    if dense := dense_behind_masks(problem.model, masks):
        problem.warn(
            f"the mask of {listed(dense)} leaves no zeros in the weights that a parametrization, or the "
            "forward of the layer, computes from it; remove the parametrization before, or name the layer "
            "in skip="
        )
    return Pruned(masks, str(problem.dtype).removeprefix("torch."), problem.warnings)


def _differently(
    prune: Callable[[Problem], Masks], problem: Problem, device: torch.device, dtype: torch.dtype
) -> Masks:
    """Prune again from the start, with functions that have second derivatives everywhere."""
    convert(problem.model, device, dtype)
    with _SecondDerivatives():
        return prune(problem.transformed(lambda _, tensor: tensor))


def _groups(pruner: Pruner, problem: Problem, density: float) -> Groups | None:
    """Return the groups of weights to choose from, if there are groups, and warn of what they leave whole."""
    if problem.options.granularity == "weight":
        return None
    if reason := pruner.single_weights:
        raise NotDefinedError(
            f"{type(pruner).__name__} {reason}, and granularity {problem.options.granularity!r} ranks groups "
            "by scores"
        )
    groups = problem.groups
    if groups is not None:
        groups.check_density(density, problem.masks)
        for note in groups.notes:
            problem.warn(note)
    return groups


@contextmanager
def differentiable_twice(model: nn.Module) -> Iterator[None]:
    """Compute with operations that have second derivatives, and in the types of the tensors.

    Attention runs as matrix products, recurrent layers step by step, autocast is off, and what a checkpoint
    would compute again is kept: a reentrant one refuses gradients of chosen tensors, and the other computes
    again with the network's own weights where a pruner has called it with others.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    with ExitStack() as stack:
        stack.enter_context(plain_attention())
        stack.enter_context(_without_checkpoints())
        if recurrent:
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            stack.enter_context(_without_onednn())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def _without_checkpoints() -> Iterator[None]:
    """Nests: a pruner may prune other networks."""
    module: Any = checkpoint
    hook, before = module._checkpoint_hook, vars(module.CheckpointFunction).get("apply")
    module.CheckpointFunction.apply = staticmethod(lambda run, _preserve, *inputs: run(*inputs))
    module._checkpoint_hook = lambda _frame: nullcontext()
    try:
        yield
    finally:
        del module.CheckpointFunction.apply  # it has that of its base class again
        if before is not None:
            module.CheckpointFunction.apply = before
        module._checkpoint_hook = hook


@contextmanager
def _without_onednn() -> Iterator[None]:
    # Not `torch.backends.mkldnn.flags`, which also sets flags of which torch then warns.
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


_OF_EMBEDDING_BAG = tuple(inspect.signature(nn.functional.embedding_bag).parameters)
_BEYOND_SUMS = ("offsets", "max_norm", "per_sample_weights", "padding_idx")


class _SecondDerivatives(TorchFunctionMode):
    """Computes from others the functions of which torch has no second derivatives, or none at zero."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace hard sigmoids, normalization to length 1, and sums and means of embeddings."""
        kwargs = kwargs or {}
        if function is nn.functional.normalize:
            return _normalize(*args, **kwargs)
        if function is nn.functional.hardsigmoid:
            return nn.functional.relu6(args[0] + 3) / 6
        if function is nn.functional.embedding_bag:
            given = dict(zip(_OF_EMBEDDING_BAG, args, strict=False)) | kwargs
            plain = all(given.get(name) is None for name in _BEYOND_SUMS) and given["input"].dim() == 2
            mode = given.get("mode", "mean")
            if plain and mode in {"sum", "mean"}:
                rows = nn.functional.embedding(given["input"], given["weight"])
                return rows.sum(1) if mode == "sum" else rows.mean(1)
        return function(*args, **kwargs)


def _normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """Return x / max(|x|, eps), which is linear around zero, where the derivative of |x| has none itself."""
    if p != 2 or out is not None:
        return nn.functional.normalize(input, p, dim, eps, out)
    squares = input.square().sum(dim, keepdim=True)
    long = squares > eps**2
    return input / torch.where(long, torch.where(long, squares, 1).sqrt(), eps)


@contextmanager
def own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the global random generators of torch, numpy and Python, and restore their states at the end."""
    with kept_randomness(device):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        yield


@contextmanager
def kept_randomness(device: torch.device) -> Iterator[None]:
    """Restore the states of the global random generators of torch, numpy and Python at the end."""
    devices = [device] if device.type in {"cuda", "mps"} else []
    kind = device.type if devices else "cuda"
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices, device_type=kind):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def shuffle_masks(masks: Masks, generator: torch.Generator, groups: Groups | None = None) -> Masks:
    """Permute the mask inside each layer: layer densities stay, positions are random.

    With `groups`, whole groups are permuted, or the weights inside every group, so that the masks stay of the
    same granularity.
    """
    if groups is not None:
        return groups.shuffled(masks, generator)
    orders = {name: torch.randperm(mask.numel(), generator=generator) for name, mask in masks.items()}
    return Masks({name: m.reshape(-1)[orders[name].to(m.device)].view(m.shape) for name, m in masks.items()})


def random_labels(examples: Examples, num_classes: int, generator: torch.Generator) -> Examples:
    """Return the same inputs with labels that are drawn uniformly."""
    inputs, labels = examples
    drawn = torch.randint(num_classes, labels.shape, generator=generator)
    return inputs, drawn.to(labels.device)


def random_inputs(examples: Examples, generator: torch.Generator) -> Examples:
    """Return standard normal inputs, or uniform tokens up to the largest, with the same labels."""
    inputs, labels = examples
    if not inputs.is_floating_point():
        drawn = torch.randint(int(inputs.max()) + 1, inputs.shape, generator=generator)
        return drawn.to(inputs), labels
    return torch.randn(inputs.shape, generator=generator).to(inputs), labels
