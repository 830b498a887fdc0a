"""Removed weights stay zero, with zero gradients, in any training until they are released."""

from __future__ import annotations

import copy
import gc
import inspect
import io
import pickle
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import optimizer as hooks

from synflow_bench import Masks
from synflow_bench.errors import UsageError

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "ASGD": {},
    "Adadelta": {},
    "Adafactor": {},
    "Adagrad": {},
    "Adam": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.1},
    "Adamax": {},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Rprop": {},
    "SGD": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "LBFGS": {},
    "Muon": {},
    "SparseAdam": {},
}
"""Every optimizer of torch, with options that keep weights moving."""

Step = Callable[[], Tensor]


@pytest.fixture(autouse=True)
def _no_hook_is_left() -> Iterator[None]:
    yield
    assert not hooks._global_optimizer_post_hooks
    assert not hooks._global_optimizer_pre_hooks


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, 3, bias=False))


def half(model: nn.Module) -> Masks:
    generator = torch.Generator().manual_seed(1)
    return Masks(
        {
            name: torch.rand(p.shape, generator=generator) < 0.5
            for name, p in model.named_parameters()
            if p.dim() > 1
        }
    )


def made(name: str, parameters: Any, **options: Any) -> torch.optim.Optimizer:
    kind = getattr(torch.optim, name)
    lr = {} if name == "Adadelta" else {"lr": 0.05}
    return kind(parameters, **{**lr, **OPTIMIZERS[name], **options})  # type: ignore[no-any-return]


def closure(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 0) -> Step:
    inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(16) % 3

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        return loss

    return step


def assert_held(model: nn.Module, masks: Masks, *, gradients: bool = True) -> None:
    for name, parameter in masks.parameters_of(model).items():
        assert not parameter.detach()[~masks[name]].any(), name
        if gradients and parameter.grad is not None:
            assert not parameter.grad[~masks[name]].any(), name


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 4) -> None:
    for seed in range(steps):
        optimizer.step(closure(model, optimizer, seed))


def test_every_optimizer_of_torch_is_tested() -> None:
    found = {
        name
        for name, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and name != "Optimizer"
    }
    assert found <= OPTIMIZERS.keys()


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "SparseAdam"])
def test_every_optimizer_keeps_removed_weights_at_zero(net: nn.Sequential, name: str) -> None:
    masks = half(net)
    before = net[0].weight.detach().clone()
    with masks.hold(net):
        trained(net, made(name, net.parameters()))
        assert_held(net, masks)
    assert not torch.equal(net[0].weight.detach()[masks["0.weight"]], before[masks["0.weight"]])


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "SparseAdam"])
def test_momentum_of_a_dense_training_moves_nothing(net: nn.Sequential, name: str) -> None:
    masks, optimizer = half(net), made(name, net.parameters())
    trained(net, optimizer)
    with masks.hold(net):
        assert_held(net, masks)
        for seed in range(3):
            optimizer.step(closure(net, optimizer, seed))
            assert_held(net, masks)


@pytest.mark.parametrize("options", [{"foreach": True}, {"foreach": False}, {"fused": True}], ids=str)
@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Adagrad", "NAdam", "RMSprop"])
def test_every_implementation_of_an_optimizer(
    net: nn.Sequential, name: str, options: dict[str, bool]
) -> None:
    masks = half(net)
    try:
        optimizer = made(name, net.parameters(), **options)
    except (TypeError, RuntimeError) as error:
        pytest.skip(str(error))
    with masks.hold(net):
        trained(net, optimizer)
        assert_held(net, masks)


