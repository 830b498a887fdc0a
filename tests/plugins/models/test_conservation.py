"""SynFlow's score is conserved on large networks: by unit, by layer, and by path where there are shortcuts.

`pytest -s` prints the largest relative error of each network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.pruning import Problem, ResidualScale
from synflow_bench.suites import PruningOptions
from synflow_bench_models.imagenet import imagenet_vgg19
from synflow_bench_models.resnet import BasicBlock, lottery_resnet20, tinyimagenet_resnet18
from synflow_bench_models.vgg import lottery_vgg16_bn, tinyimagenet_vgg11_bn
from synflow_bench_pruners.synflow import SynFlow, total_flow

RELATIVE = 1e-9
Shape = tuple[int, int, int]


def scored(
    model: nn.Module, shape: Shape, *, residual: bool = False
) -> tuple[Problem, dict[str, Tensor], float]:
    """Return the problem in float64, SynFlow's scores, and the total flow R."""
    problem = Problem.of(
        model.double(),
        input_shape=shape,
        num_classes=10,
        generator=torch.Generator(),
        options=PruningOptions(prune_residual=residual),
    )
    scores = dict(SynFlow().score(problem))
    return problem, scores, float(total_flow(problem.transformed(SynFlow().values)).detach())


def into(scores: Tensor) -> Tensor:
    """Sum the flow into every output unit of a layer."""
    return scores.flatten(1).sum(1)


def out_of(scores: Tensor, units: int) -> Tensor:
    """Sum the flow out of every input unit of a layer; after flattening, a unit has several inputs."""
    by_input = scores.transpose(0, 1).flatten(1).sum(1)
    return by_input.reshape(units, -1).sum(1)


def largest_error(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    return max(float(((one - other).abs() / one.abs()).max()) for one, other in pairs)


SLOW = pytest.mark.slow
CHAINS = [
    pytest.param(lottery_vgg16_bn, (3, 32, 32), 100, id="lottery/vgg16-bn"),
    pytest.param(tinyimagenet_vgg11_bn, (3, 64, 64), 200, id="tinyimagenet/vgg11-bn", marks=SLOW),
    pytest.param(imagenet_vgg19, (3, 224, 224), 1000, id="imagenet/vgg19", marks=SLOW),
]


@pytest.mark.parametrize(("factory", "shape", "classes"), CHAINS)
def test_without_shortcuts_units_and_layers_conserve(
    factory: Callable[[Shape, int], nn.Module], shape: Shape, classes: int, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    _, scores, total = scored(factory(shape, classes), shape)
    layers = list(scores.values())
    assert total > 0
    units = largest_error((into(one), out_of(after, len(one))) for one, after in pairwise(layers))
    sums = max(abs(float(layer.sum()) / total - 1) for layer in layers)
    print(f"{request.node.callspec.id}: R {total:.3e}, units {units:.1e}, layers {sums:.1e}")
    assert units < RELATIVE
    assert sums < RELATIVE


@pytest.mark.parametrize(
    ("factory", "shape"),
    [
        pytest.param(lottery_resnet20, (3, 32, 32), id="lottery/resnet20"),
        pytest.param(tinyimagenet_resnet18, (3, 64, 64), id="tinyimagenet/resnet18"),
    ],
)
def test_with_shortcuts_paths_conserve_together(
    factory: Callable[..., nn.Module], shape: Shape, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    model = factory(shape, 10, residual=True)
    problem, scores, total = scored(model, shape, residual=True)
    blocks = {name: b for name, b in problem.model.named_modules() if isinstance(b, BasicBlock)}
    arriving, units, sums = into(scores["stem.conv.weight"]), [], []
    for name, block in blocks.items():
        first, second = scores[f"{name}.conv1.weight"], scores[f"{name}.conv2.weight"]
        scaled = isinstance(block.shortcut, ResidualScale)
        around = scores[f"{name}.shortcut.{'scale' if scaled else 'conv.weight'}"]
        leaving = out_of(first, len(arriving)) + (around if scaled else out_of(around, len(arriving)))
        units.append((arriving, leaving))
        units.append((into(first), out_of(second, len(first))))
        arriving = into(second) + (around if scaled else into(around))
        sums.append(abs(float(arriving.sum()) / total - 1))
    units.append((arriving, out_of(scores["classifier.weight"], len(arriving))))
    sums.append(abs(float(scores["classifier.weight"].sum()) / total - 1))
    print(
        f"{request.node.callspec.id}: R {total:.3e}, units {largest_error(units):.1e}, paths {max(sums):.1e}"
    )
    assert largest_error(units) < RELATIVE
    assert max(sums) < RELATIVE
