"""The causes of scores of zero and of undefined ones: where gradients end, or undefined numbers begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from synflow_bench.errors import one_line
from synflow_bench.pruning.prunable import CONVOLUTION, LINEAR

if TYPE_CHECKING:
    from synflow_bench.pruning.problem import Problem

EXAMPLES = 64
"""The number of scoring examples that the search for causes looks at."""

NOISE = 1e-10
"""The share of the flow behind a layer below which the flow before it is rounding noise."""

MANY = 3
"""The number of layers that a cause names."""


def causes_of_zeros(problem: Problem, names: Sequence[str]) -> dict[str, list[str]]:
    """Find out why layers score zero, and what helps.

    Args:
        problem: The network as it was scored, in float64; it is changed.
        names: The parameters whose scores are all zero.

    Returns:
        The parameters by cause.
    """
    probe = _probe(problem)
    filled, zeros = problem.with_weights_for_zeros()
    fixed = _probe(filled) if zeros else _Probe()
    causes: dict[str, list[str]] = {}
    for name in names:
        causes.setdefault(_cause(problem, name, probe, fixed, zeros), []).append(name)
    return causes


def cause_of_failure(problem: Problem) -> str:
    """Find out why all scores of a network are zero, and what helps."""
    probe = _probe(problem)
    if probe.failure:
        return probe.failure
    filled, zeros = problem.with_weights_for_zeros()
    if zeros and _probe(filled).reached - probe.reached:
        return _zero_initialized(zeros)
    return _ended(problem, probe)


def cause_of_undefined(problem: Problem, places: Sequence[str]) -> str:
    """Say why scores are not finite, and what helps, as far as it is known."""
    weights = [name for name, dense in problem.dense.items() if not bool(dense.isfinite().all())]
    if weights:
        return f": the weights of {listed(weights)} are not; load or train others"
    if not places:
        return ""
    with_data = "use other data, or a pruner without data"
    way_out = "a pruner with data, such as snip, may rank them" if problem.examples is None else with_data
    return f": infinite or undefined numbers begin {places[0]}; {way_out}"


@contextmanager
def first_not_finite(model: nn.Module) -> Iterator[list[str]]:
    """Look for the place where infinite or undefined numbers begin, in a network that the context scores.

    Yields:
        A list that gets the place as text, such as "in 'norm' (LayerNorm)", if there is one.
    """
    places: list[str] = []

    def note(place: str, value: Any) -> None:
        if not places and not _is_finite(value):
            places.append(place)

    def before(_module: nn.Module, args: Any, kwargs: Any) -> None:
        note("in the inputs", (args, kwargs))

    def after(title: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        begins = any(module.children()) or _is_finite((args, kwargs))
        note(f"{'in' if begins else 'before'} {title}", output)
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                leaf.register_hook(partial(note, f"in the gradient behind {title}"))  # type: ignore[no-untyped-call]

    hooks = [model.register_forward_pre_hook(before, with_kwargs=True)]
    for name, module in model.named_modules():
        title = f"{name!r} ({type(module).__name__})" if name else type(module).__name__
        hooks.append(module.register_forward_hook(partial(after, title), with_kwargs=True))
    try:
        yield places
    finally:
        for hook in hooks:
            hook.remove()


def _is_finite(value: Any) -> bool:
    """Return True unless a tensor in `value` has undefined numbers or inf; masks may be -inf."""
    leaves = (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor) and leaf.is_floating_point())
    return all(bool((leaf < inf).all()) for leaf in leaves)


def _cause(problem: Problem, name: str, probe: _Probe, filled: _Probe, zeros: Sequence[str]) -> str:
    if name in zeros:
        return "they are zero-initialized; set other values before, or leave them out of the pruning"
    if probe.failure:
        return probe.failure
    if name in probe.unused:
        return "unused in this mode, like auxiliary heads in evaluation; leave them out of the pruning"
    if name not in probe.reached and name in filled.reached:
        return _zero_initialized(zeros)
    return _ended(problem, probe)


def _zero_initialized(zeros: Sequence[str]) -> str:
    names = _few([repr(name) for name in zeros])
    return f"zero-initialized weights ({names}) let no gradient through; set other values before"


def _ended(problem: Problem, probe: _Probe) -> str:
    where = f" in {_few(probe.ends)}" if probe.ends else ""
    if probe.constant:
        return (
            f"the sum of the outputs does not depend on weights before {_few(probe.constant)}, whose outputs "
            "have a constant sum; score the network without it, or use a pruner with data such as snip"
        )
    if problem.examples is not None:
        return f"no gradient passes{where} for the scoring data; use other data, or a pruner without data"
    if not where and problem.token_embeddings():
        return (
            "nothing flows there from ones at the output of the token embeddings, perhaps because a norm "
            "makes zeros of equal entries; a pruner with data, such as snip, may rank them"
        )
    if not where:
        return "nothing flows there for the ones input; a pruner with data, such as snip, may rank them"
    return (
        f"activations are saturated by the ones input{where}; use a pruner with data such as snip, or "
        "activations that are linear for large inputs, such as ReLU"
    )


@dataclass
class _Probe:
    """The outcome of one backward pass.

    Attributes:
        reached: The parameters with a gradient.
        unused: The parameters that the output does not depend on.
        ends: The layers that a gradient reaches from behind and does not leave, as text.
        constant: Those of them that would pass a gradient, but not one of a sum.
        failure: The reason why nothing is known, if so.
    """

    reached: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()
    ends: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)
    failure: str = ""


@dataclass
class _Call:
    """One call of a layer: its input and its output."""

    title: str
    module: nn.Module
    before: Tensor
    after: Tensor | None = None


def _probe(problem: Problem) -> _Probe:
    """Follow the gradient of the loss, or of the sum of the outputs without data, back through the layers."""
    try:
        with _calls(problem.model) as calls:
            total = _objective(problem)
        names = list(problem.parameters)
        tensors = [tensor for call in calls for tensor in (call.before, call.after) if tensor is not None]
        gradients = torch.autograd.grad(
            total, [*problem.parameters.values(), *tensors], allow_unused=True, retain_graph=False
        )
    except Exception as error:  # a network may fail in any way, and then the cause stays unknown
        return _Probe(failure=f"the cause is unknown ({one_line(error, first_line=True)})")
    flows = dict(zip(map(id, tensors), gradients[len(names) :], strict=True))
    of_weights = dict(zip(names, gradients, strict=False))
    ends = [call for call in calls if _ends(call, flows)]
    return _Probe(
        reached=frozenset(n for n, g in of_weights.items() if g is not None and bool(g.any())),
        unused=frozenset(n for n, g in of_weights.items() if g is None),
        ends=[call.title for call in ends],
        constant=[call.title for call in ends if _normalizes(call.module)],
    )


def _objective(problem: Problem) -> Tensor:
    if problem.examples is not None:
        inputs, labels = next(problem.batches(EXAMPLES))
        return problem.loss(problem.model(inputs), labels)
    outputs = problem.model(problem.forward_inputs())
    sums = [leaf.sum() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.requires_grad]
    return torch.stack(sums).sum()


@contextmanager
def _calls(model: nn.Module) -> Iterator[list[_Call]]:
    """Record the calls of all layers without parts; each works on a copy of its input, perhaps in place."""
    calls: list[_Call] = []
    hooks = []
    for name, module in model.named_modules():
        if not any(module.children()):
            before, after = _recorders(f"{name!r} ({type(module).__name__})", calls)
            hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _recorders(title: str, calls: list[_Call]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or not isinstance(args[0], Tensor) or not args[0].requires_grad:
            return None
        calls.append(_Call(title, module, args[0]))
        return (args[0].clone(), *args[1:])

    def after(module: nn.Module, _args: object, output: object) -> Tensor | None:
        mine = next((call for call in reversed(calls) if call.module is module and call.after is None), None)
        if mine is None or not isinstance(output, Tensor) or not output.requires_grad:
            return None
        mine.after = output
        return output.clone()

    return before, after


def _ends(call: _Call, flows: Mapping[int, Tensor | None]) -> bool:
    """Return True if a flow comes out of the layer whose gradient does not pass on to its input."""
    if call.after is None:
        return False
    ahead, behind = flows[id(call.before)], flows[id(call.after)]
    if ahead is None or behind is None or not bool(call.before.detach().any()):
        return False
    if not bool(ahead.any()):
        return bool(behind.any())
    if isinstance(call.module, (*LINEAR, *CONVOLUTION)):
        return False  # its input is small beside its bias
    flow_in, flow_out = (
        float(tensor.detach().double().norm() * gradient.double().norm())
        for tensor, gradient in ((call.before, ahead), (call.after, behind))
    )
    return flow_in <= NOISE * flow_out


def _normalizes(module: nn.Module) -> bool:
    """Return True for a softmax or a norm of what it receives, as a batch norm without running statistics."""
    if isinstance(module, _BatchNorm) and module.running_mean is not None:
        return False
    return any(word in type(module).__name__.lower() for word in ("norm", "softmax"))


def _few(titles: Sequence[str]) -> str:
    unique = list(dict.fromkeys(titles))
    more = [f"{len(unique) - MANY} more"] if len(unique) > MANY else []
    return ", ".join([*unique[:MANY], *more])


def listed(names: Sequence[str]) -> str:
    """Return names in a line: "layer 'a'", "layers 'a' and 'b'", "layers 'a', 'b' and 7 more"."""
    shown = [repr(name) for name in names]
    if len(shown) == 1:
        return f"layer {shown[0]}"
    if len(shown) > 3:
        shown = [*shown[:2], f"{len(shown) - 2} more"]
    return f"layers {', '.join(shown[:-1])} and {shown[-1]}"