@pytest.mark.parametrize("name", ["SGD", "Adam", "LBFGS"])
def test_training_is_that_of_a_network_with_masks_in_its_forward_pass(net: nn.Sequential, name: str) -> None:
    """The gradient of a masked forward pass is masked: all that an optimizer computes is the same."""
    masks = half(net)

    twin = copy.deepcopy(net)
    weights = [nn.Parameter(p.detach().clone() * masks[n]) for n, p in twin.named_parameters()]
    parts = list(masks.values())

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList(weights)

        def forward(self, x: Tensor) -> Tensor:
            first, second = (weight * mask for weight, mask in zip(self.weights, parts, strict=True))
            return torch.tanh(x @ first.T) @ second.T

    reference = Network()
    ours, theirs = made(name, net.parameters()), made(name, reference.parameters())
    with masks.hold(net):
        for seed in range(5):
            ours.step(closure(net, ours, seed))
            theirs.step(closure(reference, theirs, seed))
    for found, expected in zip(net.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


def test_gradients_that_accumulate_are_zero_where_weights_are_removed(net: nn.Sequential) -> None:
    masks, inputs = half(net), torch.randn(4, 6)
    net(inputs).sum().backward()
    with masks.hold(net):
        assert_held(net, masks)
        for _ in range(3):
            net(inputs).sum().backward()
            assert_held(net, masks)
        norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        kept = torch.cat([p.grad[masks[n]] for n, p in net.named_parameters() if p.grad is not None])
        assert float(norm) > 1
        assert torch.isclose(kept.norm(), torch.tensor(1.0), atol=1e-4)


def test_gradients_of_torch_autograd_grad_are_masked_too(net: nn.Sequential) -> None:
    masks = half(net)
    with masks.hold(net):
        (gradient,) = torch.autograd.grad(net(torch.randn(4, 6)).sum(), [net[0].weight])
        assert not gradient[~masks["0.weight"]].any()


def test_gradients_that_were_set_by_hand_or_of_a_weight_that_was_frozen(net: nn.Sequential) -> None:
    masks = half(net)
    net[0].weight.requires_grad_(False)
    with masks.hold(net):
        net[0].weight.requires_grad_(True)
        optimizer = torch.optim.Adam(net.parameters())
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        assert_held(net, masks)


def test_a_gradient_scaler_changes_nothing(net: nn.Sequential) -> None:
    masks, scaler = half(net), torch.amp.GradScaler("cpu", init_scale=64.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    with masks.hold(net):
        for seed in range(3):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = (
                    net(torch.randn(8, 6, generator=torch.Generator().manual_seed(seed)))
                    .float()
                    .square()
                    .mean()
                )
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            assert_held(net, masks)


def test_a_gradient_of_infinity_stays_out_of_removed_weights(net: nn.Sequential) -> None:
    masks = half(net)
    with masks.hold(net):
        (net(torch.full((2, 6), 1e30)).sum() * torch.tensor(float("inf"))).backward()
        assert_held(net, masks)


def test_sparse_gradients_of_an_embedding() -> None:
    table = nn.Embedding(9, 4, sparse=True)
    masks = Masks({"weight": torch.rand(9, 4) < 0.5})
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.1)
    with masks.hold(table):
        for _ in range(3):
            optimizer.zero_grad()
            table(torch.tensor([1, 1, 5, 8])).square().sum().backward()
            optimizer.step()
            assert not table.weight.detach()[~masks["weight"]].any()
    dense = torch.optim.SGD(table.parameters(), lr=0.1)
    with masks.hold(table):
        table(torch.tensor([1, 2])).sum().backward()
        dense.step()
        assert not table.weight.detach()[~masks["weight"]].any()


@pytest.mark.parametrize("wrapped", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_networks_that_are_wrapped_before_or_after(
    net: nn.Sequential, wrapped: Callable[[nn.Module], Any]
) -> None:
    masks = half(net)
    for held, used in ((net, wrapped(net)), (wrapped(net), net), (wrapped(net), wrapped(net))):
        optimizer = torch.optim.AdamW(used.parameters(), lr=0.1)
        with masks.hold(held):
            trained(used, optimizer)
            assert_held(net, masks)


@pytest.mark.slow
def test_a_network_that_torch_compiles(net: nn.Sequential) -> None:
    masks, compiled = half(net), torch.compile(net)
    optimizer = torch.optim.AdamW(compiled.parameters(), lr=0.1)
    with masks.hold(compiled):
        trained(compiled, optimizer)
        assert_held(net, masks)


def test_released_weights_train_again(net: nn.Sequential) -> None:
    masks, optimizer = half(net), torch.optim.SGD(net.parameters(), lr=0.1)
    handle = masks.hold(net)
    assert "2 parameters" in repr(handle)
    handle.release()
    handle.release()
    assert "released" in repr(handle)
    trained(net, optimizer)
    assert net[0].weight.detach()[~masks["0.weight"]].any()


def test_an_error_in_the_block_releases_too(net: nn.Sequential) -> None:
    with pytest.raises(ZeroDivisionError), half(net).hold(net):
        raise ZeroDivisionError


def test_a_loaded_checkpoint_is_masked(net: nn.Sequential) -> None:
    masks, dense = half(net), copy.deepcopy(net.state_dict())
    with masks.hold(net):
        net.load_state_dict(dense)
        assert_held(net, masks)


def test_a_loaded_part_is_masked(net: nn.Sequential) -> None:
    masks, dense = half(net), copy.deepcopy(net[0].state_dict())
    with masks.hold(net):
        net[0].load_state_dict(dense)
        assert_held(net, masks)


def overwrite_by_conversion(net: nn.Sequential) -> None:
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        net.double().float()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def replace_a_layer(net: nn.Sequential) -> None:
    net[0] = nn.Linear(6, 8, bias=False)


@pytest.mark.parametrize(
    "replace",
    [
        lambda net: net.load_state_dict(
            {n: torch.ones_like(p) for n, p in net.state_dict().items()}, assign=True
        ),
        overwrite_by_conversion,
        replace_a_layer,
    ],
)
def test_parameters_that_take_the_places_of_others_are_held(
    net: nn.Sequential, replace: Callable[[nn.Sequential], Any]
) -> None:
    masks = half(net)
    with masks.hold(net):
        old = net[0].weight
        replace(net)
        assert net[0].weight is not old
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        trained(net, optimizer, steps=1)
        assert_held(net, masks)
        optimizer.zero_grad()
        net(torch.randn(4, 6)).sum().backward()
        assert_held(net, masks)


def test_tied_weights_that_loading_unties_are_all_held() -> None:
    tied = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False))
    tied[1].weight = tied[0].weight
    masks = Masks({"0.weight": torch.eye(6, dtype=torch.bool)})
    dense = {name: torch.ones(6, 6) for name in tied.state_dict()}
    with masks.hold(tied):
        tied[1].load_state_dict({"weight": torch.ones(6, 6)})
        assert_held(tied, masks)
        tied.load_state_dict(dense, assign=True)
        for layer in tied:
            assert torch.equal(layer.weight.detach(), torch.eye(6))


