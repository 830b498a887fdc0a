"""`synflow_bench.prune` on networks written in unusual ways: right masks, or one line."""

from __future__ import annotations

import copy
import random
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import synflow_bench as sfb
from synflow_bench.errors import HandledError, ModelError, ScoreError, UsageError
from synflow_bench.pruning import Problem, copy_network

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
EVERY = ["random", "magnitude", "snip", "synflow[rounds=3]"]


def mlp() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def pruned(model: nn.Module, pruner: Any = "snip", **arguments: Any) -> sfb.Masks:
    return sfb.prune(model, pruner, **{"compression": 3, "data": (X, Y), **arguments})


def bits(masks: sfb.Masks) -> Tensor:
    return torch.cat([mask.flatten() for mask in masks.values()])


class Net(nn.Module):
    """6 -> 8 -> 3, the same weights for all subclasses."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Any) -> Tensor:
        logits: Tensor = self.net(x)
        return logits


class Frozen(Net):
    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


@pytest.mark.parametrize("pruner", EVERY)
def test_a_train_that_returns_nothing(pruner: str) -> None:
    assert torch.equal(bits(pruned(Frozen(), pruner)), bits(pruned(Net(), pruner)))


class Refusing(Net):
    def train(self, mode: bool = True) -> Any:
        raise RuntimeError("inference only")


def test_a_train_that_raises_is_named() -> None:
    with pytest.raises(ModelError, match=r"Refusing cannot be put in eval mode.*inference only"):
        pruned(Refusing())


class Rotary(nn.Module):
    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.first, self.last = mlp()[0], mlp()[2]
        self.register_buffer("factors", factors)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.view_as_complex(self.first(x).view(-1, 4, 2).contiguous())
        factors = self.factors if self.factors.is_complex() else torch.view_as_complex(self.factors)
        logits: Tensor = self.last(torch.view_as_real(hidden * factors).flatten(1))
        return logits


@pytest.mark.parametrize("pruner", EVERY)
def test_complex_buffers_stay_complex(pruner: str) -> None:
    factors = torch.polar(torch.ones(4), torch.arange(4.0) + 1)
    expected = pruned(Rotary(torch.view_as_real(factors).clone()), pruner)
    if "synflow" not in pruner:  # it takes the absolute values of real buffers
        assert pruned(Rotary(factors), pruner) == expected
    problem = Problem.of(
        Rotary(factors), input_shape=(6,), num_classes=3, generator=torch.Generator().manual_seed(0)
    )
    assert torch.allclose(problem.in_double().model(X.double()).float(), Rotary(factors)(X), atol=1e-6)


class Fourier(Net):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(6, 4, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (x.to(self.w.dtype) @ self.w).real.sum(1, keepdim=True)


@pytest.mark.parametrize("pruner", EVERY)
def test_complex_weights_are_left_out_unless_they_are_asked_for(pruner: str) -> None:
    assert pruned(Fourier(), pruner, skip="w").left_out == ("w",)
    with pytest.raises(ModelError, match=r"'w' is torch\.complex64"):
        pruned(Fourier(), pruner, only="w")


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = mlp()[0]

    def __deepcopy__(self, memo: Any) -> Shared:
        return self

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(x))


class Single(nn.Module):
    instance: Any = None

    def __new__(cls) -> Any:
        cls.instance = cls.instance or super().__new__(cls)
        return cls.instance

    def __init__(self) -> None:
        super().__init__()
        self.layer = mlp()[0]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(x))


@pytest.mark.parametrize("kind", [Shared, Single])
def test_a_module_that_copies_as_itself_is_left_as_it_is(kind: type[Any]) -> None:
    model = nn.Sequential(kind(), mlp()[2])
    layer = model[0].layer
    before = copy.deepcopy(model.state_dict())
    masks = pruned(model, "synflow[rounds=3]")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training and not module._forward_pre_hooks for module in model.modules())
    assert torch.equal(bits(masks), bits(pruned(mlp(), "synflow[rounds=3]")))
    assert model[0].layer is layer
    alone = kind()
    assert copy_network(alone).layer is not alone.layer


class Stubborn(nn.Parameter):
    def __deepcopy__(self, memo: Any) -> Stubborn:
        return self


def test_a_tensor_that_copies_as_itself_is_named() -> None:
    model = mlp()
    model[0].weight = Stubborn(model[0].weight.detach())
    with pytest.raises(ModelError, match=r"'0\.weight' is the same in a copy"):
        pruned(model, "magnitude")


class Remembering(nn.Module):
    """Keeps its hidden state: as an attribute, in a list, or in the memory of a tensor."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.first, self.last, self.way = mlp()[0], mlp()[2], way
        self.between = nn.Linear(8, 8)
        nn.init.eye_(self.between.weight)
        self.state: Any = {"none": None, "list": [None], "tensor": torch.zeros(12, 8)}[way]

    def forward(self, x: Tensor) -> Tensor:
        last = self.state[0] if self.way == "list" else self.state
        hidden = torch.tanh(self.first(x))
        if last is not None and len(last) == len(x):
            hidden = hidden + self.between(last.clone())
        if self.way == "tensor" and len(x) == len(self.state):
            self.state.copy_(hidden.detach())
        elif self.way == "list":
            self.state[0] = hidden.detach()
        elif self.way == "none":
            self.state = hidden.detach()
        logits: Tensor = self.last(hidden)
        return logits


