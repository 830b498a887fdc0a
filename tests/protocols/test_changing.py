"""Masks that change in training: exact at every step, equal to other implementations, and refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import cos, pi, sqrt
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from synflow_bench import MaskUpdate, Problem, TrainingPruner
from synflow_bench.host import Host, PluginClass, PluginFile
from synflow_bench.protocols import WorkerContext, network_of, run_cell, run_cells
from synflow_bench.records import Record
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting, seed_of
from synflow_bench.training import Batch, BatchedStep, MaskChanges, TrainingStep

PLUGIN = Path(__file__).with_name("squares.py")
EPOCHS, STEPS = 5, 20
"""Of every training: 59 examples in batches of 16."""

Tensors = dict[str, Tensor]


def copied(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor.clone() for name, tensor in tensors.items()}


class Magnitudes(TrainingPruner):
    """Begins with the largest weights; a test says what an update does."""

    needs_data: ClassVar[bool] = False
    does: str = "nothing"
    every: int = 0

    def score(self, problem: Problem) -> Tensors:
        return {name: p.detach().abs() for name, p in problem.parameters.items()}

    def initial(self, weights: Mapping[str, Tensor], density: float) -> Any:
        self._disturb("at first")
        name, weight = next(iter(weights.items()))
        if self.does.startswith("moves masks"):
            return {name: torch.full_like(weight, 0.5)}
        return {
            "begins with a list": [1, 2],
            "begins with other names": {"nope": weight},
            "begins with numbers": {name: 0.5},
            "begins with a scalar": {name: torch.zeros(())},
            "begins with NaN": {name: torch.full_like(weight, torch.nan)},
        }.get(self.does)

    def interval(self, steps: int, steps_per_epoch: int) -> Any:
        self._disturb("at first")
        return {"an interval of 0": 0, "an interval of 2.5": 2.5, "an interval of True": True}.get(
            self.does, 3
        )

    def due(self, steps: int, steps_per_epoch: int) -> Any:
        found = {
            "due far": range(10, 999, 10),
            "due early": range(-5, 5),
            "never due": range(0),
            "due backward": range(9, 0, -2),
            "due by list": [1, 2],
            "due nowhere": None,
        }
        return found[self.does] if self.does in found else super().due(steps, steps_per_epoch)

    def density_at(self, progress: float, density: float) -> Any:
        self._disturb("for a density")
        last = {
            "ends dense": 1.0,
            "ends near": 0.2501,
            "ends empty": 0,
            "ends NaN": torch.nan,
            "ends half": "x",
        }
        if self.does == ("starts empty" if progress == 0 else "is empty between"):
            return density if progress == 1 else 1e-9
        return last.get(self.does, density) if progress == 1 else density

    def _disturb(self, when: str) -> None:
        if self.does == f"draws {when}":
            torch.rand(3)
        if self.does == f"sets a type {when}":
            torch.set_default_dtype(torch.float64)

    def update(self, update: MaskUpdate) -> Mapping[str, Tensor]:
        if self.does == "removes one":
            name, mask = next(iter(update.masks.items()))
            fewer = mask.clone()
            fewer.view(-1)[fewer.view(-1).nonzero()[0]] = False
            return {**update.masks, name: fewer}
        if self.does.startswith("moves masks"):
            masks = update.masks if self.does.endswith("in place") else copied(update.masks)
            for mask in masks.values():
                mask.copy_(mask.roll(1, -1))
            return masks
        if self.does == "has masks without values":
            return {name: mask.to("meta") for name, mask in update.masks.items()}
        if self.does == "asks for gradients":
            update.gradients()
        if self.does == "draws elsewhere":
            torch.rand(3)
        if self.does == "sets a type":
            torch.set_default_dtype(torch.float64)
        if self.does == "sets a value":
            update.values["3.weight"] = torch.zeros(3)
        if self.does == "sets complex values":
            update.values["3.weight"] = update.weights["3.weight"] * 1j
        if self.does == "has no masks":
            return {}
        if self.does == "has nothing":
            return None  # type: ignore[return-value]
        remembered: dict[str, Any] = {
            "remembers by number": {3: torch.zeros(3)},
            "remembers numbers": {"x": 3},
            "remembers no values": {"x": torch.zeros(3, device="meta")},
            "remembers sparse ones": {"x": torch.eye(3).to_sparse()},
        }
        update.state.update(remembered.get(self.does, {}))
        if self.does == "writes":
            for weight in update.weights.values():
                weight.fill_(7)
        return update.masks


class Blind(Magnitudes):
    """Grows by gradients where a layer has none."""

    needs_gradients: ClassVar[bool] = True
    does: str = "asks for gradients"


@pytest.fixture(scope="module")
def host() -> Host:
    classes = [PluginClass.of(Magnitudes), PluginClass.of(Blind)]
    return Host.load(files=[PluginFile.read(PLUGIN), *classes])


@pytest.fixture
def worker(host: Host, tmp_path: Path) -> WorkerContext:
    return WorkerContext(host, tmp_path, torch.device("cpu"), threads=1)


def cell(
    pruner: str,
    compression: float = 4.0,
    *,
    model: str = "perceptron",
    recipe: Mapping[str, Any] | None = None,
    ablation: Any = "none",
    **setting: Any,
) -> Cell:
    plain = {"epochs": EPOCHS, "lr": 0.05, "batch_size": 16, "schedule": "cosine", "weight_decay": 1e-3}
    return Cell(
        setting=Setting(
            dataset="squares",
            model=ModelSpec(name=model),
            recipe=Recipe(**{**plain, **(recipe or {})}),
            **setting,
        ),
        pruner=PrunerSpec.model_validate(pruner),
        compression=compression,
        seed=0,
        ablation=ablation,
    )


def ok(record: Record) -> Record:
    assert record.error is None, record.error
    return record


FINETUNE = {"name": "finetune", "epochs": 2, "lr": 0.01}
METHODS = ["gmp[every=3]", "set", "set[layers=uniform,every=2]", "rigl[every=3]", "edge-popup"]


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("method", METHODS)
def test_at_every_step_the_density_is_exact_and_removed_weights_are_zero_with_their_state(
    method: str, optimizer: str, worker: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    original = TrainingStep.__call__

    def step(self: TrainingStep, batches: Any) -> Any:
        losses = original(self, batches)
        assert self.changes is not None
        parameters = dict(self.model.named_parameters())
        for name, mask in self.changes.masks.items():
            removed = ~mask
            assert not parameters[name][removed].any()
            for state in self.optimizer.state[parameters[name]].values():
                assert state.shape != mask.shape or not state[removed].any()
        kept.append(sum(int(mask.sum()) for mask in self.changes.masks.values()))
        return losses

    monkeypatch.setattr(TrainingStep, "__call__", step)
    chosen = cell(method, 5.0, model="normed", recipe={"optimizer": optimizer, "lr": 0.01})
    record = ok(run_cell(chosen, worker))
    size = sum(layer.size for layer in record.layers)
    due = range(3, 16, 3)
    steps = [sum(at <= step for at in due) / len(due) for step in range(STEPS)]
    gradual = [round(size * (0.2 + 0.8 * (1 - done) ** 3)) for done in steps]
    assert kept == (gradual if method.startswith("gmp") else STEPS * [round(size / 5)])


class Reference:
    """Training of a perceptron in float64: masks in the forward pass, Nesterov momentum written out."""

    def __init__(self, weights: Tensors, recipe: Recipe) -> None:
        self.weights = {name: weight.double() for name, weight in weights.items()}
        self.moved = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.masks = {name: weight != 0 for name, weight in self.weights.items() if weight.dim() > 1}
        self.last: Tensors = {}
        self.recipe = recipe

    def gradients(self, batch: Batch) -> Tensors:
        """The gradient of every weight, removed ones included."""
        left = {name: (w * self.masks.get(name, 1)).requires_grad_() for name, w in self.weights.items()}
        hidden = (batch.inputs.double().flatten(1) @ left["1.weight"].T + left["1.bias"]).relu()
        loss = cross_entropy(hidden @ left["3.weight"].T + left["3.bias"], batch.labels)
        return dict(zip(left, torch.autograd.grad(loss, list(left.values())), strict=True))

    def step(self, batch: Batch) -> None:
        for name, gradient in self.gradients(batch).items():
            mask, weight = self.masks.get(name, torch.tensor(1.0)), self.weights[name]
            slope = (gradient + self.recipe.weight_decay * weight) * mask
            self.moved[name] = 0.9 * self.moved[name] + slope
            self.weights[name] = (weight - batch.lr * (slope + 0.9 * self.moved[name])) * mask

    def change(self, masks: Tensors) -> None:
        for name, mask in masks.items():
            stays = mask & self.masks[name]
            self.weights[name], self.moved[name] = self.weights[name] * stays, self.moved[name] * stays
        self.masks = masks


def largest(values: Tensor, allowed: Tensor, count: int) -> Tensor:
    """A mask of the `count` largest values, by sorting."""
    order = sorted(allowed.flatten().nonzero().flatten().tolist(), key=lambda i: -float(values.flatten()[i]))
    mask = torch.zeros(values.numel(), dtype=torch.bool)
    mask[order[:count]] = True
    return mask.view(values.shape)


def gmp(reference: Reference, batch: Batch, _: torch.Generator) -> bool:
    """Change the masks where that is due; return True if the step trains weights, as in the next two."""
    size = sum(mask.numel() for mask in reference.masks.values())
    if batch.step in range(3, 16, 3):
        density = 0.25 + 0.75 * (1 - batch.step / 15) ** 3
        shares = {name: density * mask.numel() for name, mask in reference.masks.items()}
        counts = {name: int(share) for name, share in shares.items()}
        missing = round(density * size) - sum(counts.values())
        for name in sorted(shares, key=lambda n: counts[n] - shares[n])[:missing]:
            counts[name] += 1
        masks = {}
        for name, mask in reference.masks.items():
            weight = reference.weights[name]
            last = torch.where(mask, weight, reference.last.get(name, weight))
            masks[name] = largest(last.abs(), torch.ones_like(mask), counts[name])
            reference.weights[name] = reference.last[name] = last
        grown = {name: mask & ~reference.masks[name] for name, mask in masks.items()}
        reference.change(masks)
        for name, places in grown.items():
            reference.weights[name] = torch.where(places, reference.last[name], reference.weights[name])
    return True


def sets(reference: Reference, batch: Batch, draw: torch.Generator) -> bool:
    if batch.step in (4, 8, 12, 16):
        masks = {}
        draws = {name: torch.rand(mask.shape, generator=draw) for name, mask in reference.masks.items()}
        for name, mask in reference.masks.items():
            weight, kept = reference.weights[name], torch.zeros_like(mask)
            for sign in (weight > 0, weight < 0):
                kept |= largest(weight.abs(), sign, int(sign.sum()) - int(0.3 * int(sign.sum())))
            masks[name] = kept | largest(draws[name], ~kept, int(mask.sum() - kept.sum()))
        reference.change(masks)
    return True


def rigl(reference: Reference, batch: Batch, _: torch.Generator) -> bool:
    if batch.step not in range(3, 16, 3):
        return True
    masks, gradients = {}, reference.gradients(batch)
    for name, mask in reference.masks.items():
        dropped = int(0.3 / 2 * (1 + cos(pi * batch.step / 15)) * int(mask.sum()))
        kept = largest(reference.weights[name].abs(), mask, int(mask.sum()) - dropped)
        masks[name] = kept | largest(gradients[name].abs(), ~kept, dropped)
    reference.change(masks)
    return False


Watched = list[tuple[Batch, Tensors, Tensors]]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Every step: its batch, the weights before it, and the masks after it."""
    seen: Watched = []

    def spied(kind: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(self: Any, batches: Any) -> Any:
            model = self.model if kind is TrainingStep else self._models[0]
            before = {name: p.detach().clone() for name, p in model.named_parameters()}
            losses = original(self, batches)
            changes = getattr(self, "changes", None)
            seen.append((batches[0], before, dict(changes.masks) if changes else {}))
            return losses

        return step

    for kind in (TrainingStep, BatchedStep):
        monkeypatch.setattr(kind, "__call__", spied(kind, kind.__call__))
    return seen


def trained(chosen: Cell, worker: WorkerContext) -> Tensors:
    """Run a cell and return the weights of its network."""
    ends: list[Any] = []
    ok(run_cell(chosen, replace(worker, on_outcome=lambda _, outcome: ends.append(outcome))))
    return {name: parameter.detach().double() for name, parameter in ends[0].model.named_parameters()}


def assert_equal(found: Tensors, expected: Tensors) -> None:
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("method", "rule"), [("gmp[every=3]", gmp), ("set", sets), ("rigl[every=3]", rigl)])
def test_a_cell_is_that_of_another_implementation_in_float64(
    method: str,
    rule: Callable[[Reference, Batch, torch.Generator], bool],
    worker: WorkerContext,
    watched: Watched,
) -> None:
    chosen = cell(method)
    found = trained(chosen, worker)
    reference = Reference(watched[0][1], chosen.setting.recipe)
    draw = torch.Generator().manual_seed(seed_of(chosen, "update"))
    for batch, _, masks in watched:
        if rule(reference, batch, draw):
            reference.step(batch)
        for name, mask in masks.items():
            assert torch.equal(mask, reference.masks[name]), (batch.step, name)
    assert len(watched) == STEPS
    assert_equal(found, reference.weights)


