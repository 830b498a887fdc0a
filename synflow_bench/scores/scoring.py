"""The score of a network: examples are given or drawn, and every method is computed on one copy of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from synflow_bench.errors import HandledError, ModelError, UnknownNameError, UsageError, one_line
from synflow_bench.graph import unwrapped
from synflow_bench.pruning import check_network, copy_network, gradients_enabled
from synflow_bench.scores.methods import METHODS, NOT_FINITE, NoScoreError, ScoredNetwork

EXAMPLES = 32
"""The number of examples that are drawn where no data are given."""


def score(
    model: nn.Module,
    input_shape: Sequence[int],
    methods: str | Iterable[str] | None = None,
    *,
    data: tuple[Tensor, Tensor] | None = None,
    examples: int = EXAMPLES,
    seed: int = 0,
) -> dict[str, float | None]:
    """Score a network at initialization by zero-cost proxies; the network itself is left as it is.

    Args:
        model: The network, with the weights to score it with.
        input_shape: The shape of one example, such as (3, 32, 32).
        methods: Names of `METHODS`; by default all of them.
        data: Inputs (N, ...) and labels (N,) of one batch. Without them, standard normal inputs and uniform
            labels are drawn, or uniform tokens for a network that begins with an embedding.
        examples: The number of examples that are drawn, at least 2.
        seed: The seed of these draws.

    Returns:
        The scores by name. A score that is not defined for the network is None, with a warning that says why.

    Raises:
        UnknownNameError: If a method has another name.
        UsageError: If the data or the shape are no batch.
        ModelError: If the network cannot take the input.

    Example:
        >>> import torch
        >>> import synflow_bench as sfb
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> found = sfb.score(model, (4,), ["synflow", "parameters", "macs"])
        >>> found["parameters"], found["macs"]
        (67.0, 56.0)
    """
    chosen = check_methods(methods)
    found: dict[str, float | None] = {}
    with gradients_enabled():
        subject = _subject(model, input_shape, data, examples, seed)
        for name in chosen:
            try:
                found[name] = _finite(METHODS[name](subject))
            except HandledError as reason:
                found[name] = None
                warnings.warn(f"no score {name!r}: {reason}", stacklevel=2)
            except Exception as error:  # a network may fail in any way
                found[name] = None
                reason_line = one_line(error, with_type=False, first_line=True)
                warnings.warn(f"no score {name!r}: it cannot be computed ({reason_line})", stacklevel=2)
    return found


def _finite(value: float) -> float:
    if value != value or abs(value) == float("inf"):
        raise NoScoreError(NOT_FINITE)
    return value


def check_methods(methods: str | Iterable[str] | None) -> list[str]:
    """Return the names of scores, each once; all of them for None.

    Raises:
        UnknownNameError: There is no such score.
    """
    given = [*METHODS] if methods is None else [methods] if isinstance(methods, str) else methods
    if not isinstance(given, Iterable):
        raise UsageError(f"methods={methods!r} are not names of scores, such as ['synflow', 'naswot']")
    given = list(given)
    for name in given:
        if name not in METHODS:
            raise UnknownNameError("score", str(name), METHODS)
    return list(dict.fromkeys(given))


def _subject(
    model: nn.Module,
    input_shape: Sequence[int],
    data: tuple[Tensor, Tensor] | None,
    examples: int,
    seed: int,
) -> ScoredNetwork:
    check_network(model, lazy=True)
    shape = tuple(input_shape) if isinstance(input_shape, Iterable) else (input_shape,)
    if not shape or not all(isinstance(size, Integral) and size > 0 for size in shape):
        raise UsageError(f"input_shape {input_shape!r} is not the shape of one example, such as (3, 32, 32)")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise UsageError(f"seed={seed!r} is not a whole number from 0 on")
    copy = _copy(model)
    device = next((p.device for p in copy.parameters()), torch.device("cpu"))
    draws = torch.Generator().manual_seed(seed)
    if data is None:
        if not isinstance(examples, int) or examples < 2:
            raise UsageError(f"examples={examples!r} is not a number from 2 on")
        inputs, logits = _drawn(copy, (examples, *shape), draws, device)
        labels = torch.randint(logits.shape[-1], (len(inputs),), generator=draws).to(device)
    else:
        inputs, labels = _given(data, device)
        logits = _logits(copy, inputs)
    if logits.dim() != 2 or labels.shape != logits.shape[:1]:
        raise UsageError(
            f"the network gives {tuple(logits.shape)} for {len(inputs)} inputs with labels "
            f"{tuple(labels.shape)}; it must give logits (N, classes), and the data one label per input"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise UsageError(
            f"labels are from {int(labels.min())} to {int(labels.max())}, and the network has "
            f"{logits.shape[1]} classes"
        )
    # Only now: the parameters of a lazy layer exist after its first input.
    return ScoredNetwork(copy.requires_grad_(True), shape, inputs, labels)


def _copy(model: nn.Module) -> nn.Module:
    """Return a copy in float32, in the modes of a `ScoredNetwork`, without wrappers of torch around it."""
    model, _ = unwrapped(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(
            "the network is a script without gradients of its own; pass the module it was made of"
        )
    copy = copy_network(model).float()
    for module in copy.modules():
        module.train(isinstance(module, _BatchNorm))
        if isinstance(module, _BatchNorm):
            module.momentum = 0.0  # its statistics, which the flow uses, stay as they are
    return copy


def _given(data: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return given inputs and labels on the device; inputs in float32, like the network, or token ids."""
    pair = tuple(data) if isinstance(data, tuple | list) else ()
    if len(pair) != 2 or not all(isinstance(each, Tensor) and len(each.shape) and len(each) for each in pair):
        raise UsageError("data are inputs (N, ...) and labels (N,), two tensors of one batch")
    # Clones, since tensors of inference mode have no gradients.
    inputs, labels = (each.to(device).clone() for each in pair)
    if labels.is_floating_point() or labels.is_complex():
        raise UsageError(f"labels are of {labels.dtype}; they must be whole numbers")
    if inputs.is_floating_point() and not bool(inputs.isfinite().all()):
        raise UsageError("inputs have numbers that are not finite; clean them first")
    return inputs.float() if inputs.is_floating_point() else inputs, labels.long()


def _drawn(
    model: nn.Module, shape: tuple[int, ...], draws: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return random inputs that the network takes, and its logits for them."""
    noise = torch.randn(shape, generator=draws).to(device)
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    try:
        return noise, _logits(model, noise)
    except ModelError as error:
        if not embeddings:
            raise ModelError(
                f"{error}; input_shape is the shape of one example, such as (3, 32, 32), without the batch"
            ) from error
    # Positions and kinds of tokens have embeddings too, often of fewer entries.
    sizes = sorted({module.num_embeddings for module in embeddings}, reverse=True)
    for number in sizes[:-1]:
        tokens = torch.randint(number, shape, generator=draws).to(device)
        try:
            return tokens, _logits(model, tokens)
        except ModelError:
            continue
    tokens = torch.randint(sizes[-1], shape, generator=draws).to(device)
    return tokens, _logits(model, tokens)


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        try:
            logits = model(inputs)
        except Exception as error:  # a network may fail in any way
            reason = one_line(error, with_type=False, first_line=True)
            shape = "x".join(map(str, inputs.shape[1:]))
            raise ModelError(f"the network cannot take an input of {shape}: {reason}") from error
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or not logits.dim():
        raise ModelError(f"the network returns {type(logits).__name__}, not a tensor of logits")
    return logits
