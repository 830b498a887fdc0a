"""`synflow_bench.prune` on any network."""

from __future__ import annotations

import copy
import re
from collections import UserDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.prune import l1_unstructured
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import synflow_bench as sfb
from synflow_bench.errors import ModelError, PluginError, ScoreError, UnknownNameError, UsageError
from synflow_bench.testing import networks

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


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 32, 32), 3])
def test_a_shape_that_does_not_fit_says_what_a_shape_is(resnet: nn.Module, shape: Any) -> None:
    with pytest.raises(ModelError, match=r"input_shape is the shape of one example.* without the batch$"):
        sfb.prune(resnet, "synflow", sparsity=0.9, input_shape=shape)


def test_an_unknown_parameter_is_answered_with_those_there_are(net: nn.Module) -> None:
    names = [name for name, _ in net.named_parameters()]
    with pytest.raises(UnknownNameError, match=rf"'nothing-like-it'.*the network has {names[0]}, "):
        sfb.prune(net, "magnitude", sparsity=0.5, skip=["nothing-like-it"])


def test_messages_name_a_pruner_as_the_caller_does(net: nn.Module) -> None:
    for pruner, needed in {"snip": "scores with data", "synflow[rounds=3]": "runs the network"}.items():
        with pytest.raises(UsageError, match=rf"pruner {re.escape(repr(pruner))} {needed}"):
            sfb.prune(net, pruner, sparsity=0.5)
    with pytest.raises(UsageError, match="'rigl' changes its masks"):
        sfb.prune(net, "rigl", sparsity=0.5)


def test_a_pruner_without_a_method_is_asked_for_it_first(net: nn.Module) -> None:
    class Misspelled(sfb.Pruner):
        def scores(self, problem: Any) -> Any: ...

    for pruner in (Misspelled, Misspelled()):
        with pytest.raises(UsageError, match=r"Misspelled defines neither.* did you mean 'score'"):
            sfb.prune(net, pruner, sparsity=0.9, input_shape=(3, 32, 32))


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

    with pytest.warns(UserWarning, match=r"'idle\.weight' are all 0"):
        masks = sfb.prune(Idle(), "snip", compression=2, input_shape=(4,), data=data)
    assert masks.layer_kept["idle.weight"] == 0


def test_tied_weights_are_pruned_together(data: tuple[Tensor, Tensor]) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    net[2].weight = net[0].weight
    for pruner in INSTALLED:
        masks = sfb.prune(net, pruner, compression=4, input_shape=(4,), data=data)
        assert list(masks) == ["0.weight", "4.weight"]
        assert masks.kept == 7