def test_a_layer_that_loses_its_parameter_is_an_error_when_it_is_trained(net: nn.Sequential) -> None:
    masks, other = half(net), copy.deepcopy(net)
    with masks.hold(net):
        nn.utils.parametrizations.weight_norm(net[0])
        trained(other, torch.optim.SGD(other.parameters(), lr=0.1))
        with pytest.raises(UsageError, match=r"'0\.weight' of shape \(8, 6\)"):
            trained(net, torch.optim.SGD(net.parameters(), lr=0.1))
    trained(net, torch.optim.SGD(net.parameters(), lr=0.1))


def test_a_layer_that_is_gone_holds_up_nothing(net: nn.Sequential) -> None:
    masks = half(net)
    with masks.hold(net):
        del net[2]
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        optimizer.zero_grad()
        net(torch.randn(4, 6)).sum().backward()
        optimizer.step()
        assert not net[0].weight.detach()[~masks["0.weight"]].any()


def test_a_weight_that_is_trained_only_later_has_masked_gradients(net: nn.Sequential) -> None:
    masks = half(net)
    net[0].weight.requires_grad_(False)
    with masks.hold(net):
        assert not net[0].weight.requires_grad
        net(torch.randn(4, 6)).sum().backward()
        assert net[0].weight.grad is None
        net[0].weight.requires_grad_(True)
        net(torch.randn(4, 6)).sum().backward()
        assert net[0].weight.grad.any()
        assert_held(net, masks)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, torch.optim.swa_utils.AveragedModel, lambda net: pickle.loads(pickle.dumps(net))],  # noqa: S301
)
def test_a_copy_is_a_network_of_its_own(net: nn.Sequential, copied: Callable[[nn.Module], nn.Module]) -> None:
    masks, dense = half(net), copy.deepcopy(net.state_dict())
    handle = masks.hold(net)
    other = copied(net)
    getattr(other, "module", other).load_state_dict(dense)
    assert all(p.detach().all() for p in other.parameters())
    assert_held(net, masks)
    handle.release()
    net.load_state_dict(dense)
    getattr(other, "module", other).load_state_dict(dense)
    assert all(p.detach().all() for p in net.parameters())
    assert "released" in repr(handle)


