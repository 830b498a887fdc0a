"""The network of a cell, built and tried on one example, and the check of a setting before a run."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from synflow_bench.errors import HandledError, ModelError, UnknownNameError, UsageError, one_line
from synflow_bench.graph import Graph, Untraceable, trace
from synflow_bench.metrics import uses_of_weights
from synflow_bench.pruning import prunable_parameters
from synflow_bench.suites import ModelSpec, Setting

Factory = Callable[..., nn.Module]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Network:
    """A network with fresh weights.

    Attributes:
        model: The module.
        uses: The number of times that each entry of a weight tensor is used for one example, by name.
        graph: The outcome of `trace`.
    """

    model: nn.Module
    uses: Mapping[str, int]
    graph: Graph | Untraceable


def build_network(
    factory: Factory,
    spec: ModelSpec,
    input_shape: Shape,
    num_classes: int,
    seed: int,
    device: torch.device,
) -> Network:
    """Build `spec` on the CPU, so that equal seeds give equal weights on every device, and move it.

    Args:
        factory: The model's factory, called as `factory(input_shape, num_classes, **options)`.
        spec: The name and the options of the model.
        input_shape: The shape (C, H, W) of one example.
        num_classes: The number of logits.
        seed: The seed of the weights; the global random state is restored.
        device: The device of the result.

    Raises:
        UsageError: The factory does not accept an option.
        ModelError: The network rejects the input, or does not return one logit per class.
    """
    _check_options(factory, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, uses = _build_and_try(factory, spec, input_shape, num_classes)
    graph = trace(model, torch.zeros(1, *input_shape))
    return Network(model.to(device), uses, graph)


def prunable_of(model: nn.Module, setting: Setting) -> dict[str, nn.Parameter]:
    """Return the parameters of the setting's network `model` that may be pruned, by name.

    Raises:
        HandledError: There are none, or the network lacks parameters that the setting prunes.
    """
    return prunable_parameters(model, setting.pruning, called=f"model {setting.model.name!r}")


_SMALL = 5_000_000
"""A network with this many parameters is built and tried on an example in about a tenth of a second."""


def check_network(factory: Factory, setting: Setting, input_shape: Shape, num_classes: int) -> None:
    """Check that cells of `setting` can build and prune their network.

    A small network is built and tried on one example; a large one is built without memory for its weights
    and not tried. Errors that are not a `HandledError` are left to the cells, whose records keep the
    traceback.

    Raises:
        HandledError: The error that every cell of the setting would end with.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cells will warn
        try:
            model = _trial_network(factory, setting.model, input_shape, num_classes)
            prunable_of(model, setting)
        except HandledError:
            raise
        except (Exception, SystemExit):
            return


def _trial_network(factory: Factory, spec: ModelSpec, input_shape: Shape, num_classes: int) -> nn.Module:
    _check_options(factory, spec)
    try:
        with torch.device("meta"), _NormalDrawsSkipped():
            model = factory(input_shape, num_classes, **spec.options)
    except HandledError:
        pass  # perhaps about the meta device, which cells do not use
    else:
        if sum(parameter.numel() for parameter in model.parameters()) > _SMALL:
            return model
    return _build_and_try(factory, spec, input_shape, num_classes)[0]


class _NormalDrawsSkipped(TorchFunctionMode):
    """Skips normal draws for tensors without values, for which torch would load its compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.normal_ and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def _build_and_try(
    factory: Factory, spec: ModelSpec, input_shape: Shape, num_classes: int
) -> tuple[nn.Module, dict[str, int]]:
    """Build the network on the CPU, run one example, and return it with the uses of its weights."""
    shape = "x".join(map(str, input_shape))
    try:
        model = factory(input_shape, num_classes, **spec.options)
        uses, output = uses_of_weights(model, torch.zeros(1, *input_shape))
    except HandledError:
        raise
    except (RuntimeError, ValueError) as error:
        reason = one_line(error, with_type=False, first_line=True)
        raise ModelError(f"model {spec.name!r} cannot take an input of {shape}: {reason}") from error
    if tuple(output.shape) != (1, num_classes):
        raise ModelError(
            f"model {spec.name!r} gives {tuple(output.shape[1:])} outputs for an input of {shape}, "
            f"not one for each of {num_classes} classes"
        )
    return model, uses


def _check_options(factory: Factory, spec: ModelSpec) -> None:
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters][2:]
    for name in spec.options:
        if not known:
            raise UsageError(f"unknown option of model {spec.name!r}: {name!r}; it takes none")
        if name not in known:
            raise UnknownNameError(f"option of model {spec.name!r}:", name, known)
