"""Helpers that several pruners share: gradients over the scoring data, made-up inputs, draws, layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from synflow_bench import Problem
from synflow_bench.pruning import Inputs, map_examples


def batch_losses(problem: Problem, temperature: float = 1.0) -> Iterator[Tensor]:
    """Yield the summed loss of each batch of scoring data, with logits divided by `temperature`."""
    for inputs, labels in problem.batches():
        yield problem.loss(problem.model(inputs) / temperature, labels) * len(labels)


def summed_gradients(problem: Problem, temperature: float = 1.0) -> list[Tensor]:
    """Return d(sum of losses)/dw over the scoring data for every prunable tensor, in their order."""
    weights = list(problem.parameters.values())
    total = [torch.zeros_like(w) for w in weights]
    for loss in batch_losses(problem, temperature):
        torch._foreach_add_(total, torch.autograd.grad(loss, weights, materialize_grads=True))
    return total


def sampled(problem: Problem, number: int) -> Problem:
    """Return the problem with `number` of its scoring examples, drawn anew; with all if it has no more."""
    if problem.examples is None or number >= len(problem.examples[1]):
        return problem
    inputs, labels = problem.examples
    drawn = torch.randperm(len(labels), generator=problem.generator)[:number].to(labels.device)
    return replace(problem, examples=(map_examples(lambda whole: whole[drawn], inputs), labels[drawn]))


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

    Token ids cannot be filled. Where there are any, the outputs of all embeddings are. An embedding that is
    pruned itself gives the mean of its rows, so that a flow passes through it; one that is pruned only
    because a linear layer shares its weights does not.

    Args:
        problem: The network and its example inputs, if any.
        fill: Takes the tensor of an input, and returns one of its shape.
    """
    inputs = problem.forward_inputs()
    with filled_embeddings(problem, inputs, fill):
        yield tree_map(lambda leaf: fill(leaf) if _is_floating(leaf) else leaf, inputs)


@contextmanager
def filled_embeddings(problem: Problem, inputs: Inputs, fill: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Fill the outputs of all embeddings, as `made_up_inputs` does, if there are token ids in `inputs`."""
    hooks = [
        module.register_forward_hook(_filling(problem, module, fill))
        for module in problem.model.modules()
        if has_tokens(inputs) and isinstance(module, nn.Embedding | nn.EmbeddingBag)
    ]
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


def _filling(
    problem: Problem, embedding: nn.Module, fill: Callable[[Tensor], Tensor]
) -> Callable[[nn.Module, object, Tensor], Tensor]:
    weight = embedding.weight
    sharing = sum(weight is tensor for module in problem.model.modules() for tensor in _own(module))
    prunable = any(weight is parameter for parameter in problem.parameters.values())
    prunable &= sharing == 1 or problem.options.prune_embedding

    def replace_output(module: nn.Module, _args: object, output: Tensor) -> Tensor:
        if prunable:
            row: Tensor = module.weight.mean(0)  # type: ignore[operator]
            return row.expand(output.shape).clone()
        return fill(output.detach())

    return replace_output


def _own(module: nn.Module) -> Iterator[Tensor | None]:
    yield from module._parameters.values()


def sum_of(outputs: object) -> Tensor:
    """Return the sum of all outputs of a network that can be differentiated."""
    leaves = [leaf for leaf in tree_leaves(outputs) if _is_floating(leaf)]
    total: Tensor = leaves[0].sum()
    for leaf in leaves[1:]:
        total = total + leaf.sum()
    return total


def is_unprunable_bias(problem: Problem, name: str) -> bool:
    """Return True if the parameter `name` is the bias of a layer or norm that no mask covers.

    Such a bias adds to its unit whatever reaches the unit, also when every path to it is pruned. Attention
    and recurrent layers have several, such as `in_proj_bias` and `bias_ih_l0`.
    """
    return is_bias(name) and name not in problem.parameters


def is_bias(name: str) -> bool:
    """Return True for the name of a bias or shift."""
    last = name.rpartition(".")[2]
    return last.startswith("bias") or last.endswith("_bias")


def channels_last(tensor: Tensor) -> Tensor:
    """Return a 4-dimensional tensor on a CPU with channels last, where few images convolve faster."""
    if tensor.dim() == 4 and tensor.device.type == "cpu":
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def unchanged(tensor: Tensor) -> Tensor:
    """Return the tensor in the memory layout that it has."""
    return tensor
