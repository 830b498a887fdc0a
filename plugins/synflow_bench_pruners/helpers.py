"""Helpers that several pruners share: gradients over the scoring data, made-up inputs, draws, layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from synflow_bench import Problem
from synflow_bench.graph import call_with
from synflow_bench.pruning import Examples, Inputs, map_examples

Mode = Literal["train", "eval"]
"""The mode of the network while it is scored.

In training mode batch norm normalizes by the statistics of the batch, and dropout is active. At
initialization, batch norm in evaluation mode passes on what it receives.
"""


def batch_losses(problem: Problem, temperature: float = 1.0, mode: Mode = "eval") -> Iterator[Tensor]:
    """Yield the summed loss of each batch of scoring data, with logits divided by `temperature`.

    In training mode the batches are as equal as possible, since batch norm sees each of them alone, and
    dropout draws from the problem's generator.
    """
    if mode == "eval":
        for inputs, labels in problem.batches():
            yield problem.loss(problem.model(inputs) / temperature, labels) * len(labels)
        return
    for inputs, labels in equal_batches(problem, problem.batch_size):
        with in_mode(problem, mode):
            logits = logits_of(problem, inputs)
        yield problem.loss(logits / temperature, labels) * len(labels)


def summed_gradients(problem: Problem, temperature: float = 1.0, mode: Mode = "eval") -> list[Tensor]:
    """Return d(sum of losses)/dw over the scoring data for every prunable tensor, in their order."""
    weights = list(problem.parameters.values())
    total = [torch.zeros_like(w) for w in weights]
    for loss in batch_losses(problem, temperature, mode):
        torch._foreach_add_(total, torch.autograd.grad(loss, weights, materialize_grads=True))
    return total


def equal_batches(problem: Problem, size: int) -> Iterator[Examples]:
    """Yield the scoring data in parts of at most `size` that are as equal as possible.

    A last part of one example would leave batch norm no variance to normalize by.
    """
    if problem.examples is None:
        yield from problem.batches(size)  # which says what is missing
        return
    labels = problem.examples[1]
    places = torch.arange(len(labels), device=labels.device)
    for part in places.tensor_split(-(-len(labels) // size)):
        yield _at(part, problem.examples)


@contextmanager
def in_mode(problem: Problem, mode: Mode) -> Iterator[None]:
    """Set the mode of the network, and back to evaluation afterwards; in training, seed global draws."""
    with global_draws(problem) if mode == "train" else nullcontext():
        problem.model.train(mode == "train")
        try:
            yield
        finally:
            problem.model.eval()


def logits_of(
    problem: Problem, inputs: Inputs, weights: Mapping[str, Tensor] = MappingProxyType({})
) -> Tensor:
    """Return the logits, perhaps with other weights; the statistics of batch norm stay as they are."""
    buffers = {name: buffer.clone() for name, buffer in problem.model.named_buffers()}
    logits: Tensor = call_with(problem.model, {**weights, **buffers}, inputs)
    return logits


def sampled(problem: Problem, number: int) -> Problem:
    """Return the problem with `number` of its scoring examples, drawn anew; with all if it has no more."""
    if problem.examples is None or number >= len(problem.examples[1]):
        return problem
    labels = problem.examples[1]
    drawn = torch.randperm(len(labels), generator=problem.generator)[:number].to(labels.device)
    return replace(problem, examples=_at(drawn, problem.examples))


def _at(places: Tensor, examples: Examples) -> Examples:
    inputs, labels = examples
    return map_examples(lambda whole: whole[places], inputs), labels[places]


@contextmanager
def global_draws(problem: Problem) -> Iterator[None]:
    """Seed torch's global generators from the problem's own, and restore them afterwards.

    Layers such as dropout draw from the global generators only.
    """
    seed = int(torch.randint(2**62, (), generator=problem.generator))
    devices = [problem.device] if problem.device.type in {"cuda", "mps"} else []
    with torch.random.fork_rng(devices, device_type=devices[0].type if devices else "cuda"):
        torch.manual_seed(seed)
        yield


@contextmanager
def made_up_inputs(problem: Problem, fill: Callable[[Tensor], Tensor]) -> Iterator[Inputs]:
    """Give inputs of ones or noise, with which no data are needed; the forward pass belongs in the context.

    Token ids cannot be filled. The outputs of the embeddings that look them up are, and those of others, such
    as positions, stay as they are. An embedding that is pruned itself gives the mean of its rows, so that a
    flow passes through it; one that is pruned only because a linear layer shares its weights does not.

    Args:
        problem: The network and its example inputs, if any.
        fill: Takes the tensor of an input, and returns one of its shape.
    """
    inputs = problem.forward_inputs()
    with filled_embeddings(problem, inputs, fill):
        yield tree_map(lambda leaf: fill(leaf) if _is_floating(leaf) else leaf, inputs)


@contextmanager
def filled_embeddings(problem: Problem, inputs: Inputs, fill: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Fill the outputs of embeddings, as `made_up_inputs` does, if there are token ids in `inputs`."""
    hooks = []
    if has_tokens(inputs):
        of_tokens = problem.token_embeddings()
        for name, module in problem.model.named_modules():
            if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                if _is_pruned(problem, module.weight):
                    hooks.append(module.register_forward_hook(_give_mean_row))
                elif name in of_tokens:
                    hooks.append(module.register_forward_hook(_filling(fill)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def has_tokens(inputs: Inputs) -> bool:
    """Return True if the inputs contain token ids."""
    leaves = (leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor))
    return any(leaf.dtype in {torch.int64, torch.int32} for leaf in leaves)


def _is_floating(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _is_pruned(problem: Problem, weight: Tensor) -> bool:
    """Return True if an embedding is pruned itself, not only because another layer shares its weights."""
    sharing = sum(weight is tensor for module in problem.model.modules() for tensor in _own(module))
    prunable = any(weight is parameter for parameter in problem.parameters.values())
    return prunable and (sharing == 1 or problem.options.prune_embedding)


def _give_mean_row(module: nn.Module, _args: object, output: Tensor) -> Tensor:
    row: Tensor = module.weight.mean(0)  # type: ignore[operator]
    return row.expand(output.shape).clone()


def _filling(fill: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, object, Tensor], Tensor]:
    return lambda _module, _args, output: fill(output.detach())


def _own(module: nn.Module) -> Iterator[Tensor | None]:
    yield from module._parameters.values()


def additive_masks(model: nn.Module) -> frozenset[str]:
    """Return the names of the buffers that a network adds to leave something out, such as a causal mask.

    Some entries are negative, perhaps infinite, and none is positive. The statistics of batch norm are none.
    """
    return frozenset(
        name
        for name, buffer in model.named_buffers()
        if buffer.is_floating_point() and buffer.layout is torch.strided
        if not name.endswith(("running_mean", "running_var"))
        if buffer.numel() and bool(buffer.max() <= 0) and bool(buffer.min() < 0)
    )


def square_of(tensor: Tensor) -> Tensor:
    """Return the squares of a tensor, also of a sparse one of a layout that torch does not square."""
    if tensor.layout in {torch.strided, torch.sparse_coo}:
        return tensor.square()
    squares = tensor.detach().clone()
    squares.values().square_()
    return squares


def sum_of(outputs: object) -> Tensor:
    """Return the sum of all outputs of a network that can be differentiated."""
    leaves = [leaf for leaf in tree_leaves(outputs) if _is_floating(leaf)]
    total: Tensor = leaves[0].sum()
    for leaf in leaves[1:]:
        total = total + leaf.sum()
    return total


def channels_last(tensor: Tensor) -> Tensor:
    """Return a 4-dimensional tensor on a CPU with channels last, where few images convolve faster."""
    if tensor.dim() == 4 and tensor.device.type == "cpu":
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def unchanged(tensor: Tensor) -> Tensor:
    """Return the tensor in the memory layout that it has."""
    return tensor
