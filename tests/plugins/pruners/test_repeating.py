"""Equal windows computed once give what torch's convolution gives, and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import reduce

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.utils.checkpoint import checkpoint

import synflow_bench as sfb
from synflow_bench import Problem
from synflow_bench.pruning import run_pruner
from synflow_bench_models.resnet import lottery_resnet20 as resnet20
from synflow_bench_models.vgg import lottery_vgg11_bn as vgg11_bn
from synflow_bench_pruners import repeating
from synflow_bench_pruners.repeating import RepeatingImages, has_equal_weights
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


WIDE = (1, 3, 32, 32)
"""The shape of an image whose convolution to 64 channels and back is worth the search."""


def stack(*between: nn.Module) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = (
            nn.Conv2d(3, 64, 3, padding=1, bias=False),
            nn.Conv2d(64, 64, 3, padding=1, bias=False),
        )
        return nn.Sequential(first, second, *between).double()


class InPlace(nn.Module):
    """Writes into the result of a convolution."""

    def __init__(self, write: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        return self.write(x)


def add_one(x: Tensor) -> Tensor:
    x += 1
    return x


def clear_row(x: Tensor) -> Tensor:
    x[:, :, 0] = 0
    return x


class Checkpointed(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = checkpoint(self.part, x, use_reentrant=False)
        return out


def in_autocast(x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return conv2d(x, torch.ones(64, 64, 3, 3, dtype=x.dtype), None, 1, 1)


CONSUMERS = {
    "relu in place": lambda: stack(nn.ReLU(inplace=True)),
    "+=": lambda: stack(InPlace(add_one)),
    "a row": lambda: stack(InPlace(clear_row)),
    "add_ of itself": lambda: stack(InPlace(lambda x: x.add_(x.detach()))),
    "checkpoint": lambda: nn.Sequential(Checkpointed(stack(nn.ReLU(inplace=True))), nn.Tanh()),
    "compiled": lambda: torch.compile(stack(nn.ReLU(inplace=True)), backend="eager"),
    "channels last": lambda: stack(nn.ReLU()).to(memory_format=torch.channels_last),
    "view": lambda: stack(InPlace(lambda x: x.view(1, -1))),
    "vmap": lambda: stack(InPlace(lambda x: torch.func.vmap(torch.sin)(x))),
    "inside vmap": lambda: InPlace(lambda x: torch.func.vmap(stack())(x[:, None])[:, 0]),
    "autocast": lambda: stack(InPlace(in_autocast)),
}


def hooked(kind: str) -> nn.Module:
    net = stack(nn.ReLU())
    if kind == "forward":
        net[0].register_forward_hook(lambda _m, _i, output: output.mul_(2))
    elif kind == "backward":
        net[1].register_full_backward_hook(lambda _m, given, _o: tuple(g * 2 for g in given))
    else:
        net[0].register_forward_hook(
            lambda _m, _i, output: output.register_hook(lambda g: g.mul_(2)) and None
        )
    return net


CONSUMERS |= {
    f"{kind} hook": lambda kind=kind: hooked(kind)  # type: ignore[misc]
    for kind in ("forward", "backward", "tensor")
}


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler looks at it
@pytest.mark.parametrize("kind", CONSUMERS)
def test_whatever_is_done_with_the_result_gives_what_torch_gives(kind: str) -> None:
    net = CONSUMERS[kind]()

    def run() -> tuple[Tensor, ...]:
        pixels = torch.ones(WIDE, dtype=torch.float64, requires_grad=True)
        outputs = net(pixels * 1)
        weights = [pixels, *net.parameters()]
        of_pixels, *rest = torch.autograd.grad(outputs.square().sum(), weights, materialize_grads=True)
        return outputs, of_pixels.sum((2, 3)), *rest

    expected = run()
    with RepeatingImages():
        found = run()
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other)
    assert found[0].is_contiguous() == expected[0].is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_types_are_left_to_torch(dtype: torch.dtype) -> None:
    pixels, net = torch.ones(WIDE, dtype=dtype), stack().to(dtype)
    with RepeatingImages():
        found = net(pixels)
    torch.testing.assert_close(found, net(pixels), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["ones", "anything"])
def test_second_derivatives_are_those_of_torch(kind: str) -> None:
    torch.manual_seed(0)
    pixels, kernel = image(kind, 7, 7).requires_grad_(), random(4, 3, 3, 3).requires_grad_()

    def hessian_products() -> tuple[Tensor, ...]:
        outputs = conv2d(pixels, kernel, None, (2, 1), (1, 0))
        first = torch.autograd.grad(outputs.pow(3).sum(), [pixels, kernel], create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), [kernel])  # type: ignore[arg-type]

    expected = hessian_products()
    with computed_once() as rows:
        found = hessian_products()
    assert rows
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "stride 0": lambda x: conv2d(x, random(4, 3, 3, 3), None, 0),
    "negative padding": lambda x: conv2d(x, random(4, 3, 3, 3), None, 1, -1),
    "three strides": lambda x: conv2d(x, random(4, 3, 3, 3), None, (1, 1, 1)),  # type: ignore[arg-type]
    "bias of another length": lambda x: conv2d(x, random(4, 3, 3, 3), random(5)),
    "bias of another type": lambda x: conv2d(x, random(4, 3, 3, 3), torch.rand(4)),
    "kernel of another type": lambda x: conv2d(x, torch.rand(4, 3, 3, 3)),
    "no kernel": lambda x: conv2d(x, None),  # type: ignore[arg-type]
    "three dimensions": lambda x: conv2d(x, random(4, 3, 3)),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_arguments_raise_what_torch_raises(kind: str) -> None:
    pixels = image("ones", 9, 9)
    with pytest.raises((RuntimeError, TypeError)) as expected:
        WRONG[kind](pixels)
    with computed_once(), pytest.raises((RuntimeError, TypeError)) as found:
        WRONG[kind](pixels)
    assert (found.type, str(found.value)) == (expected.type, str(expected.value))


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["synflow[rounds=3]", "synflow-l2[rounds=3]"])
def test_the_size_of_the_image_decides_nothing(name: str, dtype: torch.dtype, size: int) -> None:
    pool = (nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    net = stack(*pool).to(dtype)
    assert sfb.prune(net, name, compression=4, input_shape=(3, size, size)).kept == 9808


@pytest.mark.parametrize("name", ["synflow[rounds=3]", "ntk-sap[rounds=1,repeats=1]"])
def test_networks_that_view_their_activations_are_pruned(name: str) -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.head = stack(nn.ReLU(), nn.MaxPool2d(4)), nn.Linear(64 * 64, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.features(x).view(x.shape[0], -1))
            return logits

    assert sfb.prune(Viewing(), name, compression=4, input_shape=(3, 32, 32)).kept == 12720


@pytest.mark.filterwarnings("ignore:None of the inputs")
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("name", ["synflow[rounds=3]", "snip", "grasp"])
def test_networks_with_checkpoints_are_pruned(name: str, reentrant: bool) -> None:
    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.rest = nn.Conv2d(3, 64, 3, padding=1), stack()[1].float()
            self.head = nn.Linear(64, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = checkpoint(self.rest, self.first(x), use_reentrant=reentrant)
            logits: Tensor = self.head(hidden.mean((2, 3)))
            return logits

    data = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    assert sfb.prune(Saving(), name, compression=4, input_shape=(3, 32, 32), data=data).kept == 9696


def signed_constants() -> nn.Module:
    """As in signed constant initialization; at 2x2, rows of different windows are equal."""
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    for layer in (layers[0], layers[2]):
        nn.init.constant_(layer.weight, 0.1)  # type: ignore[arg-type]
    return nn.Sequential(*layers, nn.Conv2d(16, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def upsampled() -> nn.Module:
    """A transposed convolution that begins as nearest-neighbor upsampling, before a stride."""
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, stride=2)]
    weight = layers[2].weight
    assert isinstance(weight, Tensor)
    weight.data.copy_(weight.data[:, :, :1, :1].expand_as(weight))
    layers += [nn.Conv2d(4, 8, 3, padding=1, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 3))


def generated() -> nn.Module:
    """An image of equal pixels from equal rows of a linear layer."""
    first = nn.Linear(3 * 4, 2 * 16)
    first.weight.data.copy_(first.weight.data.view(2, 16, -1)[:, :1].expand(2, 16, -1).reshape(32, -1))
    nn.init.zeros_(first.bias)
    layers = nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(nn.Flatten(), first, nn.Unflatten(1, (2, 4, 4)), *layers, nn.Linear(8, 3))


class Shuffled(nn.Module):
    """Channels that are laid out as pixels; all pixels of one channel begin equal."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (
            nn.Conv2d(3, 16, 1),
            nn.Conv2d(4, 8, 3, stride=2),
            nn.Linear(8, 3),
        )
        weight = self.first.weight.data
        weight.copy_(weight.view(4, 4, 3, 1, 1)[:, :1].expand(4, 4, 3, 1, 1).reshape(16, 3, 1, 1))
        nn.init.zeros_(self.first.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        pixels = self.first(x).view(n, 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, 4, 2 * h, 2 * w)
        logits: Tensor = self.last(self.second(pixels).relu().mean((2, 3)))
        return logits


class SideBySide(nn.Module):
    """Two copies of one layer make the halves of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 1)
        self.right, self.second, self.last = deepcopy(self.left), nn.Conv2d(4, 8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.second(torch.cat([self.left(x), self.right(x)], 3))
        logits: Tensor = self.last(hidden.relu().mean((2, 3)))
        return logits


@pytest.mark.parametrize("build", [signed_constants, upsampled, generated, Shuffled, SideBySide])
def test_equal_pixels_of_different_weights_keep_their_gradients(
    build: Callable[[], nn.Module], pose: Pose, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
    shape = (3, 2, 2) if build in (signed_constants, generated) else (3, 6, 6)
    absolute = deepcopy(model).double()
    for parameter in absolute.parameters():
        parameter.data.abs_()
    absolute(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    monkeypatch.setattr(repeating, "WORTH", 0)
    problem = pose(model, shape)
    scores = SynFlow().score(problem.transformed(SynFlow().values))
    for name, score in scores.items():
        weight = absolute.get_parameter(name)
        assert weight.grad is not None
        torch.testing.assert_close(score.double(), weight.detach() * weight.grad, rtol=1e-4, atol=1e-6)
    expected = run_pruner(SynFlow(rounds=3), pose(model, shape), 0.5).masks
    monkeypatch.setattr(repeating, "WORTH", 1 << 60)
    assert expected == run_pruner(SynFlow(rounds=3), pose(model, shape), 0.5).masks


def test_networks_of_random_weights_are_computed_once() -> None:
    for build in (resnet20, vgg11_bn):
        assert not has_equal_weights(build((3, 32, 32), 10).parameters())
    assert not has_equal_weights([torch.zeros(4, 4), torch.zeros(4, 4), torch.ones(8)])
