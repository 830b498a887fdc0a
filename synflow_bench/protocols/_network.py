"""A cell's network, built and tried on one example."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from synflow_bench.errors import HandledError, ModelError, UnknownNameError, UsageError
from synflow_bench.metrics import Connectivity, NotFollowed, trace, uses_of_weights
from synflow_bench.pruning import prunable_parameters
from synflow_bench.suites import ModelSpec, Setting

Factory = Callable[..., nn.Module]


@dataclass(frozen=True)
class Network:
    """A network with fresh weights, how often each weight tensor's entries are used for one example, and
    which units feed which."""

    model: nn.Module
    uses: Mapping[str, int]
    connectivity: Connectivity | NotFollowed


def build_network(
    factory: Factory,
    spec: ModelSpec,
    input_shape: tuple[int, int, int],
    num_classes: int,
    seed: int,
    device: torch.device,
) -> Network:
    """Build `spec` on the CPU, so that equal seeds give equal weights on every device, and move it to
    `device`.

    Raises `ModelError` where the network cannot take the input or does not give one logit a class.
    """
    check_options(factory, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, uses = build_and_try(factory, spec, input_shape, num_classes)
    connectivity = trace(model, torch.zeros(1, *input_shape))
    return Network(model.to(device), uses, connectivity)


def prunable_of(model: nn.Module, setting: Setting) -> dict[str, nn.Parameter]:
    """The parameters of the setting's network `model` that may be pruned, by name."""
    return prunable_parameters(model, setting.pruning, called=f"model {setting.model.name!r}")


def build_and_try(
    factory: Factory, spec: ModelSpec, input_shape: tuple[int, int, int], num_classes: int
) -> tuple[nn.Module, dict[str, int]]:
    """The network on the CPU, which has answered one example, and the uses of its weights.

    Raises `ModelError` where it cannot take the input or does not give one logit a class.
    """
    shape = "x".join(map(str, input_shape))
    try:
        model = factory(input_shape, num_classes, **spec.options)
        uses, output = uses_of_weights(model, torch.zeros(1, *input_shape))
    except HandledError:
        raise
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"model {spec.name!r} cannot take an input of {shape}: {reason}") from error
    if tuple(output.shape) != (1, num_classes):
        raise ModelError(
            f"model {spec.name!r} gives {tuple(output.shape[1:])} outputs for an input of {shape}, "
            f"not one for each of {num_classes} classes"
        )
    return model, uses


def check_options(factory: Factory, spec: ModelSpec) -> None:
    """Raise `UsageError` for an option that the factory of `spec` does not take."""
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters][2:]
    for name in spec.options:
        if not known:
            raise UsageError(f"unknown option of model {spec.name!r}: {name!r}; it takes none")
        if name not in known:
            raise UnknownNameError(f"option of model {spec.name!r}:", name, known)
