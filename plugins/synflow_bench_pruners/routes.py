"""The ways from a network's input to its output, unit by unit, for those that walk along them.

One forward pass is watched call by call. Found are weighted layers, what passes units on unchanged, sums,
concatenations and flattening; anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from synflow_bench import Problem
from synflow_bench.errors import ModelError

LAYERS = {"linear", *(f"conv{'_transpose' * t}{d}d" for d in (1, 2, 3) for t in (False, True))}
JOINS = {"cat", "concat", "concatenate"}
FLATTENS = {"flatten", "view", "reshape", "squeeze"}
ARITHMETIC = {f"{kind}{name}" for name in ("add", "sub", "mul", "div", "truediv") for kind in ("", "i", "r")}
AVERAGES = {"mean", "sum", "amax"}
POOLS = {
    *(f"{kind}_pool{d}d" for d in (1, 2, 3) for kind in ("max", "avg", "lp", "adaptive_max", "adaptive_avg")),
    *("interpolate", "upsample", "pad"),
}
ELEMENTWISE = {
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "glu"),
    *("sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "softplus", "softsign", "logsigmoid"),
    *("softmax", "log_softmax", "clamp", "neg", "abs", "square", "sqrt", "exp", "pow", "maximum", "minimum"),
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"),
    *("batch_norm", "instance_norm", "group_norm", "layer_norm", "local_response_norm", "normalize"),
    *("contiguous", "clone", "to", "float", "double", "type_as", "requires_grad"),
}


@dataclass(frozen=True)
class Point:
    """A tensor on the way, (N, units, ...). A unit is the same unit in every parent.

    `carried` names the parameters with one entry a unit that it passes: biases, scales and shifts.
    """

    units: int
    parents: tuple[int, ...] = ()
    carried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layer(Point):
    """What a linear or convolutional layer makes of its parent."""

    weight: str = ""
    transposed: bool = False


@dataclass(frozen=True)
class Flat(Point):
    """Every unit of the parent becomes as many units in a row as it has positions."""


@dataclass(frozen=True)
class Joined(Point):
    """The units of the parents, one after the other."""


def trace(problem: Problem) -> list[Point]:
    """All that lies between input (first) and output (last), every point after its parents.

    Raises `ModelError` for what cannot be followed.
    """
    watch = _Watch(problem.model)
    example = torch.ones(2, *problem.input_shape, dtype=problem.dtype, device=problem.device)
    watch.put(example, Point(example.shape[1]))
    with torch.no_grad(), watch:
        output = problem.model(example)
    if id(output) not in watch.places:
        raise watch.refusal("no output that comes from its input")
    return _past_identities(_between(watch.points, watch.places[id(output)]), problem)


def _between(points: list[Point], output: int) -> list[Point]:
    """Leave out what does not lead to `output`, and number the rest anew."""
    needed = {output}
    for place in range(output, -1, -1):
        if place in needed:
            needed.update(points[place].parents)
    order = {place: number for number, place in enumerate(sorted(needed))}
    kept = [points[place] for place in order]
    return [_with_parents(point, tuple(order[parent] for parent in point.parents)) for point in kept]


def _past_identities(points: list[Point], problem: Problem) -> list[Point]:
    """Leave out shortcuts that have nothing to prune: ways into a sum from where another way came by."""
    passed: list[set[int]] = []
    result = []
    for place, point in enumerate(points):
        passed.append({place}.union(*(passed[parent] for parent in point.parents)))
        parents = point.parents
        if type(point) is Point and len(parents) > 1:
            roots = {parent: _root(points, parent, problem) for parent in parents}
            others = {p: set().union(*(passed[q] for q in parents if roots[q] != roots[p])) for p in parents}
            parents = tuple(parent for parent in parents if roots[parent] not in others[parent])
        result.append(_with_parents(point, parents))
    return _between(result, len(result) - 1)


def _root(points: list[Point], place: int, problem: Problem) -> int:
    """Where the units at `place` come from without passing anything that may be pruned."""
    while type(points[place]) is Point and len(points[place].parents) == 1:
        if any(name in problem.masks for name in points[place].carried):
            break
        place = points[place].parents[0]
    return place


def _with_parents(point: Point, parents: tuple[int, ...]) -> Point:
    return type(point)(**{**vars(point), "parents": parents})


class _Watch(TorchFunctionMode):
    """Notes a `Point` for every tensor that comes from the input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.points: list[Point] = []
        self.places: dict[int, int] = {}
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._alive: list[Tensor] = []
        self._model = type(model).__name__

    def put(self, tensor: Tensor, point: Point) -> None:
        """Say that `tensor` is a new `point`."""
        self.points.append(point)
        self._at(tensor, len(self.points) - 1)

    def refusal(self, what: str) -> ModelError:
        """The error that says what cannot be followed."""
        return ModelError(
            f"{self._model} has {what}; phew follows layers, sums, concatenations and flattening only: "
            "choose another pruner"
        )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`, and note what it has made."""
        given = [*_tensors(args), *_tensors((kwargs or {}).values())]
        shapes = {id(tensor): tuple(tensor.shape) for tensor in given}
        result = func(*args, **(kwargs or {}))
        tracked = [tensor for tensor in given if id(tensor) in self.places]
        if isinstance(result, Tensor) and not tracked:
            self._rename(given, result)
        elif isinstance(result, Tensor):
            rest = [tensor for tensor in given if id(tensor) not in self.places]
            self._note(func.__name__.strip("_"), tracked, rest, shapes, result)
        elif any(True for _ in _tensors([result])) and tracked:
            raise self.refusal(f"a call of {func.__name__}, which gives several tensors")
        return result

    def _at(self, tensor: Tensor, place: int) -> None:
        self.places[id(tensor)] = place
        self._alive.append(tensor)  # an id must not be used again

    def _rename(self, given: list[Tensor], result: Tensor) -> None:
        """A parameter in another shape keeps its name."""
        if len(given) == 1 and id(given[0]) in self._names and given[0].numel() == result.numel():
            self._names[id(result)] = self._names[id(given[0])]
            self._alive.append(result)

    def _note(
        self,
        name: str,
        tracked: list[Tensor],
        rest: list[Tensor],
        shapes: Mapping[int, tuple[int, ...]],
        result: Tensor,
    ) -> None:
        parents = tuple(dict.fromkeys(self.places[id(tensor)] for tensor in tracked))
        befores = [shapes[id(tensor)] for tensor in tracked]
        same = all(tuple(result.shape[:2]) == before[:2] for before in befores)
        unchanged = name in ARITHMETIC | ELEMENTWISE | POOLS | FLATTENS
        averaged = name in AVERAGES and result.dim() in {2, len(befores[0])}
        if name in LAYERS and len(parents) == 1 and (name != "linear" or result.dim() == 2):
            self._layer(name, parents, rest, result)
        elif same and (unchanged or averaged):
            self._pass(parents, rest, result)
        elif name in FLATTENS and len(befores) == 1 and result.dim() == 2 and len(result) == befores[0][0]:
            self.put(result, Flat(result.shape[1], parents))
        elif name in JOINS and not rest and sum(before[1] for before in befores) == result.shape[1]:
            everything = tuple(self.places[id(tensor)] for tensor in tracked)
            self.put(result, Joined(result.shape[1], everything))
        else:
            raise self.refusal(f"a call of {name} from {befores[0]} to {tuple(result.shape)}")

    def _layer(self, name: str, parents: tuple[int, ...], rest: list[Tensor], result: Tensor) -> None:
        weight, *others = rest
        if id(weight) not in self._names or not isinstance(weight, nn.Parameter):
            raise self.refusal(f"a {name} whose weight is computed")
        named, units = self._names[id(weight)], result.shape[1]
        carried = self._carried(others, units)
        self.put(result, Layer(units, parents, carried, named, transposed="transpose" in name))

    def _pass(self, parents: tuple[int, ...], rest: list[Tensor], result: Tensor) -> None:
        carried = self._carried(rest, result.shape[1])
        if len(parents) == 1 and not carried:
            self._at(result, parents[0])
        else:
            self.put(result, Point(result.shape[1], parents, carried))

    def _carried(self, tensors: list[Tensor], units: int) -> tuple[str, ...]:
        return tuple(self._names[id(t)] for t in tensors if id(t) in self._names and t.numel() == units)


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