class InRounds(sfb.Pruner):
    """Scores by gradients."""

    def score(self, problem: Problem) -> Any:
        inputs, labels = next(problem.batches())
        grads = torch.autograd.grad(
            problem.loss(problem.model(inputs), labels), list(problem.parameters.values()), allow_unused=True
        )
        return {
            name: (torch.zeros_like(p) if grad is None else p * grad).abs().detach()
            for (name, p), grad in zip(problem.parameters.items(), grads, strict=True)
        }


@pytest.mark.parametrize("way", ["none", "list", "tensor"])
@pytest.mark.parametrize("data", [(X, Y), (X[:2], Y[:2])], ids=["12", "2"])
def test_a_state_that_a_network_keeps_is_that_of_the_start_in_every_round(way: str, data: Any) -> None:
    torch.manual_seed(0)
    model = Remembering(way)
    problem = Problem.of(
        model, input_shape=(6,), num_classes=3, generator=torch.Generator().manual_seed(0), examples=data
    )
    pruner = InRounds()
    first = pruner.score(problem)
    again = pruner.score(problem.at(problem.masks, density=1.0, round=2))
    narrow = pruner.score(problem.narrowed(problem.masks, density=1.0, round=3))
    wide = pruner.score(problem.in_double())
    for name, score in first.items():
        assert torch.equal(again[name], score)
        assert torch.equal(narrow[name], score)
        torch.testing.assert_close(wide[name].float(), score)
    if way != "tensor":
        assert not first["between.weight"].any()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert pruned(model, "snip", compression=4, data=data).layer_kept["between.weight"] == 0
            pruned(model, "synflow[rounds=3]", data=data)


