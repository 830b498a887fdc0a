"""`synflow_bench.prune` on any network."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import synflow_bench as sfb
from synflow_bench.errors import ModelError, PluginError, ScoreError, UnknownNameError, UsageError

INSTALLED = ["random", "magnitude", "snip", "grasp", "synflow[rounds=3]"]


def images(count: int, classes: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 32, 32, generator=generator), torch.arange(count) % classes


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(30, 4, generator=generator), torch.arange(30) % 3


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = torchvision.models.resnet18(weights=None, num_classes=10)
    return model


@pytest.mark.parametrize("pruner", INSTALLED)
def test_prunes_torchvisions_resnet_to_the_exact_density(resnet: nn.Module, pruner: str) -> None:
    masks = sfb.prune(resnet, pruner, compression=37, input_shape=(3, 32, 32), data=images(10))
    weights = {n: p for n, p in resnet.named_parameters() if p.dim() > 1}
    assert {name: mask.shape for name, mask in masks.items()} == {n: p.shape for n, p in weights.items()}
    assert masks.kept == round(masks.size / 37)


def test_masks_are_applied_by_the_caller(data: tuple[Tensor, Tensor], net: nn.Module) -> None:
    masks = sfb.prune(net, "snip", compression=5, input_shape=(4,), data=data)
    assert all(p.count_nonzero() == p.numel() for p in net.parameters())
    masks.apply_(net)
    assert sum(int(net.get_parameter(name).count_nonzero()) for name in masks) == masks.kept == 7


@pytest.mark.parametrize("pruner", ["snip", "grasp"])
def test_data_may_be_one_batch_several_or_a_loader(
    net: nn.Module, data: tuple[Tensor, Tensor], pruner: str
) -> None:
    def pruned(data: object) -> sfb.Masks:
        return sfb.prune(net.double(), pruner, compression=3, input_shape=(4,), data=data)  # type: ignore[arg-type]

    inputs, labels = data[0].double(), data[1]
    whole = pruned((inputs, labels))
    pairs = list(zip(inputs.split(15), labels.split(15), strict=True))  # type: ignore[no-untyped-call]
    assert pruned([inputs, labels]) == whole
    assert pruned(pairs) == whole
    assert pruned(tuple(pairs)) == whole
    assert pruned(iter(pairs)) == whole
    assert pruned(DataLoader(TensorDataset(inputs, labels), batch_size=7)) == whole


def test_a_dense_classifier_keeps_its_weights(resnet: nn.Module) -> None:
    options = sfb.PruningOptions(dense_classifier=True)
    masks = sfb.prune(resnet, "magnitude", compression=10, input_shape=(3, 32, 32), options=options)
    assert "fc.weight" not in masks
    assert masks.kept == round(masks.size / 10)


def test_biases_and_batch_norm_are_pruned_on_request(resnet: nn.Module) -> None:
    options = sfb.PruningOptions(prune_bias=True, prune_batchnorm=True)
    masks = sfb.prune(resnet, "magnitude", compression=10, input_shape=(3, 32, 32), options=options)
    assert masks.keys() == dict(resnet.named_parameters()).keys()
    assert masks.kept == round(masks.size / 10)


def test_local_scope_prunes_every_layer_alike(resnet: nn.Module) -> None:
    options = sfb.PruningOptions(scope="local")
    masks = sfb.prune(resnet, "magnitude", compression=10, input_shape=(3, 32, 32), options=options)
    assert masks.kept == round(masks.size / 10)
    assert all(abs(kept - masks[name].numel() / 10) < 1 for name, kept in masks.layer_kept.items())


def test_equal_seeds_give_equal_masks(net: nn.Module) -> None:
    def pruned(seed: int) -> sfb.Masks:
        return sfb.prune(net, "random", compression=3, input_shape=(4,), seed=seed)

    assert pruned(1) == pruned(1) != pruned(2)


def test_an_unregistered_pruner_can_be_passed(net: nn.Module) -> None:
    class Smallest(sfb.Pruner):
        needs_data: ClassVar[bool] = False

        def score(self, problem: sfb.Problem) -> dict[str, Tensor]:
            return {name: -p.detach().abs() for name, p in problem.parameters.items()}

    masks = sfb.prune(net, Smallest(), compression=5, input_shape=(4,))
    kept = torch.cat([net.get_parameter(n).detach().abs()[mask] for n, mask in masks.items()])
    gone = torch.cat([net.get_parameter(n).detach().abs()[~mask] for n, mask in masks.items()])
    assert kept.max() < gone.min()


def test_a_third_partys_pruner_is_found_by_its_name(
    net: nn.Module, distribution: Callable[..., object]
) -> None:
    distribution(
        "gradnorm-pruner",
        """
        from synflow_bench import Pruner
        class GradNorm(Pruner):
            needs_data = False
            power: float = 1.0
            def score(self, problem):
                return {n: p.detach().abs() ** self.power for n, p in problem.parameters.items()}
        @hookimpl
        def synflow_bench_pruners():
            return {"gradnorm": GradNorm, "fake": dict}
        """,
    )
    assert sfb.prune(net, "gradnorm[power=2]", compression=2, input_shape=(4,)).kept == round(35 / 2)
    with pytest.raises(PluginError, match=r"'fake' is no synflow_bench.Pruner"):
        sfb.prune(net, "fake", compression=2, input_shape=(4,))


def test_the_number_of_classes_is_that_of_the_logits(net: nn.Module) -> None:
    seen = []

    class Asks(sfb.Pruner):
        needs_data: ClassVar[bool] = False

        def score(self, problem: sfb.Problem) -> dict[str, Tensor]:
            seen.append((problem.num_classes, problem.input_shape, problem.device.type, problem.dtype))
            return {name: p.detach().abs() for name, p in problem.parameters.items()}

    sfb.prune(net, Asks(), compression=2, input_shape=(4,))
    assert seen == [(3, (4,), "cpu", torch.float32)]


def test_a_sparsity_is_the_share_of_removed_weights(net: nn.Module) -> None:
    masks = sfb.prune(net, "magnitude", sparsity=0.8, input_shape=(4,))
    assert masks == sfb.prune(net, "magnitude", compression=5, input_shape=(4,))


@pytest.mark.parametrize("given", [{}, {"compression": 5, "sparsity": 0.8}, {"sparsity": 1.0}], ids=str)
def test_compression_or_sparsity_is_given_and_possible(net: nn.Module, given: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="sparsity"):
        sfb.prune(net, "magnitude", input_shape=(4,), **given)


@pytest.mark.parametrize("compression", [0.5, 0, -3, float("nan"), float("inf")])
def test_an_impossible_compression_is_an_error(net: nn.Module, compression: float) -> None:
    with pytest.raises(UsageError, match=f"compression {compression:g} "):
        sfb.prune(net, "magnitude", compression=compression, input_shape=(4,))


def test_a_compression_that_leaves_no_weight_names_the_largest_possible(net: nn.Module) -> None:
    with pytest.raises(UsageError, match="largest possible is 35"):
        sfb.prune(net, "magnitude", compression=100, input_shape=(4,))
    assert sfb.prune(net, "magnitude", compression=35, input_shape=(4,)).kept == 1
    assert sfb.prune(net, "magnitude", compression=1, input_shape=(4,)).kept == 35


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ("synflw", r"'synflw'.*'synflow'"),
        ("synflow[round=3]", r"'round'.*'rounds'"),
    ],
)
def test_unknown_names_suggest_known_ones(net: nn.Module, pruner: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        sfb.prune(net, pruner, compression=2, input_shape=(4,))


def test_a_pruner_that_cannot_be_read_is_a_usage_error(net: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"'synflow\[rounds=3'"):
        sfb.prune(net, "synflow[rounds=3", compression=2, input_shape=(4,))


@pytest.mark.parametrize("pruner", ["snip", "grasp"])
def test_a_pruner_that_needs_data_is_an_error_without(net: nn.Module, pruner: str) -> None:
    with pytest.raises(UsageError, match=r"pass data="):
        sfb.prune(net, pruner, compression=2, input_shape=(4,))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "data has no batch"),
        ((torch.ones(5, 4), torch.zeros(4, dtype=torch.long)), "data has 5 inputs and 4 labels"),
    ],
)
def test_impossible_data_is_a_usage_error(net: nn.Module, data: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sfb.prune(net, "snip", compression=2, input_shape=(4,), data=data)  # type: ignore[arg-type]


def test_an_input_that_does_not_fit_the_network_is_one_line(net: nn.Module) -> None:
    with pytest.raises(ModelError, match="1x28x28"):
        sfb.prune(net, "random", compression=2, input_shape=(1, 28, 28))


@pytest.mark.parametrize("model", [nn.ReLU(), nn.BatchNorm1d(4)])
def test_a_network_without_weights_is_a_model_error(model: nn.Module) -> None:
    with pytest.raises(ModelError, match="has nothing to prune"):
        sfb.prune(model, "random", compression=2, input_shape=(4,))


def test_a_layer_that_the_output_does_not_use_is_named(
    data: tuple[Tensor, Tensor], net: nn.Sequential
) -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = net, nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x)
            return out

    with pytest.raises(ScoreError, match=r"'idle.weight' are all 0"):
        sfb.prune(Idle(), "snip", compression=2, input_shape=(4,), data=data)


def test_tied_weights_are_pruned_together(data: tuple[Tensor, Tensor]) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    net[2].weight = net[0].weight
    for pruner in INSTALLED:
        masks = sfb.prune(net, pruner, compression=4, input_shape=(4,), data=data)
        assert list(masks) == ["0.weight", "4.weight"]
        assert masks.kept == 7
