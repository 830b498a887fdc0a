"""Rules for what treats every entry for itself: activations, sums, products."""

from __future__ import annotations

from functools import reduce

from torch import Tensor

from synflow_bench.metrics.connectivity._call import Call

UNTAGGED = (
    *("_prelu_kernel", "_to_copy", "alpha_dropout", "clone", "dropout", "hardswish", "lift_fresh"),
    *("log_sigmoid_forward", "native_dropout", "rrelu_with_noise"),
)
"""Operations on single entries that torch does not tag as such."""


def elementwise(call: Call) -> Tensor:
    """Units feed themselves; of a sum or a product of activations, both sides feed a new unit.

    Parameters that are multiplied are scales, which cut a unit when pruned; those that are added belong to
    it. A statistic that the network computes from several channels and multiplies by hand, as squeeze and
    excitation does, feeds all channels that it scales.
    """
    operands = [value for value in call.arguments.values() if isinstance(value, Tensor)]
    ids = reduce(call.ledger.join, (call.ids(value) for value in operands if call.is_activation(value)))
    for value in operands:
        if not call.is_activation(value):
            ids = _with_constant(call, ids, value)
    return ids


def overwrite(call: Call) -> Tensor:
    """A copy into another tensor."""
    if call.is_activation(call["src"]):
        return call.ids(call["src"])
    return call.ids(call["self"])


def _with_constant(call: Call, ids: Tensor, value: Tensor) -> Tensor:
    view = call.known.view(value)
    if view is not None and call.name == "mul":
        return call.ledger.scale(ids, view)
    if view is not None and call.name in {"add", "sub", "rsub"}:
        call.ledger.attach(ids, view)
        return ids
    call.meet_constant(ids, value)
    return ids