class TwoInputs(nn.Module):
    """Takes vectors of 4 and of 6, the second optionally by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = self.head(torch.relu(self.first(a) + self.second(b)))
        return out


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(30, 4, generator=generator), torch.randn(30, 6, generator=generator)


EVERY = [*INSTALLED, "prospr", "force", "ntk-sap"]


@pytest.mark.parametrize("pruner", [*INSTALLED, "prospr", "force"])
def test_several_inputs_by_position_or_by_name(pair: tuple[Tensor, Tensor], pruner: str) -> None:
    net, labels, (a, b) = TwoInputs(), torch.arange(30) % 3, pair

    def pruned(**arguments: Any) -> sfb.Masks:
        return sfb.prune(net, pruner, compression=3, **arguments)

    expected = pruned(example_inputs=(a, b), data=((a, b), labels))
    assert expected.kept == round(104 / 3)
    for data in (
        [((a, b), labels)],
        [(a, b, labels)],
        [({"a": a, "b": b}, labels)],
        [{"a": a, "b": b, "labels": labels}],
        DataLoader(TensorDataset(a, b, labels), batch_size=30),
    ):
        assert pruned(example_inputs=(a, b), data=data) == expected
    assert pruned(data=((a, b), labels)) == expected
    assert pruned(example_inputs={"b": b, "a": a}, data=((a, b), labels)) == expected


def test_a_call_with_too_few_inputs_names_the_way_out() -> None:
    with pytest.raises(ModelError, match=r"example_inputs="):
        sfb.prune(TwoInputs(), "synflow", compression=3, input_shape=(4,))
    with pytest.raises(UsageError, match=r"3 parts.*\(first, second\), labels"):
        sfb.prune(TwoInputs(), "snip", compression=3, data=[(torch.ones(2, 4),) * 3])


@pytest.mark.parametrize("pruner", ["magnitude", "random", "lamp", "erk", "uniform"])
def test_pruners_that_never_run_the_network_need_no_input(pruner: str) -> None:
    class Refuses(TwoInputs):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            raise AssertionError("the network ran")

    masks = sfb.prune(Refuses(), pruner, compression=4)
    assert masks.kept == 26
    assert sfb.prune(TwoInputs(), pruner, compression=4, input_shape=(4,)).kept == 26


@pytest.mark.parametrize("pruner", ["synflow", "phew", "ntk-sap"])
def test_pruners_that_run_the_network_ask_for_an_input(net: nn.Module, pruner: str) -> None:
    with pytest.raises(UsageError, match="pass input_shape="):
        sfb.prune(net, pruner, compression=4)


def test_the_shape_of_an_input_follows_from_the_data(net: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    for pruner in ("snip", "synflow"):
        expected = sfb.prune(net, pruner, compression=4, input_shape=(4,), data=data)
        assert sfb.prune(net, pruner, compression=4, data=data) == expected
        assert sfb.prune(net, pruner, compression=4, input_shape=4, data=data) == expected


class Returns(nn.Module):
    """Returns what `function` makes of the logits."""

    def __init__(self, net: nn.Module, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.net(x))


Output = namedtuple("Output", ["aux", "logits"])


@pytest.mark.parametrize(
    ("function", "outputs"),
    [
        (lambda out: (out, None), 0),
        (lambda out: [0, out], 1),
        (lambda out: {"out": out, "aux": 0}, "out"),
        (lambda out: Output(None, out), "logits"),
        (lambda out: Output(None, out), lambda found: found.logits),
        (lambda out: out[None], lambda found: found[0]),
    ],
)
def test_outputs_picks_the_logits(
    net: nn.Module, data: tuple[Tensor, Tensor], function: Callable[[Tensor], Any], outputs: Any
) -> None:
    for pruner in EVERY:
        expected = sfb.prune(net, pruner, compression=4, input_shape=(4,), data=data)
        found = sfb.prune(
            Returns(net, function), pruner, compression=4, input_shape=(4,), data=data, outputs=outputs
        )
        assert {f"net.{name}": mask.tolist() for name, mask in expected.items()} == {
            name: mask.tolist() for name, mask in found.items()
        }


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda out: out.sum(), r"shape \(\)"),
        (lambda out: None, "nothing"),
        (lambda out: (out, out), "a tuple of 2"),
        (lambda out: {"logits": out}, "a dict with 'logits'"),
        (lambda out: out.argmax(1), "int64"),
        (lambda out: "text", "a str"),
        (lambda out: 1 / 0, "ZeroDivisionError"),
        (lambda out: torch._assert(False, "wrong image size"), "wrong image size"),
    ],
)
def test_a_network_without_logits_is_a_model_error(
    net: nn.Module, function: Callable[[Tensor], Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        sfb.prune(Returns(net, function), "synflow", compression=4, input_shape=(4,))
    assert "\n" not in str(raised.value)


def test_outputs_that_are_not_there_are_a_model_error(net: nn.Module) -> None:
    with pytest.raises(ModelError, match="outputs='scores'"):
        sfb.prune(
            Returns(net, lambda out: {"logits": out}),
            "synflow",
            compression=4,
            outputs="scores",
            input_shape=4,
        )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(4, 3, device="meta"), "meta device"),
        (nn.Linear(4, 3, dtype=torch.complex64), "complex64"),
        (nn.LazyLinear(3), "lazy"),
    ],
    ids=["meta", "complex", "lazy"],
)
def test_weights_without_values_or_order_are_a_model_error(model: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        sfb.prune(model, "magnitude", compression=2)


@pytest.mark.parametrize("pruner", EVERY)
def test_networks_that_python_cannot_copy(net: nn.Module, data: tuple[Tensor, Tensor], pruner: str) -> None:
    expected = sfb.prune(net, pruner, compression=4, data=data, input_shape=(4,))
    uncopyable = networks.Uncopyable(net)
    uncopyable(data[0])
    found = sfb.prune(uncopyable, pruner, compression=4, data=data, input_shape=(4,))
    assert [mask.tolist() for mask in found.values()] == [mask.tolist() for mask in expected.values()]


def test_a_module_that_cannot_be_copied_at_all_is_named(net: nn.Module) -> None:
    class Locked(nn.Parameter):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("locked\nfor good")

    class Chosen(nn.Linear):
        def __new__(cls, inputs: int, _outputs: int) -> Any:
            assert inputs
            return super().__new__(cls)

    chosen = Chosen(3, 3)
    model = nn.Sequential(net, chosen)
    assert sfb.prune(model, "magnitude", compression=2).size == 44
    chosen.weight = Locked(torch.ones(3, 3))
    with pytest.raises(ModelError, match=r"module '1' \(Chosen\) cannot be copied.*locked") as raised:
        sfb.prune(model, "magnitude", compression=2)
    assert "\n" not in str(raised.value)


def test_weights_that_torch_has_pruned_already_rank_last(
    net: nn.Sequential, data: tuple[Tensor, Tensor]
) -> None:
    l1_unstructured(net[0], "weight", 0.5)
    net(data[0])
    for pruner in ("magnitude", "snip", "synflow"):
        masks = sfb.prune(net, pruner, compression=35 / 20, data=data, input_shape=(4,))
        assert not masks["0.weight_orig"][~net[0].weight_mask.bool()].any()


@pytest.mark.parametrize("pruner", EVERY)
def test_inside_inference_mode_and_without_gradients(data: tuple[Tensor, Tensor], pruner: str) -> None:
    def pruned(net: nn.Module, data: tuple[Tensor, Tensor]) -> sfb.Masks:
        return sfb.prune(net, pruner, compression=4, data=data, input_shape=(4,))

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    expected = pruned(net, data)
    with torch.no_grad():
        assert pruned(net, data) == expected
    with torch.inference_mode():
        assert pruned(net, data) == expected
        twin = copy.deepcopy(net)
        assert pruned(twin, (data[0].clone(), data[1].clone())) == expected
        expected.apply_(twin)
        assert int(twin[0].weight.count_nonzero()) == expected.layer_kept["0.weight"]


CONVERTED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "float64": lambda x, y: (x.double(), y),
    "numpy": lambda x, y: (x.double().numpy(), y.numpy()),
    "lists of labels": lambda x, y: (x, y.tolist()),
    "int32 labels": lambda x, y: (x, y.int()),
    "labels of one column": lambda x, y: (x, y[:, None]),
    "labels that are whole numbers": lambda x, y: (x, y.double()),
    "one-hot labels": lambda x, y: (x, nn.functional.one_hot(y)),
    "a Dataset": lambda x, y: TensorDataset(x, y),
    "a Dataset of arrays": lambda x, y: Examples(list(zip(x.numpy(), y.tolist(), strict=True))),
    "a Dataset of dictionaries": lambda x, y: Examples(
        [{"image": a, "label": b} for a, b in zip(x, y.tolist(), strict=True)]
    ),
    "an iterable Dataset": lambda x, y: Stream(list(zip(x, y.tolist(), strict=True))),
    "a list of examples": lambda x, y: list(zip(x, y.tolist(), strict=True)),
    "dictionaries": lambda x, y: [{"image": x[:9], "label": y[:9]}, {"image": x[9:], "label": y[9:]}],
    "targets": lambda x, y: [{"x": x, "target": y}],
}


class Examples(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


@pytest.mark.parametrize("form", CONVERTED)
def test_data_of_an_obvious_meaning_are_converted(
    net: nn.Module, data: tuple[Tensor, Tensor], form: str
) -> None:
    expected = sfb.prune(net, "snip", compression=4, data=data)
    assert sfb.prune(net, "snip", compression=4, data=CONVERTED[form](*data)) == expected


class Words(nn.Module):
    def __init__(self, length: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.hidden, self.last = nn.Embedding(20, 8), nn.Linear(8 * length, 12), nn.Linear(12, 3)

    def forward(self, input_ids: Tensor) -> Any:
        return self.last(self.hidden(self.table(input_ids).flatten(1)).relu())


@pytest.mark.parametrize(("count", "length"), [(7, 7), (9, 5)])
def test_lists_of_numbers_are_tensors(count: int, length: int) -> None:
    ids = torch.randint(20, (count, length), generator=torch.Generator().manual_seed(0))
    labels, numbers, classes = ids[:, 0] % 3, ids.tolist(), (ids[:, 0] % 3).tolist()
    expected = sfb.prune(Words(length), "snip", compression=4, skip="table", data=(ids, labels))

    def found(data: Any) -> sfb.Masks:
        return sfb.prune(Words(length), "snip", compression=4, skip="table", data=data)

    pairs: list[Any] = list(zip(numbers, classes, strict=True))
    named: list[Any] = [{"input_ids": a, "labels": b} for a, b in pairs]
    for items in (pairs, named, [UserDict(each) for each in named]):
        for data in (items, Examples(items), Stream(items), DataLoader(Examples(items), batch_size=3)):
            assert found(data) == expected
    if count != length:
        assert found(list(DataLoader(Examples(named), batch_size=count))) == expected
    assert found((numbers, classes)) == found([(numbers[:3], classes[:3]), (ids[3:], labels[3:])]) == expected
    assert found([{"input_ids": numbers, "labels": classes}]) == expected


class ByToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.last = nn.Embedding(20, 8), nn.Linear(8, 20)
        self.register_buffer("places", torch.randn(6, 8))

    def forward(self, input_ids: Tensor) -> Any:
        return self.last(self.table(input_ids) + self.places)


def test_lists_of_labels_are_tensors_or_named() -> None:
    ids = torch.randint(20, (6, 6), generator=torch.Generator().manual_seed(0))
    data = Examples([{"input_ids": each, "labels": each} for each in ids.tolist()])
    expected = sfb.prune(ByToken(), "snip", compression=4, skip="table", data=(ids, ids))
    assert sfb.prune(ByToken(), "snip", compression=4, skip="table", data=data) == expected
    with pytest.raises(UsageError, match="a list of 6 tensors of 6 numbers, of which either"):
        sfb.prune(ByToken(), "snip", compression=4, skip="table", data=list(DataLoader(data, batch_size=6)))


@pytest.mark.parametrize("workers", [0, 1])
def test_lists_of_different_lengths_are_to_be_padded(workers: int) -> None:
    lists = [list(range(3 + i % 2)) for i in range(6)]
    items = [{"input_ids": each, "labels": 0} for each in lists]
    nested = [{"input_ids": [[1, 2], [3]], "labels": 0}] * 6
    for each in (items, nested):
        for data in (DataLoader(Examples(each), num_workers=workers, batch_size=3), each):
            with pytest.raises(UsageError, match=r"pad them to one shape$") as raised:
                sfb.prune(Words(5), "snip", compression=4, skip="table", data=data)
            assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="data has lists of different lengths; pad them"):
        sfb.prune(Words(5), "snip", compression=4, skip="table", data=(lists, [0] * 6))


def test_images_of_bytes_are_scaled_to_one() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    images, labels = torch.randint(256, (12, 3, 8, 8), dtype=torch.uint8), torch.arange(12) % 3
    expected = sfb.prune(net, "snip", compression=4, data=(images.float() / 255, labels))
    assert sfb.prune(net, "snip", compression=4, data=(images, labels)) == expected
    assert sfb.prune(net, "snip", compression=4, data=(images.numpy(), labels)) == expected
    assert sfb.prune(net, "snip", compression=4, data=(images.long(), labels)).kept == expected.kept


def crossed(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: {"data": (x, y + 1)}, "label 3 is out of range"),
        (lambda x, y: {"data": (x, y - 1)}, "label -1 is out of range"),
        (lambda x, y: {"data": (x, y + 0.5)}, "labels are torch.float32"),
        (lambda x, y: {"data": (x, ["cat"] * 30)}, "no array of numbers"),
        (lambda x, y: {"data": (x[:0], y[:0])}, "no example"),
        (lambda x, y: {"data": TensorDataset(x[:0], y[:0])}, "no batch"),
        (lambda x, y: {"data": DataLoader(TensorDataset(x[:0], y[:0]))}, "no batch"),
        (lambda x, y: {"data": iter(())}, "no batch"),
        (lambda x, y: {"data": x}, "no labels"),
        (lambda x, y: {"data": [x, x, x]}, "without labels"),
        (lambda x, y: {"data": [(x, y, y)]}, "3 parts"),
        (lambda x, y: {"data": [{"image": x}]}, "'labels'"),
        (lambda x, y: {"data": [{"label": y}]}, "labels only"),
        (lambda x, y: {"data": "cifar10"}, "data is a str"),
        (lambda x, y: {"data": 3}, "data is a int"),
        (lambda x, y: {"data": {"x": x}}, "data is a dict"),
        (lambda x, y: {"data": [(x, y), (x[:, :3], y)]}, "cannot be joined"),
        (lambda x, y: {"data": Examples([("cat", object())])}, "cannot be read"),
        (lambda x, y: {"data": (x, y), "loss": crossed}, r"\(2,\).*mean"),
        (lambda x, y: {"data": (x, y), "loss": lambda logits, labels: 1.0}, "returns a float"),
        (lambda x, y: {"data": (x, y), "loss": lambda logits, labels: logits @ labels}, "loss fails"),
        (lambda x, y: {"data": (x, y), "loss": "cross entropy"}, "loss is a str"),
        (lambda x, y: {"data": (x, y), "compression": "10"}, "'10' is a str"),
        (lambda x, y: {"data": (x, y), "compression": True}, "True is a bool"),
        (lambda x, y: {"data": (x, y), "compression": None, "sparsity": "0.9"}, "'0.9' is a str"),
        (lambda x, y: {"data": (x, y), "seed": "a"}, "seed 'a'"),
        (lambda x, y: {"data": (x, y), "seed": 2**70}, "seed"),
        (lambda x, y: {"data": (x, y), "input_shape": (3, -1)}, r"\(3, -1\)"),
        (lambda x, y: {"data": (x, y), "input_shape": "4"}, "'4'"),
        (lambda x, y: {"data": (x, y), "example_inputs": 3}, "example_inputs is a int"),
        (lambda x, y: {"data": (x, y), "example_inputs": ()}, "no example"),
        (lambda x, y: {"data": (x, y), "options": {"scop": "local"}}, "scop"),
        (lambda x, y: {"data": (x, y), "only": 1.5}, "1.5"),
        (lambda x, y: {"data": (x, y), "skip": "9"}, "'9'"),
    ],
)
def test_what_has_no_obvious_meaning_is_one_line_of_a_usage_error(
    net: nn.Module, data: tuple[Tensor, Tensor], change: Callable[..., dict[str, Any]], message: str
) -> None:
    arguments: dict[str, Any] = {"compression": 4, **change(*data)}
    with pytest.raises(UsageError, match=message) as raised:
        sfb.prune(net, "snip", **arguments)
    assert "\n" not in str(raised.value)


def test_models_and_pruners_of_other_types_are_usage_errors(net: nn.Module) -> None:
    with pytest.raises(UsageError, match="model is a str"):
        sfb.prune("resnet", "random", compression=2)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="pruner is a int"):
        sfb.prune(net, 3, compression=2)  # type: ignore[arg-type]


def test_data_that_do_not_fit_the_network_are_a_model_error(net: nn.Module) -> None:
    with pytest.raises(ModelError, match="an input of 7"):
        sfb.prune(
            net, "snip", compression=2, data=(torch.ones(3, 7), torch.zeros(3).long()), input_shape=(4,)
        )


def test_a_network_that_a_method_cannot_differentiate_is_a_score_error() -> None:
    class Undifferentiable(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            raise RuntimeError("no such derivative")

    net = nn.Sequential(nn.Linear(4, 5), Apply(Undifferentiable.apply), nn.Linear(5, 3))
    with pytest.raises(ScoreError, match=r"'snip' fails.*no such derivative"):
        sfb.prune(net, "snip", compression=2, data=(torch.ones(3, 4), torch.arange(3)))


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(self.block(self.table(ids)))
        return out


@pytest.mark.parametrize("pruner", EVERY)
def test_token_ids_and_labels_of_every_token(pruner: str) -> None:
    torch.manual_seed(0)
    net, ids, labels = Language(), torch.randint(11, (6, 7)), torch.randint(11, (6, 7))

    def pruned(ids: Any, **arguments: Any) -> sfb.Masks:
        return sfb.prune(net, pruner, compression=3, skip="table", data=(ids, labels), **arguments)

    expected = pruned(ids, example_inputs=ids)
    assert expected.kept == round(600 / 3)
    assert pruned(ids.int().numpy()) == pruned(ids)
    assert pruned(ids.to(torch.uint8)) == pruned(ids)
    assert pruned(ids, input_shape=(7,)).kept == expected.kept

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, ids: Tensor) -> Tensor:
            out: Tensor = self.net(ids).transpose(1, 2)
            return out

    flat = sfb.prune(Flat(), pruner, compression=3, skip="net.table", data=(ids, labels), example_inputs=ids)
    if pruner not in {"random", "ntk-sap"}:
        same = [bool((flat[f"net.{name}"] == mask).float().mean() > 0.99) for name, mask in expected.items()]
        assert all(same)


def test_a_warning_and_the_masks_name_what_is_left_out() -> None:
    with pytest.warns(UserWarning, match=r"not pruned: 'table\.weight'.*options=PruningOptions\("):
        masks = sfb.prune(Language(), "magnitude", compression=2)
    assert masks.left_out == ("table.weight",)
    embedded = sfb.PruningOptions(prune_embedding=True)
    assert sfb.prune(Language(), "magnitude", compression=2, options=embedded).left_out == ()
    assert sfb.prune(Language(), "magnitude", compression=2, skip="table").left_out == ("table.weight",)
    only = sfb.prune(Language(), "magnitude", compression=2, only="block")
    assert only.left_out == ("table.weight", "head.weight")


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "parallel": nn.DataParallel,
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "compiled parts": lambda net: nn.Sequential(*(torch.compile(part, backend="eager") for part in net)),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("pruner", EVERY)
def test_wrapped_networks_have_the_masks_of_the_bare_one(
    net: nn.Module, data: tuple[Tensor, Tensor], wrap: str, pruner: str
) -> None:
    wrapped = WRAPPERS[wrap](net)
    expected = sfb.prune(net, pruner, compression=4, data=data, input_shape=(4,))
    found = sfb.prune(wrapped, pruner, compression=4, data=data, input_shape=(4,))
    assert found.keys() <= dict(wrapped.named_parameters()).keys()
    assert [mask.tolist() for mask in found.values()] == [mask.tolist() for mask in expected.values()]
    found.apply_(net)
    assert sum(int(net.get_parameter(name).count_nonzero()) for name in expected) == expected.kept


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_networks(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(kind(4, 6, batch_first=True), Apply(lambda out: out[0][:, -1]), nn.Linear(6, 3))
    data = torch.randn(12, 5, 4), torch.arange(12) % 3
    for pruner in EVERY:
        masks = sfb.prune(net, pruner, compression=3, data=data, input_shape=(5, 4))
        assert list(masks) == ["0.weight_ih_l0", "0.weight_hh_l0", "2.weight"]
        assert masks.kept == round(masks.size / 3)


def test_a_method_that_is_not_defined_is_one_line(net: nn.Module) -> None:
    with pytest.raises(sfb.NotDefinedError, match="not defined here: smart-ratio needs convolutions"):
        sfb.prune(net, "smart-ratio", compression=2, input_shape=(4,))
