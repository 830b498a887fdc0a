"""Whether a smaller network computes what the whole one does, tried on two examples of noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

EXAMPLES = 2
SCALE = 17 / 16
"""Times this, parameters are tried: a copy that still computes with the original's own tensors shows."""

AGREEMENT = {torch.float64: 1e-8, torch.float32: 1e-3}
"""How far logits may differ, as a share of the largest: above it a network was misunderstood."""

Masked = tuple[nn.Module, Mapping[str, Tensor]]
"""A network and its masks."""


@torch.no_grad()
def agree(whole: Masked, small: Masked, input_shape: tuple[int, ...]) -> bool:
    """Whether both give the same logits in training and in evaluation, and draw no random numbers.

    Drawn numbers, as those of dropout, depend on how many units there are. Neither network is changed.
    """
    device = next(whole[0].parameters()).device
    # In double precision rounding is no excuse, whatever the device does to float32.
    dtype = torch.float32 if device.type == "mps" else torch.float64
    inputs = torch.randn(EXAMPLES, *input_shape, generator=torch.Generator().manual_seed(0))
    inputs = inputs.to(device, dtype)
    for training in (False, True):
        with _undrawn(device) as drawn:
            expected, found = (_logits(each, inputs, training) for each in (whole, small))
        if drawn or not _close(expected, found):
            return False
    return True


def _close(expected: Tensor, found: Tensor) -> bool:
    if expected.shape != found.shape:
        return False
    return float((expected - found).abs().max()) <= AGREEMENT[expected.dtype] * float(expected.abs().max())


def _logits(masked: Masked, inputs: Tensor, training: bool) -> Tensor:
    model, masks = masked
    state = {name: tensor.to(inputs.dtype) * SCALE for name, tensor in model.named_parameters()}
    for name, mask in masks.items():
        state[name].mul_(mask.to(state[name]))
    # Copies, since a pass in training writes into buffers.
    for name, tensor in model.named_buffers():
        state[name] = tensor.to(inputs.dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
    with _in_mode(model, training):
        logits: Tensor = torch.func.functional_call(model, state, (inputs,))
    return logits


@contextmanager
def _in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _undrawn(device: torch.device) -> Iterator[list[str]]:
    """Leave global generators as they were; what was drawn from stands in the list afterwards."""
    drawn: list[str] = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        before = _generators(device)
        yield drawn
        after = _generators(device)
        drawn.extend(name for name, state in before.items() if not torch.equal(state, after[name]))


def _generators(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states
