"""Which parameters of a network may be pruned."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from synflow_bench.errors import ModelError
from synflow_bench.pruning._residual import ResidualScale
from synflow_bench.suites import PruningOptions


def prunable_parameters(
    model: nn.Module, options: PruningOptions, *, called: str | None = None
) -> dict[str, nn.Parameter]:
    """The prunable parameters of `model` by name, in the order of its modules.

    Weights of `Linear` and `Conv` layers; `options` add biases, batch norm's scales and shifts and the scales
    of `ResidualScale`, or leave out the classifier, which is the last linear layer (the last convolution
    where there is none), and what shares its weights. A tensor that several modules share has the name of the
    first. Raises `ModelError` when nothing is left, and for residual scales of a network that has none: it
    names the network as it is `called`, or by its class.
    """
    called = called or type(model).__name__
    if options.prune_residual and not any(isinstance(module, ResidualScale) for module in model.modules()):
        raise ModelError(
            f"{called} has no residual scales to prune; leave out prune_residual, or build a "
            "residual network with its option `residual = true`"
        )
    dense = {id(parameter) for parameter in _classifier(model)} if options.dense_classifier else set()
    names = (name for path, module in model.named_modules() for name in _names(path, module, options))
    known = {name: p for name, p in model.named_parameters() if id(p) not in dense}
    parameters = {name: known[name] for name in names if name in known}
    if not parameters:
        raise ModelError(f"{called} has nothing to prune; it needs a linear or convolutional layer")
    return parameters


def _names(path: str, module: nn.Module, options: PruningOptions) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    if isinstance(module, nn.Linear | _ConvNd):
        yield f"{prefix}weight"
        if options.prune_bias:
            yield f"{prefix}bias"
    elif isinstance(module, _BatchNorm) and options.prune_batchnorm:
        yield from (f"{prefix}weight", f"{prefix}bias")
    elif isinstance(module, ResidualScale) and options.prune_residual:
        yield f"{prefix}scale"


def _classifier(model: nn.Module) -> Iterator[nn.Parameter]:
    for kind in (nn.Linear, _ConvNd):
        layers = [module for module in model.modules() if isinstance(module, kind)]
        if layers:
            return layers[-1].parameters()
    return iter(())
