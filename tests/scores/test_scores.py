"""Scores of networks: compared with closed forms, finite differences and other arithmetic."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from math import log, log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import synflow_bench as sfb
from synflow_bench.errors import ModelError, UnknownNameError, UsageError
from synflow_bench.host import Host
from synflow_bench.records import Record, Store
from synflow_bench.scores import METHODS, SMOOTHING, correlations, rank_correlation
from synflow_bench.suites import ModelSpec, Recipe, Setting
from synflow_bench.testing import networks

MakeRecord = Callable[..., Record]


def seeded(*layers: Callable[[], nn.Module]) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(layer() for layer in layers))


def batch(shape: tuple[int, ...], classes: int, number: int = 12) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(number, *shape, generator=draws), torch.randint(classes, (number,), generator=draws)


def chain(depth: int, scale: float) -> nn.Sequential:
    """A chain of linear layers without biases, whose flow is the scale to the depth and more."""
    model = seeded(*(lambda: nn.Linear(6, 6, bias=False) for _ in range(depth)))
    for layer in model:
        nn.init.normal_(layer.weight, std=scale, generator=torch.Generator().manual_seed(depth))
    return model


@pytest.mark.parametrize(("depth", "scale"), [(3, 1.0), (1000, 30.0), (1000, 1e-4), (1000, 1.0)])
def test_the_flow_of_a_chain_is_the_product_of_its_matrices(depth: int, scale: float) -> None:
    model = chain(depth, scale)
    flow = np.ones(6, dtype=np.longdouble)  # of 80 bits: up to 10^4932
    if np.finfo(np.longdouble).maxexp < 16000:
        pytest.skip("no numbers of 80 bits")
    for layer in model:
        flow = np.abs(layer.weight.detach().numpy()).astype(np.longdouble) @ flow
    expected = np.log10(flow.sum())
    found = sfb.score(model, (6,), "synflow")["synflow"]
    assert found is not None
    assert abs(found - float(expected)) * log(10) < 1e-9, "the relative error of R"


@pytest.mark.parametrize(
    "build",
    [networks.plain, networks.with_biases, networks.with_batch_norm],
    ids=lambda build: build.__name__,
)
def test_the_flow_is_the_sum_of_the_outputs_of_absolute_weights(build: networks.Build) -> None:
    model = networks.seeded(build).eval()
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    absolute = {name: t.detach().abs().double() if t.is_floating_point() else t for name, t in state.items()}
    ones = torch.ones(1, *networks.INPUT_SHAPE, dtype=torch.float64)
    expected = torch.func.functional_call(model, absolute, (ones,)).sum().log10().item()
    assert sfb.score(model, networks.INPUT_SHAPE, "synflow")["synflow"] == pytest.approx(expected, rel=1e-12)


def test_the_flow_of_a_network_with_batch_norm_does_not_depend_on_other_scores() -> None:
    model = networks.seeded(networks.with_batch_norm)
    names = ["snip", "grasp", "jacobian-covariance", "naswot", "synflow"]
    together = sfb.score(model, networks.INPUT_SHAPE, names)
    for name in names:
        assert sfb.score(model, networks.INPUT_SHAPE, name)[name] == together[name]


@pytest.mark.slow
def test_the_flow_of_a_network_of_1202_layers_is_that_of_its_blocks_one_by_one() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Host.load().models.get("lottery/resnet1202")((3, 32, 32), 10).eval()
    found = sfb.score(model, (3, 32, 32), "synflow", examples=2)["synflow"]
    wide = model.double()
    for tensor in (*wide.parameters(), *wide.buffers()):
        tensor.data = tensor.data.abs()
    exponents: list[float] = []

    def near_one(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        exponents.append(float(output.max().log10()))
        return output / output.max()

    blocks = [m for m in model.modules() if type(m).__name__ == "BasicBlock" or type(m).__name__ == "Block"]
    assert len(blocks) == 600
    for block in blocks:
        block.register_forward_hook(near_one)
    with torch.no_grad():
        total = float(wide(torch.ones(1, 3, 32, 32, dtype=torch.float64)).sum())
    assert found is not None
    assert abs(found - (sum(exponents) + log10(total))) * log(10) < 1e-6
    assert found > 1000


def test_gradient_scores_of_a_linear_layer_follow_from_softmax() -> None:
    model, (inputs, labels) = seeded(lambda: nn.Linear(5, 3, bias=False)), batch((5,), 3)
    weight = model[0].weight.detach().double()
    x = inputs.double()
    residual = (x @ weight.T).softmax(1) - nn.functional.one_hot(labels, 3)
    gradient = residual.T @ x / len(x)
    found = sfb.score(model, (5,), ["snip", "gradient-norm"], data=(inputs, labels))
    assert found["gradient-norm"] == pytest.approx(float(gradient.norm()), rel=1e-5)
    assert found["snip"] == pytest.approx(float((weight * gradient).abs().sum()), rel=1e-5)


def test_grasp_is_the_derivative_along_the_gradient() -> None:
    model = seeded(nn.Flatten, lambda: nn.Linear(8, 6), nn.Tanh, lambda: nn.Linear(6, 3))
    data = batch((8,), 3)
    weights = [model[1].weight, model[3].weight]

    def gradients(shift: list[Tensor], step: float) -> list[Tensor]:
        wide = {"1.weight": weights[0], "3.weight": weights[1]}
        moved = {
            name: (w.detach().double() + step * s).requires_grad_()
            for (name, w), s in zip(wide.items(), shift, strict=True)
        }
        rest = {name: p.detach().double() for name, p in model.named_parameters() if name not in moved}
        logits = torch.func.functional_call(model, {**rest, **moved}, (data[0].double(),))
        loss = nn.functional.cross_entropy(logits, data[1])
        return list(torch.autograd.grad(loss, list(moved.values())))

    at = gradients([torch.zeros_like(w).double() for w in weights], 0.0)
    step = 1e-4
    pairs = zip(gradients(at, step), gradients(at, -step), strict=True)
    products = [(ahead - behind) / (2 * step) for ahead, behind in pairs]
    expected = -sum(float((w.detach().double() * p).sum()) for w, p in zip(weights, products, strict=True))
    assert sfb.score(model, (8,), "grasp", data=data)["grasp"] == pytest.approx(expected, rel=1e-4)


def test_the_jacobian_of_a_linear_layer_is_the_same_for_all_examples() -> None:
    model, data = seeded(lambda: nn.Linear(5, 3)), batch((5,), 3, number=4)
    k = SMOOTHING
    expected = -(log(4 + k) + 1 / (4 + k) + 3 * (log(k) + 1 / k))
    found = sfb.score(model, (5,), "jacobian-covariance", data=data)["jacobian-covariance"]
    assert found == pytest.approx(expected, rel=1e-6)


def test_uncorrelated_jacobians_give_minus_the_number_of_examples() -> None:
    class Gated(nn.Module):
        """A network whose gradient by each example is another unit vector, less the mean."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            directions = torch.tensor([[1.0, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
            return (x * directions).sum(1, keepdim=True).expand(-1, 2) + 0 * self.layer(x)

    data = batch((4,), 2, number=3)
    found = sfb.score(Gated(), (4,), "jacobian-covariance", data=data)["jacobian-covariance"]
    assert found == pytest.approx(-3, rel=1e-4)


