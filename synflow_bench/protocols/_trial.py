"""Whether a setting can have its network, found out before its cells are run."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from synflow_bench.errors import HandledError
from synflow_bench.protocols._network import Factory, build_and_try, check_options, prunable_of
from synflow_bench.suites import ModelSpec, Setting

Shape = tuple[int, int, int]
SMALL = 5_000_000
"""A network of so many parameters is built and has answered an example in about a tenth of a second."""


def check_network(factory: Factory, setting: Setting, input_shape: Shape, num_classes: int) -> None:
    """Raise what every cell of `setting` would, where that is a `HandledError` about its network.

    A small network is built and tried on one example; a large one is built without memory for its weights,
    and not tried. Whatever else goes wrong is left to the cells, whose records keep the traceback.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cells will warn
        try:
            model = _network(factory, setting.model, input_shape, num_classes)
            prunable_of(model, setting)
        except HandledError:
            raise
        except (Exception, SystemExit):
            return


def _network(factory: Factory, spec: ModelSpec, input_shape: Shape, num_classes: int) -> nn.Module:
    check_options(factory, spec)
    try:
        with torch.device("meta"), _Undrawn():
            model = factory(input_shape, num_classes, **spec.options)
    except HandledError:
        pass  # perhaps about the meta device, which cells do not meet
    else:
        if sum(parameter.numel() for parameter in model.parameters()) > SMALL:
            return model
    return build_and_try(factory, spec, input_shape, num_classes)[0]


class _Undrawn(TorchFunctionMode):
    """Leaves out normal draws for tensors without values: for these torch would load its compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.normal_ and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
