"""Equal windows computed once give what torch's convolution gives, and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d

from synflow_bench import Problem
from synflow_bench.pruning import run_pruner
from synflow_bench_models.resnet import lottery_resnet20 as resnet20
from synflow_bench_models.vgg import lottery_vgg11_bn as vgg11_bn
from synflow_bench_pruners import repeating
from synflow_bench_pruners.repeating import RepeatingImages
from synflow_bench_pruners.synflow import SynFlow, SynFlowL2

Pose = Callable[..., Problem]
Convolve = Callable[[Tensor], Tensor]
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@contextmanager
def computed_once() -> Iterator[list[int]]:
    """Every convolution is worth it; tells how many rows the products for images and for gradients had."""
    rows: list[int] = []
    original = repeating.multiply_by_columns

    def noted(few: Tensor, wide: Tensor) -> Tensor:
        rows.append(len(few))
        return original(few, wide)

    with pytest.MonkeyPatch.context() as patch, RepeatingImages():
        patch.setattr(repeating, "WORTH", 0)
        patch.setattr(repeating, "multiply_by_columns", noted)
        yield rows


def random(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64)


def image(kind: str, height: int, width: int) -> Tensor:
    """Three channels: of ones, of anything, or of anything above two rows that are the same all along."""
    if kind == "ones":
        return torch.ones(1, 3, height, width, dtype=torch.float64)
    pixels = random(1, 3, height, width)
    if kind == "bands":
        pixels[..., : min(2, height), :] = random(1, 3, 1, 1)
    return pixels


@settings(deadline=None)
@given(
    kind=st.sampled_from(["ones", "anything", "bands"]),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=PAIRS,
    stride=PAIRS,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=PAIRS,
    summed=st.booleans(),
)
def test_two_convolutions_and_their_gradients_are_those_of_torch(
    kind: str,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    summed: bool,
) -> None:
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = (max(size[0], reach[0]), max(size[1], reach[1]))
    torch.manual_seed(0)
    pixels = image(kind, *size)
    leaves = [random(4, 3, *kernel), random(4), random(5, 4, 3, 3), random(5)]
    if kind == "anything":
        leaves.append(pixels)
    for leaf in leaves:
        leaf.requires_grad_()
    first, first_bias, second, second_bias = leaves[:4]

    def outputs() -> Tensor:
        hidden = conv2d(pixels, first, first_bias, stride, padding, dilation)
        return conv2d(hidden, second, second_bias, 1, 1)

    plain = outputs()
    weighting = torch.ones_like(plain) if summed else random(*plain.shape)
    expected = torch.autograd.grad(plain, leaves, weighting)
    with computed_once() as rows:
        found = outputs()
        assert len(rows) == 2, "no convolution was taken over"
        gradients = torch.autograd.grad(found, leaves, weighting)
    torch.testing.assert_close(found, plain)
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other)


def chained(pixels: Tensor, kernels: list[Tensor]) -> Tensor:
    """One convolution of a padding of 1 after the other."""
    return reduce(lambda hidden, kernel: conv2d(hidden, kernel, None, 1, 1), kernels, pixels)


def test_an_image_of_ones_has_as_many_windows_as_its_border_makes() -> None:
    ones, kernels = image("ones", 32, 40), [random(3, 3, 3, 3).requires_grad_() for _ in range(3)]
    with computed_once() as rows:
        hidden = chained(ones, kernels)
        assert rows == [3 * 3, 5 * 5, 7 * 7]
        torch.autograd.grad(hidden.sum(), kernels)
    assert rows[3:] == [7 * 7, 5 * 5], "the gradients of equal windows are summed first"


def test_the_gradient_of_a_sum_has_a_border_too() -> None:
    pixels, kernels = image("anything", 8, 8), [random(3, 3, 3, 3).requires_grad_() for _ in range(3)]
    with computed_once() as rows:
        hidden = chained(pixels, kernels)
        assert rows == [64, 64, 64]
        torch.autograd.grad(hidden.sum(), kernels)
    assert rows[3:] == [1, 3 * 3]


@pytest.mark.parametrize(
    "convolve",
    [
        pytest.param(lambda x: conv2d(x, random(6, 1, 3, 3), None, 1, 0, 1, 3), id="groups"),
        pytest.param(lambda x: conv2d(x.repeat(2, 1, 1, 1), random(6, 3, 3, 3)), id="two images"),
        pytest.param(lambda x: conv2d(x, random(6, 3, 3, 3), None, 1, "same"), id="padding in words"),
        pytest.param(lambda x: conv2d(x[0], random(6, 3, 3, 3)), id="no batch"),
        pytest.param(lambda _: conv2d(image("anything", 36, 36), random(6, 3, 3, 3)), id="many windows"),
    ],
)
def test_other_convolutions_are_left_to_torch(convolve: Convolve) -> None:
    pixels = image("ones", 6, 6)
    torch.manual_seed(0)
    expected = convolve(pixels)
    torch.manual_seed(0)
    with computed_once() as rows:
        torch.testing.assert_close(convolve(pixels), expected)
    assert not rows


@pytest.mark.parametrize("kernel", [(4, 2, 3, 3), (4, 3, 7, 7)], ids=["channels", "too large"])
def test_errors_are_those_of_torch(kernel: tuple[int, ...]) -> None:
    with computed_once(), pytest.raises(RuntimeError, match=r"channels|[Kk]ernel size"):
        conv2d(image("ones", 5, 5), random(*kernel))


def test_small_convolutions_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "multiply_by_columns", None)
    pixels, kernel = image("ones", 9, 9), random(8, 3, 3, 3)
    with RepeatingImages():
        found = conv2d(pixels, kernel, None, 1, 1)
    torch.testing.assert_close(found, conv2d(pixels, kernel, None, 1, 1), rtol=0, atol=0)


@pytest.mark.parametrize("factory", [resnet20, vgg11_bn], ids=["resnet20", "vgg11-bn"])
@pytest.mark.parametrize("pruner", [SynFlow(rounds=5), SynFlowL2(rounds=5)], ids=["synflow", "synflow-l2"])
def test_synflow_keeps_the_same_weights(
    pose: Pose, factory: Callable[..., nn.Module], pruner: SynFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model, shape = factory((3, 32, 32), 10).double(), (3, 32, 32)
    monkeypatch.setattr(repeating, "WORTH", float("inf"))
    expected = run_pruner(pruner, pose(model, shape), 0.1).masks
    with computed_once() as rows:
        found = run_pruner(pruner, pose(model, shape), 0.1).masks
    assert rows
    differing = sum(int((found[name] != expected[name]).sum()) for name in expected)
    assert differing <= 1e-5 * expected.size, "rounding decides near-ties only"