def test_naswot_counts_the_rectifiers_that_agree() -> None:
    model = seeded(lambda: nn.Linear(5, 40), lambda: nn.ReLU(inplace=True), lambda: nn.Linear(40, 3))
    inputs, labels = batch((5,), 3, number=6)
    codes = (model[0](inputs) > 0).int().tolist()
    kernel = [[sum(a == b for a, b in zip(one, other, strict=True)) for other in codes] for one in codes]
    expected = np.linalg.slogdet(np.array(kernel, dtype=float))[1]
    assert sfb.score(model, (5,), "naswot", data=(inputs, labels))["naswot"] == pytest.approx(expected)


def test_parameters_and_macs_are_counted() -> None:
    model = seeded(lambda: nn.Conv2d(3, 8, 3, padding=1), nn.ReLU, nn.Flatten, lambda: nn.Linear(8 * 36, 10))
    found = sfb.score(model, (3, 6, 6), ["parameters", "macs"])
    assert found == {"parameters": 8 * 27 + 8 + 2880 + 10, "macs": 8 * 27 * 36 + 2880}


def test_the_network_is_left_as_it_is() -> None:
    model = networks.seeded(networks.with_batch_norm).train()
    model[0].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    sfb.score(model, networks.INPUT_SHAPE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert not model[0].weight.requires_grad
    assert torch.equal(torch.get_rng_state(), random)


def test_scores_that_are_not_defined_are_none_with_the_reason() -> None:
    model = seeded(nn.Flatten, lambda: nn.Linear(8, 6), nn.GELU, lambda: nn.Linear(6, 3))
    with pytest.warns(UserWarning, match="no rectifiers"):
        assert sfb.score(model, (8,), "naswot") == {"naswot": None}
    nn.init.zeros_(model[3].weight)
    nn.init.zeros_(model[3].bias)
    with pytest.warns(UserWarning, match="flow is not a positive"):
        assert sfb.score(model, (8,), ["synflow"]) == {"synflow": None}


def test_tokens_are_scored_too() -> None:
    model = seeded(lambda: nn.Embedding(7, 5), nn.Flatten, lambda: nn.Linear(20, 3, bias=False))
    with pytest.warns(UserWarning, match="token"):
        found = sfb.score(model, (4,), ["synflow", "snip", "jacobian-covariance"])
    assert found["synflow"] == pytest.approx(log10(float(model[2].weight.detach().abs().double().sum())))
    assert found["snip"] is not None


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


class Positioned(nn.Module):
    """Positions come first, and there are fewer of them than of words."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.kind, self.word = nn.Embedding(40, 5), nn.Embedding(2, 5), nn.Embedding(7, 5)
        self.last = nn.Linear(5, 3, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        found = self.word(tokens) + self.place(torch.arange(tokens.shape[1])) + self.kind(tokens * 0)
        logits: Tensor = self.last(found.mean(1))
        return logits


def test_tokens_are_drawn_that_the_network_has() -> None:
    found = sfb.score(Positioned(), (4,), ["snip", "macs"])
    assert found["snip"] is not None
    assert found["macs"] == 15


@pytest.mark.parametrize("wrap", [nn.DataParallel, pytest.param(compiled, marks=pytest.mark.slow)])
def test_wrapped_networks_have_the_scores_of_what_they_wrap(wrap: Any) -> None:
    model = seeded(lambda: nn.Linear(5, 9), nn.ReLU, lambda: nn.Linear(9, 3))
    assert sfb.score(wrap(model), (5,), ["synflow", "snip"]) == sfb.score(model, (5,), ["synflow", "snip"])


def test_networks_that_python_cannot_copy_are_scored() -> None:
    model = seeded(lambda: nn.Linear(5, 9), nn.ReLU, lambda: nn.Linear(9, 3))
    uncopyable = networks.Uncopyable(model)
    uncopyable(torch.ones(2, 5))
    names = ["synflow", "snip", "jacobian-covariance", "macs"]
    assert sfb.score(uncopyable, (5,), names) == sfb.score(model, (5,), names)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_scores_are_the_same_inside_inference_mode_and_without_gradients(mode: Any) -> None:
    model, data = networks.seeded(networks.with_batch_norm), batch(networks.INPUT_SHAPE, 5)
    names = ["synflow", "snip", "grasp", "gradient-norm", "jacobian-covariance"]
    expected = sfb.score(model, networks.INPUT_SHAPE, names, data=data)
    with mode():
        given = tuple(each.clone() for each in data)
        assert sfb.score(deepcopy(model), networks.INPUT_SHAPE, names, data=given) == expected


@pytest.mark.parametrize("layer", [0, 2])
def test_a_network_whose_weights_are_nan_has_no_scores(layer: int) -> None:
    model = seeded(lambda: nn.Linear(5, 9), nn.ReLU, lambda: nn.Linear(9, 3))
    nn.init.constant_(model[layer].weight, torch.nan)
    names = [name for name in METHODS if name not in {"parameters", "macs"}]
    for name in names:
        with pytest.warns(UserWarning, match="not finite"):
            assert sfb.score(model, (5,), name) == {name: None}


def test_lazy_layers_are_made_by_their_first_input() -> None:
    model = seeded(lambda: nn.LazyLinear(9), nn.ReLU, lambda: nn.Linear(9, 3))
    found = sfb.score(model, (5,), ["snip", "parameters"])
    assert found["snip"]
    assert found["parameters"] == 84
    assert nn.parameter.is_lazy(model[0].weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_scored_in_float32(dtype: torch.dtype) -> None:
    model = seeded(
        *(lambda: nn.Conv2d(3, 6, 3), lambda: nn.BatchNorm2d(6), nn.ReLU, nn.Dropout, nn.Flatten),
        lambda: nn.Linear(24, 3),
    ).to(dtype)
    found, of_copy = (sfb.score(each, (3, 4, 4)) for each in (model, deepcopy(model).float()))
    assert found == of_copy
    assert None not in found.values()
    inputs, labels = batch((3, 4, 4), 3)
    of_inputs = [sfb.score(model, (3, 4, 4), "snip", data=(x, labels)) for x in (inputs, inputs.double())]
    assert of_inputs[0] == of_inputs[1]


def test_what_no_weight_decides_is_scored_without_weights() -> None:
    with pytest.warns(UserWarning, match="nothing to prune"):
        found = sfb.score(nn.Sequential(nn.Flatten(), nn.ReLU()), (4, 5), ["snip", "naswot", "macs"])
    assert found["snip"] is None
    assert found["naswot"]
    assert found["macs"] == 0


def test_weights_beyond_float32_leave_only_what_is_finite() -> None:
    model = seeded(lambda: nn.Linear(5, 9), nn.ReLU, lambda: nn.Linear(9, 3))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 1e30)
    with pytest.warns(UserWarning, match="not finite"):
        found = sfb.score(model, (5,), ["synflow", "snip", "parameters"])
    assert found == {
        "synflow": pytest.approx(60 + log10(3 * 9 * 6), abs=1e-6),
        "snip": None,
        "parameters": 84,
    }


@pytest.mark.parametrize(
    ("arguments", "error", "fact"),
    [
        ({"methods": 3}, UsageError, "3"),
        ({"seed": 2**63}, UsageError, str(2**63)),
        ({"model": nn.Conv1d(5, 3, 1), "input_shape": (5, 2)}, UsageError, "(32, 3, 2)"),
        ({"data": (torch.ones(2, 5),)}, UsageError, "two tensors"),
        ({"data": (np.ones((2, 5)), np.zeros(2))}, UsageError, "two tensors"),
        ({"data": (torch.ones(2, 5), torch.zeros(2))}, UsageError, "float32"),
        ({"data": (torch.ones(2, 5), torch.tensor([0, 3]))}, UsageError, "0 to 3"),
        ({"data": (torch.ones(2, 5), torch.tensor([-100, 2]))}, UsageError, "-100"),
        ({"data": (torch.ones(0, 5), torch.ones(0).long())}, UsageError, "two tensors"),
        ({"data": (torch.full((2, 5), torch.nan), torch.ones(2).long())}, UsageError, "not finite"),
        ({"methods": "synflwo"}, UnknownNameError, "'synflow'"),
        ({"input_shape": (0,)}, UsageError, "0"),
        ({"input_shape": (9,)}, ModelError, "input of 9: "),
        ({"input_shape": (1, 9)}, ModelError, "without the batch"),
        ({"examples": 1}, UsageError, "1"),
        ({"data": (torch.ones(3, 5), torch.zeros(2).long())}, UsageError, "(2,)"),
        ({"model": "fc"}, UsageError, "str"),
        ({"model": nn.Linear(5, 3, device="meta")}, ModelError, "meta device"),
    ],
)
def test_what_cannot_be_scored_is_refused(arguments: dict[str, Any], error: type, fact: str) -> None:
    given = {"model": nn.Linear(5, 3), "input_shape": (5,), **arguments}
    with pytest.raises(error) as raised:
        sfb.score(**given)
    assert fact in str(raised.value)


@pytest.mark.parametrize("seed", range(4))
def test_the_rank_correlation_is_spearmans(seed: int) -> None:
    numbers = np.random.default_rng(seed)
    one, other = numbers.integers(0, 6, 12).tolist(), numbers.normal(size=12).tolist()
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert rank_correlation(one[:2], other[:2]) is None
    assert rank_correlation([1.0] * 12, other) is None


def test_scores_are_correlated_with_dense_accuracies_of_one_recipe(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    store = Store(tmp_path)
    accuracies = {"a": (0.6, 0.8), "b": (0.75, 0.85), "c": (0.9,), "d": (0.2,)}
    for name, values in accuracies.items():
        setting = Setting(dataset="digits", model=ModelSpec(name=name), recipe=Recipe(epochs=5))
        for seed, top1 in enumerate(values):
            store.put(make_record("dense", seed=seed, top1=top1, setting=setting))
            store.put(make_record("snip", seed=seed, top1=0.5, setting=setting))
    other = Setting(dataset="digits", model=ModelSpec(name="a"), recipe=Recipe(epochs=9))
    store.put(make_record("dense", top1=0.1, setting=other))
    scores = {name: {"up": float(i), "none": None} for i, name in enumerate("abc")}
    (found,) = correlations(scores, store.results())
    assert found.networks == pytest.approx({"a": 0.7, "b": 0.8, "c": 0.9})
    assert found.methods == {"up": pytest.approx(1.0), "none": None}


def test_the_command_prints_a_table_with_correlations(
    tmp_path: Path, make_record: MakeRecord, invoke: Any
) -> None:
    for name, top1 in (("fc", 0.7), ("conv", 0.8), ("lottery/resnet20", 0.9)):
        setting = Setting(dataset="digits", model=ModelSpec(name=name), recipe=Recipe(epochs=5))
        Store(tmp_path).put(make_record("dense", top1=top1, setting=setting))
    methods = ("--method", "synflow", "--method", "macs")
    place = ("--input-shape", "1,8,8", "--examples", "4", "--results", str(tmp_path))
    shown = invoke("score", "fc", "conv", "lottery/resnet20", *methods, *place)
    assert (shown.code, shown.err) == (0, "")
    assert "47,400" in shown.out
    assert "+1.00" in shown.out
    found = json.loads(invoke("score", "fc", *methods, *place, "--json").out)
    assert found["scores"]["fc"]["macs"] == 47_400


def test_the_command_names_networks_that_cannot_be_scored(invoke: Any, tmp_path: Path) -> None:
    place = ("--input-shape", "1,8,8", "--method", "parameters", "--results", str(tmp_path))
    shown = invoke("score", "fc", "lottery/vgg11", "gpt/char", *place)
    assert shown.code == 1
    assert "fc" in shown.out
    assert shown.err.count("\n") >= 1
    invoke("score", "fcc").assert_refused("fc")
    invoke("score", "fc", "--method", "x").assert_refused("x")
    invoke("score", "fc", "--input-shape", "3,a").assert_refused("3,a")
    invoke("score", "fc", "--dataset", "digits", "--classes", "3").assert_refused("--classes")
    invoke("score", "fc", "--dataset", "nowhere").assert_refused("nowhere")


def test_the_command_scores_on_examples_of_a_dataset(invoke: Any, tmp_path: Path) -> None:
    place = ("--data", str(tmp_path), "--results", str(tmp_path), "--examples", "7", "--json")
    found = json.loads(invoke("score", "fc", "--dataset", "digits", *place).out)["scores"]["fc"]
    assert set(found) == set(METHODS)
    assert None not in found.values()
