"""A trial of a caller's network and data: what fits is converted, the rest is one clear error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from synflow_bench.errors import HandledError, ModelError, UsageError, one_line
from synflow_bench.pruning.examples import class_numbers, has_classes_last
from synflow_bench.pruning.interface import Inputs, copy_network, describe, map_examples, size_of
from synflow_bench.pruning.problem import Examples, Loss, Problem
from synflow_bench.pruning.prunable import EMBEDDING
from synflow_bench.pruning.rounds import differentiable_twice

FEW = 2
"""The number of examples on which network and loss are tried."""


LARGEST = 2**26
"""The number of entries of the inputs up to which a network that takes no part of them is tried on all."""


class MisfitError(ModelError):
    """A network that fails on an input."""


class TrialCopy(nn.Module):
    """A copy of a network to be tried, in the way in which it is scored.

    Args:
        network: What is copied.
        original: The caller's network, which the copy must not use.
    """

    def __init__(self, network: nn.Module, original: nn.Module) -> None:
        super().__init__()
        self.network = copy_network(network)
        self._original = _Untouched(original)

    def forward(self, inputs: Inputs) -> Any:
        """Call the copy.

        Raises:
            ModelError: It uses parameters of the original.
        """
        with differentiable_twice(self.network), self._original:
            return self.network(inputs)


class _Untouched(TorchFunctionMode):
    """Raises an error where parameters of a network are used."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._parameters = list(model.named_parameters())  # which keeps them and their ids
        self._names = {id(parameter): name for name, parameter in self._parameters}

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute, and look for the tensors among what a new tensor was computed from."""
        kwargs = kwargs or {}
        found = function(*args, **kwargs)
        for tensor in _tensors((args, kwargs)):
            if id(tensor) in self._names and _tensors(found):
                raise ModelError(
                    f"a copy of the network uses {self._names[id(tensor)]!r} of the network itself: a "
                    "function, such as a hook or a replaced forward, refers to it from outside; make it a "
                    "method of a module"
                )
        return found


@dataclass(frozen=True)
class Trial:
    """The outcome of a trial.

    Attributes:
        inputs: One example as the network takes it; None for a plain input of `input_shape`.
        input_shape: The shape of one example; of the first of several inputs.
        num_classes: The number of logits.
        convert: Makes all inputs of the caller such as the network takes them.
        logits: The logits of the tried examples.
    """

    inputs: Inputs | None
    input_shape: tuple[int, ...]
    num_classes: int
    convert: Callable[[Inputs], Inputs]
    logits: Tensor


def try_shape(problem: Problem, shape: tuple[int, ...]) -> Trial:
    """Run the network on ones of this shape, or on tokens where it begins with an embedding.

    Raises:
        ModelError: It fails, or gives no logits.
    """
    ones = torch.ones(1, *shape, device=problem.device, dtype=problem.dtype)
    try:
        return _trial(problem, ones, _conversions(problem)[0], None)
    except MisfitError as error:
        if not any(isinstance(module, EMBEDDING) for module in problem.model.modules()):
            raise MisfitError(
                f"{error}; input_shape is the shape of one example, such as (3, 32, 32), without the batch"
            ) from error.__cause__
        tokens = torch.zeros_like(ones, dtype=torch.int64)
        try:
            return _trial(problem, tokens, _conversions(problem)[0], tokens)
        except HandledError:
            pass
        raise


def try_inputs(problem: Problem, inputs: Inputs, *, keep: bool) -> Trial:
    """Run the network on a few examples, with integers as tokens or as numbers, whichever it takes.

    Args:
        inputs: The examples.
        keep: Give the first of them to data-free methods, even if it is a plain tensor of numbers. They get
            all of those that are tried if the network takes no fewer, as one whose examples are the nodes
            of a graph.

    Raises:
        ModelError: It fails, or gives no logits.
    """
    error: MisfitError | None = None
    for count in _counts(problem, inputs, keep=keep):
        few = map_examples(lambda whole, count=count: whole[:count], inputs)  # type: ignore[misc]
        for convert in _conversions(problem)[: None if any(map(_is_integer, _tensors(inputs))) else 1]:
            converted = convert(few)
            plain = isinstance(converted, Tensor) and converted.is_floating_point()
            alone = 1 if count == FEW else count  # a network of fixed size cannot take one
            example = None if plain and not keep and alone == 1 else _first(alone, converted)
            try:
                found = _trial(problem, converted, convert, example)
            except MisfitError as misfit:
                error = error or misfit
                continue
            if count > FEW and not keep and count > _batch_size(problem, inputs):
                raise MisfitError(
                    f"the network takes only {count} examples at a time, more than a batch of scoring "
                    f"data; {as_one(count, found.input_shape)}"
                ) from error
            return found
    assert error is not None  # noqa: S101  a conversion that fits has returned
    size, tensors = size_of(inputs), _tensors(inputs)
    if len(tensors) > 1 and any(size in tensor.shape[1:] for tensor in tensors):
        raise MisfitError(
            f"{error}; {size} is the number of examples and a size within them, and every input of that "
            "length was cut to a few examples: pass another number if one input is for all of them"
        ) from error.__cause__
    raise error


def _counts(problem: Problem, inputs: Inputs, *, keep: bool) -> Iterator[int]:
    """Yield how many examples to try: a few, and as many as a network of fixed size would be called with."""
    yield FEW
    size = size_of(inputs)
    if keep and size > FEW:
        yield size
    elif isinstance(inputs, Tensor) and size > FEW:
        yield min(size, batch := _batch_size(problem, inputs))
        if batch < size and inputs.numel() <= LARGEST:
            yield size


def _batch_size(problem: Problem, inputs: Tensor) -> int:
    return replace(problem, input_shape=tuple(inputs.shape[1:])).batch_size


def _first(count: int, inputs: Inputs) -> Inputs:
    return map_examples(lambda whole: whole[:count].clone(), inputs)


def as_one(count: int, shape: tuple[int, ...]) -> str:
    """Return the way out for a network that takes a fixed number of examples of this shape."""
    whole = ", ".join(map(str, (1, count, *shape)))
    return f"let it take them, such as nodes of a graph, as one example of shape ({whole})"


def _tensors(inputs: Inputs) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]


def _conversions(problem: Problem) -> list[Callable[[Inputs], Inputs]]:
    """List the ways to give a caller's tensors to the network, likeliest first."""
    device, dtype = problem.device, problem.dtype

    def value(leaf: Tensor) -> Tensor:
        return leaf.to(device, dtype) / 255 if leaf.dtype is torch.uint8 else leaf.to(device, dtype)

    def each(change: Callable[[Tensor], Tensor]) -> Callable[[Inputs], Inputs]:
        def converted(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return change(leaf) if _is_integer(leaf) else leaf.to(device, _real(leaf, dtype))

        return lambda inputs: tree_map(converted, inputs)

    return [
        each(lambda leaf: value(leaf) if leaf.dtype is torch.uint8 else leaf.to(device)),
        each(lambda leaf: leaf.to(device, torch.int64)),
        each(value),
    ]


def _is_integer(leaf: Tensor) -> bool:
    return not (leaf.is_floating_point() or leaf.is_complex())


def _real(leaf: Tensor, dtype: torch.dtype) -> torch.dtype:
    return leaf.dtype if leaf.is_complex() else dtype


def _trial(
    problem: Problem, inputs: Inputs, convert: Callable[[Inputs], Inputs], example: Inputs | None
) -> Trial:
    logits = _logits(problem.model, inputs)
    first = next(leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.dim())
    classes = logits.shape[1 if logits.dim() > 3 else -1]
    return Trial(example, tuple(first.shape[1:]), classes, convert, logits)


def _logits(model: nn.Module, inputs: Inputs) -> Tensor:
    try:
        logits = model(map_examples(Tensor.clone, inputs))
    except HandledError:
        raise
    except Exception as error:  # a network may fail in any way
        reason = one_line(error, with_type=not isinstance(error, RuntimeError | ValueError), first_line=True)
        raise MisfitError(
            f"the network cannot take an input of {_shapes(inputs)}: {reason}{_way_out(error, inputs)}"
        ) from error
    if not isinstance(logits, Tensor):
        raise ModelError(
            f"the network returns {describe(logits)}, not a tensor of logits; name the logits with outputs=, "
            "such as outputs='logits', outputs=0 or a function"
        )
    if logits.dim() == 0 or not logits.numel():
        raise ModelError(
            f"the network returns {describe(logits)} for an input of {_shapes(inputs)}, not logits of every "
            "example; pass outputs= with a function that gives them"
        )
    if not logits.is_floating_point():
        raise ModelError(
            f"the network returns {describe(logits)}; logits are real numbers that have gradients"
        )
    return logits.detach()


def _shapes(inputs: Inputs) -> str:
    named = []
    for leaf in _tensors(inputs):
        shape = "x".join(map(str, leaf.shape[1:])) or "one number"
        named.append(
            shape if leaf.is_floating_point() else f"{shape} ({str(leaf.dtype).removeprefix('torch.')})"
        )
    return " and ".join(named)


def _way_out(error: Exception, inputs: Inputs) -> str:
    text = str(error)
    several = isinstance(inputs, tuple) and len(inputs) > 1
    images = several and all(isinstance(part, Tensor) and part.dim() == 3 for part in inputs)
    if (isinstance(error, TypeError) and "positional argument" in text) or images:
        if several:
            return "; a network that takes one list needs ([first, second],) in place of several inputs"
        return "; a network of several inputs needs example_inputs=(first, second)"
    if "indices" in text and "Long" in text:
        return "; a network of tokens needs example_inputs=ids, integers of shape (N, T)"
    return ""


def with_examples(problem: Problem, trial: Trial, examples: Examples, loss: Loss) -> Problem:
    """Return the problem with scoring data that network and loss can take.

    Raises:
        UsageError: The labels do not fit the logits, or the loss gives no mean.
    """
    inputs, labels = examples
    labels = labels.to(problem.device)
    default = loss is nn.functional.cross_entropy or type(loss) is nn.CrossEntropyLoss
    if default and trial.logits.dim() > 1:
        labels = class_numbers(labels, trial.logits)
        if has_classes_last(labels, trial.logits):
            loss = _OfTokens(loss)
    elif labels.is_floating_point():
        labels = labels.to(problem.dtype)
    _try_loss(loss, trial.logits, labels[: len(trial.logits)])
    return replace(problem, examples=(trial.convert(inputs), labels), loss=loss)


@dataclass(frozen=True)
class _OfTokens:
    """A loss of logits (N, T, K) and labels (N, T), over all tokens alike."""

    loss: Loss

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.loss(logits.flatten(0, -2), labels.flatten())


def _try_loss(loss: Loss, logits: Tensor, labels: Tensor) -> None:
    shapes = f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} {labels.dtype}"
    try:
        found: Any = loss(logits.clone(), labels.clone())
    except Exception as error:  # a function of the caller may fail in any way
        reason = one_line(error, first_line=True)
        raise UsageError(f"the loss fails on {shapes}: {reason}; pass a loss= for them") from error
    if not isinstance(found, Tensor):
        raise UsageError(
            f"the loss returns {describe(found)} for {shapes}; it must return the mean as a tensor"
        )
    if found.numel() != 1:
        raise UsageError(
            f"the loss returns shape {tuple(found.shape)} for {shapes}; it must return the mean over the "
            "batch, as with reduction='mean'"
        )


def number_of(inputs: Inputs | None) -> int:
    """Return the number of inputs of a network."""
    return len(inputs) if isinstance(inputs, tuple | dict) else 1
