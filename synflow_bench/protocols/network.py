"""The network of a cell, built and tried on one example, and the check of a setting before a run."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from synflow_bench.cost import uncounted_layer
from synflow_bench.errors import HandledError, ModelError, UnknownNameError, UsageError, one_line
from synflow_bench.graph import Graph, Untraceable, trace
from synflow_bench.host import Entry, short
from synflow_bench.metrics import Uses, uses_of_weights
from synflow_bench.pruning import allow_removed_units, prunable_parameters
from synflow_bench.suites import ModelSpec, Setting
from synflow_bench.training import blank_input, is_tokens

Factory = Callable[..., nn.Module]
Shape = tuple[int, ...]


class InvalidModelError(ModelError):
    """A model of a plugin that breaks the contract; in a run, the message names its distribution."""


@contextmanager
def blamed_on(entry: Entry) -> Iterator[None]:
    """Name the distribution of a model in errors about a broken contract."""
    try:
        yield
    except InvalidModelError as error:
        raise InvalidModelError(f"{error} ({entry.distribution} {short(entry.version)})") from error


@dataclass(frozen=True)
class Network:
    """A network with fresh weights.

    Attributes:
        model: The module.
        uses: The number of times that each entry of a weight tensor is used for one example, by name.
        graph: The outcome of `trace`.
        uncounted: The name of a parameter whose multiply-accumulates cannot be counted, if there is one.
    """

    model: nn.Module
    uses: Uses
    graph: Graph | Untraceable
    uncounted: str | None = None


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
        input_shape: The shape of one example: (C, H, W) of an image, (length,) of a sequence of tokens.
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
    allow_removed_units(model)
    example = blank_input(input_shape)
    graph, uncounted = trace(model, example), uncounted_layer(model, uses, example)
    return Network(model.to(device), uses, graph, uncounted)


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
        _check_module(model, spec)
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
) -> tuple[nn.Module, Uses]:
    """Build the network on the CPU, run one example, and return it with the uses of its weights."""
    shape = f"{input_shape[0]} tokens" if is_tokens(input_shape) else "x".join(map(str, input_shape))
    try:
        model = factory(input_shape, num_classes, **spec.options)
        _check_module(model, spec)
        uses, output = uses_of_weights(model, blank_input(input_shape))
    except HandledError:
        raise
    except (RuntimeError, ValueError) as error:
        reason = one_line(error, with_type=False, first_line=True)
        raise ModelError(f"model {spec.name!r} cannot take an input of {shape}: {reason}") from error
    _check_output(output, spec, shape, num_classes)
    return model, uses


def _check_module(model: object, spec: ModelSpec) -> None:
    if not isinstance(model, nn.Module):
        raise InvalidModelError(
            f"model {spec.name!r} is a {type(model).__name__}; its factory must return a torch.nn.Module"
        )


def _check_output(output: object, spec: ModelSpec, shape: str, num_classes: int) -> None:
    name, way_out = f"model {spec.name!r}", "return the logits alone, a tensor (N, classes)"
    if not isinstance(output, Tensor):
        raise InvalidModelError(f"{name} gives a {type(output).__name__}; {way_out}")
    if tuple(output.shape) != (1, num_classes):
        raise InvalidModelError(
            f"{name} gives {tuple(output.shape[1:])} outputs for an input of {shape}, "
            f"not one for each of {num_classes} classes"
        )
    if not output.is_floating_point():
        raise InvalidModelError(f"{name} gives logits of {output.dtype}; {way_out} of float32")


def _check_options(factory: Factory, spec: ModelSpec) -> None:
    if not callable(factory):
        raise InvalidModelError(
            f"model {spec.name!r} is a {type(factory).__name__}; register a function "
            "factory(input_shape, num_classes)"
        )
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # some that are not written in Python have none
        return
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters][2:]
    for name in spec.options:
        if not known:
            raise UsageError(f"unknown option of model {spec.name!r}: {name!r}; it takes none")
        if name not in known:
            raise UnknownNameError(f"option of model {spec.name!r}:", name, known)
    _check_types(factory, spec)


def _check_types(factory: Factory, spec: ModelSpec) -> None:
    """Check options against the annotations of a factory, as far as it has some that can be read."""
    try:
        hints = get_type_hints(vars(factory).get("__init__") if isinstance(factory, type) else factory)
        adapters = {name: TypeAdapter(hints[name]) for name in spec.options if name in hints}
    except Exception:  # a plugin may annotate as it likes
        return
    for name, adapter in adapters.items():
        try:
            adapter.validate_python(spec.options[name], strict=True)
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise UsageError(
                f"model {spec.name!r}: option {name}={spec.options[name]!r}: {reason[:1].lower()}{reason[1:]}"
            ) from None