def test_edge_popup_is_that_of_another_implementation_in_float64(
    worker: WorkerContext, watched: Watched
) -> None:
    chosen = cell("edge-popup", 2.0)
    found = trained(chosen, worker)
    network = dict(network_of(chosen, worker, "init").model.named_parameters())
    draw = torch.Generator().manual_seed(seed_of(chosen, "pruner"))
    fan = {name: weight.shape[1] for name, weight in network.items() if weight.dim() > 1}
    frozen = {n: network[n].detach().double().sign() * sqrt(2 / fan[n]) for n in fan}
    scores = {n: (2 * torch.rand(frozen[n].shape, generator=draw).double() - 1) / sqrt(fan[n]) for n in fan}
    moved = {name: torch.zeros_like(score) for name, score in scores.items()}
    reference = Reference(watched[0][1], chosen.setting.recipe)
    for batch, _, masks in watched:
        lr = 0.05 * (1 + cos(pi * batch.step / STEPS))
        for name, gradient in reference.gradients(batch).items():
            if name in fan:
                slope = gradient * frozen[name] * scores[name].sign() + 1e-4 * scores[name]
                moved[name] = 0.9 * moved[name] + slope
                scores[name] = scores[name] - lr * moved[name]
                size = scores[name].numel()
                mask = largest(scores[name].abs(), torch.ones(size, dtype=torch.bool), size // 2)
                assert torch.equal(masks[name], mask), (batch.step, name)
                reference.masks[name], reference.weights[name] = mask, frozen[name] * mask
    assert_equal(found, reference.weights)


@pytest.mark.parametrize(
    "protocol",
    [
        FINETUNE,
        {"name": "multishot", "levels": 2, "rewind": "lr"},
        {"name": "multishot", "levels": 2, "rewind": "init"},
        {"name": "multishot", "levels": 2, "rewind": 3},
    ],
    ids=lambda protocol: f"{protocol['name']}-{protocol.get('rewind', '')}",
)
def test_pruning_of_trained_weights_is_that_of_another_implementation_in_float64(
    protocol: Any, worker: WorkerContext, watched: Watched
) -> None:
    chosen = cell("magnitude", 4.0, protocol=protocol)
    found = trained(chosen, worker)
    reference = Reference(watched[0][1], chosen.setting.recipe)
    size = sum(mask.numel() for mask in reference.masks.values())
    rewind, levels = protocol.get("rewind", "lr"), protocol.get("levels", 1)
    saved, level, last = dict(reference.weights), 0, -1
    for batch, _, _ in watched:
        if batch.step <= last:  # another training begins
            level += 1
            flat = torch.cat(
                [w.abs().flatten() for n, w in reference.weights.items() if n in reference.masks]
            )
            masks = largest(flat, flat > 0, round(size * 4 ** (-level / levels)))
            parts = masks.split([mask.numel() for mask in reference.masks.values()])
            named = zip(reference.masks.items(), parts, strict=True)
            reference.masks = {name: part.view(mask.shape) for (name, mask), part in named}
            if rewind != "lr":
                reference.weights = dict(saved)
            for name, weight in reference.weights.items():
                reference.weights[name] = weight * reference.masks.get(name, 1)
                reference.moved[name] = torch.zeros_like(weight)
        if batch.step == rewind and level == 0:
            saved = dict(reference.weights)
        reference.step(batch)
        last = batch.step
    assert level == levels
    assert_equal(found, reference.weights)


def test_fine_tuning_has_its_own_budget_and_a_constant_rate(worker: WorkerContext, watched: Watched) -> None:
    step = {"schedule": "step", "milestones": [2], "gamma": 0.1}
    ok(run_cell(cell("magnitude", protocol={"name": "finetune", "epochs": 2}, recipe=step), worker))
    rates = [batch.lr for batch, _, _ in watched]
    assert rates == pytest.approx(8 * [0.05] + 12 * [0.005] + 8 * [0.005])


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_paired(method: str, worker: WorkerContext, watched: Watched) -> None:
    """Every protocol and method has the initial weights and the batches of one-shot pruning."""
    chosen = [cell("random"), cell(method), cell("magnitude", protocol=FINETUNE)]
    for each in chosen:
        ok(run_cell(each, worker))
    plain, other, tuned = watched[:STEPS], watched[STEPS : 2 * STEPS], watched[2 * STEPS : 3 * STEPS]
    for (first, weights, _), (second, own, _), (third, dense, _) in zip(plain, other, tuned, strict=True):
        assert torch.equal(first.inputs, second.inputs)
        assert torch.equal(first.inputs, third.inputs)
        if first.step == 0 and method != "edge-popup":
            for name, weight in weights.items():
                both = (weight != 0) & (own[name] != 0)
                assert torch.equal(weight[both], own[name][both])
                assert torch.equal(weight[weight != 0], dense[name][weight != 0])


def test_cells_that_change_masks_run_beside_batched_ones_with_the_same_records(worker: WorkerContext) -> None:
    cells = [cell(method) for method in ("random", "rigl[every=2]", "magnitude", "set")]
    alone = [run_cell(each, worker).result for each in cells]
    together = run_cells(cells, worker, lambda *_: None)
    assert [ok(record).result for record in together] == alone
    assert [record.provenance.engine for record in together] == ["stacked", "eager", "stacked", "eager"]


@pytest.mark.parametrize(
    ("pruner", "setting", "fact"),
    [
        ("rigl", {"protocol": {"name": "multishot", "levels": 2}}, "cannot serve"),
        ("gmp", {"protocol": FINETUNE}, "cannot serve"),
        ("set", {"ablation": "shuffle"}, "'shuffle'"),
        ("rigl", {"pruning": {"granularity": "channel"}}, "'channel'"),
        ("set", {"recipe": {"epochs": 1}}, "first change after 4 optimizer steps, and the training has 4"),
        ("rigl", {"recipe": {"epochs": 1}}, "first change after 4 optimizer steps, and the training has 4"),
    ],
)
def test_what_a_method_does_not_define_is_skipped_in_one_line(
    pruner: str, setting: Any, fact: str, worker: WorkerContext
) -> None:
    bad, good = run_cells([cell(pruner, **setting), cell("random")], worker, lambda *_: None)
    assert (bad.outcome, good.status) == ("not defined", "ok")
    assert bad.error is not None
    assert fact in bad.error.message
    assert "\n" not in bad.error.message


@pytest.mark.parametrize(
    ("pruner", "fact"),
    [
        ("rigl[every=100]", "first change after 100 optimizer steps, and the training has 20"),
        ("gmp[until=0.01]", "(until=0.01); give a larger share as until=..., or train longer"),
        ("rigl[until=0.0]", "until"),
        ("set[drop=1.0]", "drop"),
        ("gmp[every=-1]", "every"),
        ("edge-popup[every=2]", "every step"),
        (
            "magnitudes[does=removes one]",
            "keeps 94 of 380 weights after step 3, where density 0.25 asks for 95",
        ),
        ("magnitudes[does=has masks without values]", "mask '1.weight' is on the device 'meta'"),
        ("magnitudes[does=asks for gradients]", "needs_gradients = False"),
        ("magnitudes[does=sets a value]", "update.values['3.weight'] has shape (3,)"),
        ("magnitudes[does=sets complex values]", "update.values['3.weight'] is a complex tensor"),
        ("magnitudes[does=has no masks]", "pruner Magnitudes: masks of no parameter"),
        ("magnitudes[does=has nothing]", "pruner Magnitudes: update() returns None; return masks by name"),
        (
            "magnitudes[does=remembers by number]",
            "pruner Magnitudes: update.state has the key 3; checkpoints",
        ),
        ("magnitudes[does=remembers numbers]", "update.state['x'] is 3; checkpoints keep tensors"),
        ("magnitudes[does=remembers no values]", "update.state['x'] is a tensor without values"),
        (
            "magnitudes[does=remembers sparse ones]",
            "update.state['x'] is a tensor without values, or a sparse",
        ),
        ("magnitudes[does=is empty between]", "returns 1e-09, which keeps none of 380 weights"),
    ],
)
def test_a_fault_of_a_pruner_ends_its_cell_alone_in_one_line(
    pruner: str, fact: str, worker: WorkerContext
) -> None:
    bad, good = run_cells([cell(pruner), cell("random")], worker, lambda *_: None)
    assert (bad.status, good.status) == ("failed", "ok")
    assert bad.error is not None
    assert fact in bad.error.message
    assert bad.error.traceback is None


@pytest.mark.parametrize(
    ("does", "fact"),
    [
        (
            "ends dense",
            "density_at(1, 0.25) returns 1.0; after the last update it must be that of the cell, 0.25",
        ),
        ("ends near", "density_at(1, 0.25) returns 0.2501"),
        ("ends empty", "density_at(1, 0.25) returns 0; return a share"),
        ("ends NaN", "density_at(1, 0.25) returns nan"),
        ("ends half", "density_at(1, 0.25) returns 'x'"),
        ("due far", "due() returns range(10, 999, 10); return a range of one or more optimizer steps"),
        ("due early", "due() returns range(-5, 5)"),
        ("never due", "due() returns range(0, 0)"),
        ("due backward", "due() returns range(9, 0, -2)"),
        ("due by list", "due() returns a list"),
        ("due nowhere", "due() returns None"),
        ("an interval of 0", "interval() returns 0"),
        ("an interval of 2.5", "interval() returns 2.5"),
        ("an interval of True", "interval() returns True"),
        ("starts empty", "density_at(0, 0.25) returns 1e-09, which keeps none of 380 weights"),
        ("begins with a list", "initial() returns a list"),
        ("begins with other names", "initial()['nope'] is of no prunable weight"),
        ("begins with numbers", "initial()['1.weight'] is 0.5; give a tensor"),
        ("begins with a scalar", "initial()['1.weight'] has shape (), and the weight (20, 16)"),
        ("begins with NaN", "initial()['1.weight'] has NaN or infinite values"),
    ],
)
def test_what_a_pruner_says_before_the_training_is_checked_before_it_and_names_the_pruner(
    does: str, fact: str, worker: WorkerContext, watched: Watched
) -> None:
    record = run_cell(cell(f"magnitudes[does={does}]"), worker)
    assert (record.status, watched) == ("failed", [])
    assert record.error is not None
    assert record.error.message.startswith("pruner Magnitudes: ")
    assert fact in record.error.message
    assert record.error.traceback is None


def test_masks_that_are_changed_in_place_are_as_new_ones(worker: WorkerContext) -> None:
    new, in_place = (trained(cell(f"magnitudes[does=moves masks{how}]"), worker) for how in ("", " in place"))
    for name, weight in new.items():
        assert torch.equal(weight, in_place[name])


def test_a_change_decides_by_what_a_checkpoint_keeps_of_the_state() -> None:
    """Not by the order of names, by strides, or by memory that two names share."""
    model = torch.nn.Linear(4, 3)
    seen: list[Any] = []

    def decide(changes: MaskChanges, _: Any) -> Mapping[str, Tensor]:
        state = changes.state
        if not state:
            state["b"] = state["a"] = torch.zeros(3, 4)
            state["c"] = torch.arange(12.0).view(3, 4).T
        state["a"].add_(1)
        seen.append([(name, tensor.tolist(), tensor.stride()) for name, tensor in state.items()])
        return changes.masks

    def changes() -> MaskChanges:
        masks = {"weight": torch.ones(3, 4, dtype=torch.bool)}
        return MaskChanges(masks, decide, range(9), needs_gradients=False, generator=torch.Generator())

    optimizer, running, continued = torch.optim.SGD(model.parameters(), 0.1), changes(), changes()
    running.apply(model, optimizer, 1, 0.1)
    continued.load(
        {name: t.detach().clone().contiguous() for name, t in reversed([*running.tensors().items()])}
    )
    for each in (running, continued):
        each.apply(model, optimizer, 2, 0.1)
    assert seen[1] == seen[2]


def test_growth_where_a_layer_has_no_gradient_is_an_error_that_names_it(
    worker: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MaskChanges.apply

    def without(self: MaskChanges, model: Any, *rest: Any) -> None:
        model[3].weight.grad = None
        original(self, model, *rest)

    monkeypatch.setattr(MaskChanges, "apply", without)
    record = run_cell(cell("blind"), worker)
    assert record.error is not None
    assert "'3.weight' has no gradient" in record.error.message


@pytest.mark.parametrize(
    "does",
    [
        "draws elsewhere",
        "draws at first",
        "draws for a density",
        "sets a type",
        "sets a type at first",
        "sets a type for a density",
        "writes",
    ],
)
def test_a_pruner_cannot_disturb_the_training(does: str, worker: WorkerContext) -> None:
    plain = ok(run_cell(cell("magnitudes", model="drops"), worker))
    other = ok(run_cell(cell(f"magnitudes[does={does}]", model="drops"), worker))
    assert (other.metrics, other.curve, other.masks) == (plain.metrics, plain.curve, plain.masks)


def test_a_training_that_diverges_keeps_its_densities(worker: WorkerContext) -> None:
    for method in ("gmp[every=3]", "rigl[every=3]", "set"):
        record = ok(run_cell(cell(method, model="normed", recipe={"lr": 1e30}), worker))
        assert record.metrics is not None
        assert record.metrics.diverged
        assert record.metrics.density == pytest.approx(0.25, abs=2e-3)


def test_the_cost_counts_steps_under_each_mask_and_gradients_of_all_weights(worker: WorkerContext) -> None:
    """3 passes of a kept share; an update of rigl costs 2 sparse passes and a dense one."""
    share, sizes = 95 / 380, EPOCHS * [16, 16, 16, 11]
    record = ok(run_cell(cell("rigl[every=3]"), worker))
    dense = sum(sizes[step] for step in range(3, 16, 3)) / sum(sizes)
    assert record.cost is not None
    assert record.cost.training == pytest.approx(share + dense * (1 - share) / 3, rel=1e-3)
    record = ok(run_cell(cell("set"), worker))
    assert record.cost is not None
    assert record.cost.training == pytest.approx(share, rel=1e-3)
    record = ok(run_cell(cell("gmp[every=3]"), worker))
    assert record.cost is not None
    shares = [1.0] * 3 + [s for u in range(1, 5) for s in 3 * [0.25 + 0.75 * (1 - u / 5) ** 3]] + 5 * [0.25]
    expected = sum(s * n for s, n in zip(shares, sizes, strict=True)) / sum(sizes)
    assert record.cost.training == pytest.approx(expected, rel=5e-3)