class Adjacent(Net):
    """Multiplies by a matrix that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.eye(6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x @ self.matrix)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_that_are_attributes_have_the_precision_of_the_scores(dtype: torch.dtype) -> None:
    model, plain = Adjacent().to(dtype), Net().to(dtype)
    model.matrix = model.matrix.to(dtype)
    for pruner in ("snip", "synflow[rounds=3]"):
        assert pruned(model, pruner) == pruned(plain, pruner)
    assert model.matrix.dtype is dtype


def flags() -> tuple[Any, ...]:
    return (
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.mha.get_fastpath_enabled(),
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # type: ignore[index]
    )


def test_threads_wait_for_each_other() -> None:
    before, expected = flags(), pruned(mlp(), "synflow[rounds=20]", input_shape=(6,))
    found: list[Any] = []

    def work(model: nn.Module) -> None:
        try:
            found.append(pruned(model, "synflow[rounds=20]", input_shape=(6,)))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=work, args=(mlp(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3
    assert flags() == before


class Drawing(Net):
    def forward(self, x: Tensor) -> Tensor:
        noise = random.random() + float(np.random.random()) + torch.rand(1)  # noqa: S311
        return super().forward(x + 0 * noise)


@pytest.mark.parametrize(
    "arguments",
    [
        {"data": TensorDataset(X, Y)},
        {"data": DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True)},
        {"data": DataLoader(TensorDataset(X, Y)), "pruner": "magnitude"},
        {"model": Drawing},
        {"model": Drawing, "granularity": "channel", "input_shape": (6,)},
    ],
    ids=["dataset", "shuffled", "magnitude", "network", "channels"],
)
def test_generators_are_left_as_they_were(arguments: dict[str, Any]) -> None:
    model, before = arguments.pop("model", mlp)(), flags()
    masks = pruned(model, **arguments)
    assert flags() == before
    assert pruned(model, **arguments) == masks


class OneDictionary(Net):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return super().forward(batch["x"] + batch["z"])


class OneList(Net):
    def forward(self, parts: list[Tensor]) -> Tensor:
        return super().forward(parts[0] + parts[1])


@pytest.mark.parametrize(
    "form",
    [
        lambda d: (d, Y),
        lambda d: [(d, Y)],
        lambda d: [{**d, "labels": Y}],
        lambda d: [((d,), Y)],
        lambda d: ((d,), Y),
        lambda d: [({n: v[:5] for n, v in d.items()}, Y[:5]), ({n: v[5:] for n, v in d.items()}, Y[5:])],
    ],
)
def test_a_network_that_takes_one_dictionary(form: Callable[[dict[str, Tensor]], Any]) -> None:
    parts = {"x": X, "z": torch.zeros_like(X)}
    assert pruned(OneDictionary(), data=form(parts)) == pruned(Net())
    found = pruned(OneDictionary(), "synflow[rounds=3]", data=form(parts), example_inputs=(parts,))
    assert found.kept == round(72 / 3)


def test_a_network_that_takes_one_list() -> None:
    parts = [X, torch.zeros_like(X)]
    assert pruned(OneList(), data=[((parts,), Y)]) == pruned(Net())
    assert pruned(OneList(), data=((parts,), Y)) == pruned(Net())
    pruned(OneList(), "synflow[rounds=3]", example_inputs=(parts,))
    with pytest.raises(ModelError, match=r"takes one list needs \(\[first, second\],\)"):
        pruned(OneList(), "synflow", example_inputs=parts)


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.v, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mask = mask.view(1, 5, 5)
        weights = (self.a(x) @ x.transpose(1, 2)).masked_fill(mask, -1e9).softmax(-1)
        logits: Tensor = self.c((weights @ self.v(x))[:, -1])
        return logits


def test_an_input_without_examples_is_passed_whole_or_named() -> None:
    mask, x = torch.triu(torch.ones(5, 5), 1).bool(), torch.randn(6, 5, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mean of ones is one, whatever attends to it
        found = [pruned(Masked(), "synflow[rounds=3]", example_inputs=(x[:n], mask)).kept for n in (4, 5, 6)]
    assert found == [51, 51, 51]
    with pytest.raises(ModelError, match=r"5 is the number of examples and a size within them"):
        pruned(Masked(), "synflow", example_inputs=(x[:5, :, 1:], mask))
    with pytest.raises(UsageError, match=r"inputs of data have 4 and 5 entries"):
        pruned(Masked(), "snip", data=((x[:4], mask), Y[:4]))


class Forces(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = x.requires_grad_(True)
        energy = super().forward(x).square().sum()
        return torch.autograd.grad(energy, x, create_graph=True)[0]


@pytest.mark.parametrize("pruner", ["random", "magnitude", "snip", "grasp"])
def test_a_network_that_differentiates_in_its_forward_pass(pruner: str) -> None:
    assert pruned(Forces(), pruner, input_shape=(6,)).kept == 24


class Fixed(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.zeros(12, 1))


def test_a_network_of_a_fixed_number_of_examples() -> None:
    assert pruned(Fixed()) == pruned(Net())


class Nodes(Net):
    """Every node adds its neighbors' features: x (N, 6), or graphs (B, N, 6), of N nodes."""

    def __init__(self, layout: str = "dense", nodes: int = 12, graphs: bool = False) -> None:
        super().__init__()
        ring = torch.eye(nodes) + torch.eye(nodes).roll(1, 0)
        ring = {"coo": ring.to_sparse, "csr": ring.to_sparse_csr, "csc": ring.to_sparse_csc}.get(
            layout, ring.clone
        )()
        self.register_buffer("ring", ring)
        self.graphs = graphs

    def forward(self, x: Tensor) -> Tensor:
        if self.graphs:
            return torch.stack([self.ring @ self.net(self.ring @ each) for each in x]).mean(1)
        logits: Tensor = self.ring @ self.net(self.ring @ x)
        return logits


SPARSE = pytest.mark.filterwarnings("ignore:Sparse C:UserWarning")
WITHOUT_DATA = ["synflow[rounds=3]", "synflow-l2[rounds=3]", "npb", "px[rounds=3]", "ntk-sap[rounds=3]"]


