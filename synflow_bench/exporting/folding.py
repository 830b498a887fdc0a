"""Batch norm, folded into the convolutions before it."""

from __future__ import annotations

from collections import Counter

from torch import nn
from torch.fx import GraphModule, symbolic_trace
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from synflow_bench.errors import one_line
from synflow_bench.exporting.formats import ExportError
from synflow_bench.pruning import in_eval_mode


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Return a network in which convolutions have taken over the batch norm that follows them.

    Raises:
        ExportError: The code of the network cannot be traced by torch.fx, or uses a layer more than once.
    """
    from torch.fx.experimental.optimization import fuse

    try:
        _check_calls(symbolic_trace(in_eval_mode(model)))
        folded: nn.Module = fuse(model, no_trace=False)
    except Exception as error:  # code of a network may be anything
        reason = one_line(error, with_type=not isinstance(error, ExportError), first_line=True)
        raise ExportError(f"cannot fold batch norm: {reason}; export without folding") from error
    return in_eval_mode(folded)


def _check_calls(traced: GraphModule) -> None:
    """Check that each layer is called once: the weights of several calls cannot take over several norms."""
    called = [
        traced.get_submodule(str(node.target)) for node in traced.graph.nodes if node.op == "call_module"
    ]
    calls = Counter(id(module) for module in called if isinstance(module, _ConvNd | _BatchNorm))
    repeated = [name for name, module in traced.named_modules() if calls[id(module)] > 1]
    if repeated:
        raise ExportError(f"{min(repeated)!r} is used more than once")