def test_a_held_network_can_be_saved_whole(net: nn.Sequential) -> None:
    masks, content = half(net), io.BytesIO()
    with masks.hold(net):
        torch.save(net, content)
    content.seek(0)
    saved = torch.load(content, weights_only=False)
    assert_held(saved, masks)
    assert torch.equal(saved[0].weight, net[0].weight)


def test_a_network_that_torch_scripts_is_held_through_the_one_it_was_made_from(net: nn.Sequential) -> None:
    masks = half(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its scripts deprecated
        scripted = torch.jit.script(net)
    with pytest.raises(UsageError, match="ScriptModule"):
        masks.hold(scripted)
    with masks.hold(net):
        trained(scripted, torch.optim.SGD(scripted.parameters(), lr=0.1, momentum=0.9))
        assert_held(net, masks)


def test_a_network_of_inference_mode_is_held() -> None:
    with torch.inference_mode():
        layer = nn.Linear(6, 8)
    masks = Masks({"weight": torch.eye(8, 6, dtype=torch.bool)})
    with masks.hold(layer):
        assert_held(layer, masks)


@pytest.mark.parametrize("other", [None, dict(nn.Linear(2, 2).named_parameters())], ids=["None", "dict"])
def test_only_networks_are_held(other: Any) -> None:
    with pytest.raises(UsageError, match=r"None|'dict'"):
        Masks({"weight": torch.eye(2).bool()}).hold(other)


def test_other_networks_train_as_before(net: nn.Sequential) -> None:
    other = copy.deepcopy(net)
    with half(net).hold(net):
        trained(other, torch.optim.SGD(other.parameters(), lr=0.1))
    assert all(p.detach().all() for p in other.parameters())


def test_a_network_that_is_gone_is_not_kept_in_memory(net: nn.Sequential) -> None:
    model = copy.deepcopy(net)
    gone = weakref.ref(model[0].weight)
    handle = half(model).hold(model)
    del model
    gc.collect()
    assert gone() is None
    trained(net, torch.optim.SGD(net.parameters(), lr=0.1), steps=1)
    assert "released" in repr(handle)


def test_tied_weights_and_a_network_on_another_type(net: nn.Sequential) -> None:
    tied = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False), nn.Linear(6, 3))
    tied[1].weight = tied[0].weight
    masks = Masks({"0.weight": torch.eye(6, dtype=torch.bool)})
    with masks.hold(tied):
        tied.double()
        optimizer = torch.optim.SGD(tied.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            tied(torch.randn(4, 6).double()).sum().backward()
            optimizer.step()
        assert_held(tied, masks)
        assert tied[1].weight is tied[0].weight


def test_masks_of_another_network_are_refused(net: nn.Sequential) -> None:
    with pytest.raises(UsageError, match=r"'0.weight' has shape \(8, 6\)"):
        half(net).hold(nn.Sequential(nn.Linear(3, 3)))
    with pytest.raises(UsageError, match=r"'2\.weight'"):
        half(net).hold(nn.Sequential(nn.Linear(6, 8)))


def train_apart(rank: int, folder: str) -> None:
    """Train a held network on two processes that share gradients, and save what each of them has."""
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, 3, bias=False))
    masks = half(plain)
    shared = nn.parallel.DistributedDataParallel(plain)
    optimizer = torch.optim.AdamW(shared.parameters(), lr=0.1, weight_decay=0.1)
    with masks.hold(shared):
        for step in range(4):
            optimizer.zero_grad()
            inputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(10 * step + rank))
            shared(inputs).square().sum().backward()
            optimizer.step()
            assert_held(plain, masks)
    torch.save(plain.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_that_share_gradients_keep_the_same_weights_at_zero(
    net: nn.Sequential, tmp_path: Path
) -> None:
    torch.multiprocessing.spawn(train_apart, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, mask in half(net).items():
        assert torch.equal(first[name], second[name])
        assert not first[name][~mask].any()
        assert not torch.equal(first[name], net.state_dict()[name])


@pytest.mark.slow
def test_a_compiled_step_of_an_optimizer_clears_weights_too(net: nn.Sequential) -> None:
    masks = half(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    step = torch.compile(optimizer.step, backend="eager")
    with masks.hold(net):
        for seed in range(3):
            closure(net, optimizer, seed)()
            step()
            assert_held(net, masks)