@SPARSE
@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
def test_sparse_buffers(layout: str) -> None:
    for pruner in [*EVERY, *WITHOUT_DATA, "grasp"]:
        assert pruned(Nodes(layout), pruner) == pruned(Nodes(), pruner)
    model = Nodes(layout)
    copied = copy_network(model)
    assert copied.ring is not model.ring
    assert torch.equal(copied.ring.to_dense(), model.ring.to_dense())
    with pytest.raises(ModelError, match="cannot follow the sparse tensor 'ring'; choose another"):
        pruned(model, "phew")


@pytest.mark.parametrize("pruner", WITHOUT_DATA)
@pytest.mark.parametrize("given", [{"example_inputs": X}, {}], ids=["inputs", "data"])
def test_a_graph_of_a_fixed_number_of_nodes_is_not_cut(pruner: str, given: dict[str, Any]) -> None:
    found = pruned(Nodes(), pruner, **given)
    if pruner.startswith("synflow"):  # the mean over the nodes of one graph has the same shares of the flow
        assert found == pruned(Nodes(graphs=True), pruner, input_shape=(12, 6), data=None)


def test_an_edge_list_is_passed_whole_with_its_nodes() -> None:
    class Edges(Net):
        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            logits: Tensor = self.net(x + torch.zeros_like(x).index_add(0, edges[1], x[edges[0]]))
            return logits

    edges = torch.stack([torch.arange(11), torch.arange(1, 12)])
    for pruner in ("synflow[rounds=3]", "npb", "ntk-sap[rounds=3]"):
        assert pruned(Edges(), pruner, example_inputs=(X, edges)).kept == 24


def test_a_method_that_cannot_take_all_nodes_says_how_to_pass_them() -> None:
    with pytest.raises(ScoreError, match=r"only 12 examples at a time; .* one example of shape \(1, 12, 6\)"):
        pruned(Nodes(), "fts")
    many = torch.randn(300, 6)
    assert pruned(Nodes(nodes=300), "synflow[rounds=3]", example_inputs=many).kept == 24
    with pytest.raises(ModelError, match=r"more than a batch of scoring data; .* shape \(1, 300, 6\)"):
        pruned(Nodes(nodes=300), "snip", data=(many, torch.arange(300) % 3))


class Detector(nn.Module):
    """Takes a list of images, and returns a dictionary for each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, images: Any, targets: Any = None) -> Any:
        if any(image.dim() != 3 for image in images):
            raise ValueError("an image has three dimensions")
        return [{"boxes": self.head(self.body(image[None]).relu().mean((2, 3)))} for image in images]


def boxes(found: Any) -> Tensor:
    return torch.cat([each["boxes"] for each in found])


def test_a_list_of_images_is_not_cut() -> None:
    for pruner in ("synflow[rounds=3]", "npb", "ntk-sap[rounds=3]"):
        images = [torch.rand(3, size, 9) for size in (9, 12)]
        given = {"data": None, "outputs": boxes}
        masks = pruned(Detector(), pruner, example_inputs=(images,), **given)
        if pruner.startswith("synflow"):
            assert masks == pruned(Detector(), pruner, input_shape=(3, 9, 9), **given)
        with pytest.raises(ModelError, match=r"takes one list needs \(\[first, second\],\)"):
            pruned(Detector(), pruner, example_inputs=[torch.rand(3, 9, 9)] * 2, **given)
    with pytest.raises(UsageError, match="3 inputs and 6 labels; stack a list of examples into one tensor"):
        pruned(Detector(), data=([torch.rand(3, 9, 9)] * 6, Y[:6]), outputs=boxes)


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 8), nn.Linear(6, 8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.normalize(self.first(x), dim=-1) @ F.normalize(self.second(y), dim=-1).T


def test_classes_that_are_the_batch_need_a_loss() -> None:
    data = ((X, X.flip(1)), torch.arange(12))
    for pruner in ("snip", "grasp", "fts"):
        with pytest.raises(UsageError, match=r"as in contrastive learning, pass a loss= for them$"):
            pruned(Towers(), pruner, data=data)

    def contrastive(logits: Tensor, _labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, torch.arange(len(logits)))

    assert pruned(Towers(), data=data, loss=contrastive).kept == 32
    with pytest.raises(UsageError, match=r"classes 0 to 2$"):
        pruned(mlp(), data=(X, Y + 1))


@pytest.mark.parametrize("arguments", [{}, {"only": ["0.weight", "2.weight"]}], ids=["all", "only"])
def test_a_script_is_named(arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(mlp())
    for pruner in EVERY:
        with pytest.raises(ModelError, match="the network is a script"):
            pruned(script, pruner, **arguments)


def replaced_forward() -> nn.Module:
    model = mlp()
    first, last = model[0], model[2]
    model.forward = lambda x: last(F.relu(first(x)))  # type: ignore[method-assign]
    return model


def hooked() -> nn.Module:
    model = mlp()
    weight = model[0].weight
    model[1].register_forward_hook(lambda _module, _inputs, out: out + (X[:1] @ weight.T))
    return model


@pytest.mark.parametrize("build", [replaced_forward, hooked])
@pytest.mark.parametrize("pruner", ["snip", "npb", "synflow"])
def test_a_function_that_refers_to_the_network_from_outside_is_named(
    build: Callable[[], nn.Module], pruner: str
) -> None:
    with pytest.raises(ModelError, match=r"copy of the network uses '0\.weight'.*refers to it from outside"):
        pruned(build(), pruner, input_shape=(6,))
    assert pruned(build(), "magnitude", input_shape=(6,)).kept == 24


def test_a_function_may_refer_to_the_network_for_sizes() -> None:
    model = mlp()
    model.register_forward_pre_hook(
        lambda _module, inputs: (inputs[0].to(model[0].weight.device).view(-1, model[0].weight.size(1)),)
    )
    assert pruned(model) == pruned(mlp())


class Renamed(Net):
    def named_parameters(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
        for name, parameter in super().named_parameters(*arguments, **options):
            yield name.removeprefix("net."), parameter


class Unmovable(Net):
    def to(self, *arguments: Any, **options: Any) -> Any:
        raise ValueError("`.to` is not supported")


@pytest.mark.parametrize("build", [Renamed, Unmovable])
@pytest.mark.parametrize("pruner", EVERY)
def test_methods_of_the_networks_own(build: type[Net], pruner: str) -> None:
    assert pruned(build(), pruner, input_shape=(6,)) == pruned(Net(), pruner, input_shape=(6,))


def test_weights_of_eight_bits_are_ranked_in_float32() -> None:
    model = mlp().to(torch.float8_e4m3fn)
    for pruner in EVERY:
        assert pruned(model, pruner) == pruned(mlp().to(torch.float8_e4m3fn).float(), pruner)


def test_sparse_data_and_gradients() -> None:
    assert pruned(mlp(), data=(X.relu().to_sparse(), Y)) == pruned(mlp(), data=(X.relu(), Y))

    def words(sparse: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(9, 6, sparse=sparse), nn.Flatten(), nn.Linear(12, 3))

    ids, options = torch.arange(24).view(12, 2) % 9, sfb.PruningOptions(prune_embedding=True)
    found = [pruned(words(sparse), "grasp", data=(ids, Y), options=options) for sparse in (True, False)]
    assert found[0] == found[1]


def test_one_example_without_a_batch_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="one label"):
        pruned(mlp(), data=(X[0], Y[0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scores: None, "scores are a NoneType"),
        (lambda scores: list(scores.values()), "scores are a list"),
        (lambda scores: dict.fromkeys(scores, 1.0), "are a float"),
        (lambda scores: {name: score.numpy() for name, score in scores.items()}, "are a ndarray"),
    ],
)
def test_scores_of_another_form_are_a_score_error(change: Callable[..., Any], message: str) -> None:
    class Odd(sfb.Pruner):
        def score(self, problem: Problem) -> Any:
            return change({name: p.detach().abs() for name, p in problem.parameters.items()})

    with pytest.raises(ScoreError, match=message):
        pruned(mlp(), Odd())


def test_a_network_of_bare_parameters_is_pruned_by_name() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(mlp()[0].weight.detach().clone())

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.w.T

    with pytest.raises(ModelError, match=r"nothing to prune.*`only`.*'w'"):
        pruned(Bare())
    assert pruned(Bare(), only="w").kept == 16


class Checkpointed(Net):
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = checkpoint(self.net, x, use_reentrant=True)
        return logits


@pytest.mark.parametrize("pruner", EVERY)
def test_no_warning_of_torch_comes_from_the_trial(pruner: str) -> None:
    assert pruned(Checkpointed(), pruner, input_shape=(6,)) == pruned(Net(), pruner, input_shape=(6,))


def test_errors_are_one_line() -> None:
    for model in (Refusing(), replaced_forward()):
        with pytest.raises(HandledError) as raised:
            pruned(model)
        assert "\n" not in str(raised.value)
