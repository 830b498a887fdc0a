"""Methods that change masks in training, against whole trainings of a small network by their official codes.

`data/official_in_training.json` holds figures only. Masks are the bits of all layers in order, as hexadecimal
numbers. A figure of weights is, per layer, the sum of absolute values, the sum of squares, and the sum of the
weights times their numbers from 1 on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synflow_bench.pruning import Masks, MaskUpdate, Problem, TrainingPruner, update_masks
from synflow_bench.suites import Recipe
from synflow_bench.training import (
    Batch,
    ChangeStep,
    MaskChanges,
    MaskedWeights,
    Precision,
    TrainingStep,
    build_optimizer,
)
from synflow_bench_pruners.edge_popup import EdgePopup
from synflow_bench_pruners.gmp import Gmp
from synflow_bench_pruners.sparse_training import Rigl, Set

Figures = dict[str, Any]
OFFICIAL: Figures = json.loads((Path(__file__).parent / "data" / "official_in_training.json").read_text())
BATCH = 16
DENSE = [(20, 12), (16, 20), (5, 16)]
CONVOLUTIONS = [(6, 2, 3, 3), (8, 6, 3, 3), (5, 8, 1, 1)]


class Averaged(nn.Module):
    """Average images (N, C, H, W) over their places."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


@dataclass
class Small:
    """A network without biases, its data, and the masks and scores to begin with."""

    model: nn.Sequential
    inputs: Tensor
    labels: Tensor
    scores: list[Tensor] = field(default_factory=list)

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        return dict(self.model.named_parameters())

    def masks(self, bits: str) -> dict[str, Tensor]:
        sizes = [weight.numel() for weight in self.weights.values()]
        flat = np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8))[: sum(sizes)].astype(bool)
        parts = torch.from_numpy(flat).split(sizes)
        return {n: part.view(w.shape) for (n, w), part in zip(self.weights.items(), parts, strict=True)}

    def ones(self) -> dict[str, Tensor]:
        return dict(Masks.ones(self.weights))


def filled(model: nn.Sequential, weights: Sequence[np.ndarray]) -> nn.Sequential:
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        parameter.data.copy_(torch.from_numpy(weight))
    return model


@pytest.fixture
def dense() -> Small:
    """Three linear layers in float32, with numbers that are the same in all versions of numpy."""
    draws = np.random.RandomState(0)
    weights = [np.sqrt(2 / shape[1]) * draws.standard_normal(shape) for shape in DENSE]
    inputs = draws.standard_normal((64, 12))
    labels = (inputs @ draws.standard_normal((12, 5))).argmax(1)
    layers: list[nn.Module] = [nn.Linear(i, o, bias=False) for o, i in DENSE]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    return Small(filled(model, weights), torch.from_numpy(inputs).float(), torch.from_numpy(labels))


@pytest.fixture
def convolutional() -> Small:
    """Three convolutions in float64, with scores."""
    draws = np.random.RandomState(0)
    weights = [draws.standard_normal(shape) for shape in CONVOLUTIONS]
    scores = [(2 * draws.random_sample(s) - 1) / np.sqrt(np.prod(s[1:])) for s in CONVOLUTIONS]
    inputs = draws.standard_normal((64, 2, 7, 7))
    labels = (inputs.mean((2, 3)) @ draws.standard_normal((2, 5))).argmax(1)
    layers: list[nn.Module] = [nn.Conv2d(s[1], s[0], s[2], bias=False) for s in CONVOLUTIONS]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], Averaged()).double()
    given = [torch.from_numpy(score) for score in scores]
    return Small(filled(model, weights), torch.from_numpy(inputs), torch.from_numpy(labels), given)


Take = Callable[[Any, MaskUpdate], Masks]
Seen = dict[int, tuple[Masks, Masks]]
"""The masks before and after each update, by the number of batches before it."""


def trained(
    small: Small,
    pruner: TrainingPruner,
    due: range,
    first: dict[str, Tensor],
    *,
    density: float = 0.2,
    batches: int,
    lr: float = 0.05,
    momentum: float = 0.9,
    horizon: int = 0,
    values: dict[str, Tensor] | None = None,
    state: dict[str, Tensor] | None = None,
    take: Take = update_masks,
) -> Seen:
    """Train `small` with a pruner, as a cell does, and return the masks of its updates.

    Args:
        horizon: The number of optimizer steps of the training, where updates count as none; else 0.
        take: Returns the next masks.
    """
    seen: Seen = {}

    def decide(changes: MaskChanges, at: ChangeStep) -> Masks:
        progress = 1.0 if at.step == due[-1] else at.step / due[-1]
        update = MaskUpdate(
            step=at.step - (len(seen) if horizon else 0),
            steps=horizon or batches,
            progress=progress,
            density=pruner.density_at(progress, density),
            masks=Masks(changes.masks),
            weights=at.weights,
            lr=at.lr,
            scope="global",
            seed=0,
            generator=changes.generator,
            values=changes.values,
            state=changes.state,
            _gradients=at.gradients,
        )
        new = take(pruner, update)
        seen[at.step] = update.masks, new
        return new

    recipe = Recipe(epochs=1, batch_size=BATCH, lr=lr, momentum=momentum)
    changes = MaskChanges(
        first,
        decide,
        due,
        pruner.needs_gradients,
        torch.Generator().manual_seed(0),
        values=values or {},
        state=state or {},
    )
    step = TrainingStep(
        small.model,
        build_optimizer(recipe, small.model.parameters()),
        [MaskedWeights(small.model, first)],
        recipe,
        Precision.of(recipe, torch.device("cpu")),
        changes=changes,
    )
    for number in range(batches):
        of_batch = slice(BATCH * (number % 4), BATCH * (number % 4 + 1))
        step([Batch(small.inputs[of_batch], small.labels[of_batch], lr, number)])
    return seen


def facts(tensors: Sequence[Tensor]) -> list[list[float]]:
    return [
        [
            float(each.abs().sum()),
            float(each.square().sum()),
            float((each.flatten() * torch.arange(1, each.numel() + 1)).sum()),
        ]
        for each in (tensor.detach().double() for tensor in tensors)
    ]


def assert_near(found: Sequence[Tensor], figures: list[list[float]], tolerance: float) -> None:
    for mine, official in zip(facts(found), figures, strict=True):
        assert mine == pytest.approx(official, rel=tolerance, abs=tolerance)


def test_a_training_of_rigl_is_that_of_its_official_code(dense: Small) -> None:
    """Its updates count no optimizer step there: the time of the cosine is that of the weights."""
    figures = OFFICIAL["rigl"]
    updates = {each["batches"]: each for each in figures["updates"]}
    numbers = list(updates)
    due = range(numbers[0], numbers[-1] + 1, numbers[1] - numbers[0])
    assert [each["steps"] for each in updates.values()] == [at - place for place, at in enumerate(due)]
    first = dense.masks(figures["first"])
    seen = trained(
        dense,
        Rigl(until=0.75),
        due,
        first,
        density=Masks(first).kept / Masks(first).size,
        batches=figures["batches"],
        horizon=200,
    )
    assert list(seen) == numbers
    for number, (_, masks) in seen.items():
        assert masks == Masks(dense.masks(updates[number]["masks"])), number
    assert_near(list(dense.weights.values()), figures["weights"], 1e-4)


@pytest.fixture
def layers(pose: Callable[..., Problem]) -> Problem:
    """The layers of the network of test_official.py."""
    shapes = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), nn.Conv2d(16, 16, 3)]
    model = nn.Sequential(*shapes, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    return pose(model, (3, 8, 8), num_classes=5)


@pytest.mark.parametrize(
    "case", [case for case in OFFICIAL["layers"] if case["first"] == "sparse"], ids=lambda c: str(c["kept"])
)
def test_layers_of_rigl_keep_as_many_weights_as_in_its_official_code(case: Figures, layers: Problem) -> None:
    """The official code rounds removed weights of each layer down, twice; here the sum is exact."""
    kept = Rigl(layers=case["layers"]).prune(layers, 1 / case["compression"]).layer_kept
    for mine, official in zip(kept.values(), case["kept"], strict=True):
        assert -2 <= mine - official <= 0


@pytest.mark.parametrize("case", [case for case in OFFICIAL["layers"] if case["first"] == "dense"])
def test_the_uniform_layers_of_rigl_are_those_of_its_official_code_but_for_the_first(
    case: Figures, layers: Problem
) -> None:
    kept = list(Rigl(layers="uniform").prune(layers, 1 / case["compression"]).layer_kept.values())
    assert kept[1:] == pytest.approx(case["kept"][1:], abs=1)
    assert (kept[0], case["kept"][0]) == (round(216 / case["compression"]), 216)


@pytest.mark.parametrize("case", OFFICIAL["gmp"], ids=lambda c: f"{c['every']}-{c['momentum']}")
def test_a_training_of_gmp_is_that_of_its_official_code(case: Figures, dense: Small) -> None:
    """There momentum still moves removed weights: where it has no time to decay, masks differ at the end."""
    due = range(case["every"], 4 * case["every"] + 1, case["every"])
    seen = trained(
        dense, Gmp(), due, dense.ones(), batches=case["steps"], lr=case["lr"], momentum=case["momentum"]
    )
    assert [update["steps"] for update in case["updates"]] == list(seen)
    moves_on = case["momentum"] > 0 and case["every"] < 100
    for update in case["updates"]:
        before, masks = seen[update["steps"]]
        official = Masks(dense.masks(update["masks"]))
        assert masks.layer_kept == official.layer_kept
        both = sum(int((masks[name] & official[name]).sum()) for name in masks)
        assert both / official.kept >= (0.97 if moves_on else 1.0)
        if not moves_on:
            returned = sum(int((masks[name] & ~before[name]).sum()) for name in masks)
            assert returned == update["returned"]
    if case["momentum"] == 0:
        assert_near(list(dense.weights.values()), case["weights"], 1e-4)


def test_gmp_keeps_as_many_weights_of_each_layer_as_its_official_codes(dense: Small) -> None:
    seen = trained(dense, Gmp(), range(10, 151, 10), dense.ones(), batches=151)
    for (_, masks), official in zip(seen.values(), OFFICIAL["gmp_counts"]["kept"], strict=True):
        assert list(masks.layer_kept.values()) == pytest.approx(official, abs=1)


def test_set_drops_one_weight_more_of_either_sign_in_its_official_code(dense: Small) -> None:
    """A training whose weights grow where the official code has drawn them."""
    figures = OFFICIAL["set"]
    official = {
        each["steps"]: (Masks(dense.masks(each["kept"])), Masks(dense.masks(each["masks"])))
        for each in figures["updates"]
    }
    dropped: list[tuple[int, int]] = []

    def take(pruner: Set, update: MaskUpdate) -> Masks:
        theirs, new = official[update.step]
        for name, weight in update.weights.items():
            mine = pruner._far_from_zero(weight, update.masks[name])
            assert not (theirs[name] & ~mine).any()
            for sign in (weight > 0, weight < 0):
                assert int((mine & ~theirs[name] & sign).sum()) <= 1
            both, all_theirs = (~mine & update.masks[name]).sum(), (~theirs[name] & update.masks[name]).sum()
            dropped.append((int(both), int(all_theirs)))
        return new

    first = dense.masks(figures["first"])
    every = next(iter(official))
    trained(dense, Set(), range(every, 7 * every + 1, every), first, batches=8 * every, take=take)
    assert len(dropped) == 3 * len(official)
    assert sum(mine for mine, _ in dropped) / sum(theirs for _, theirs in dropped) > 0.92


def test_set_draws_dropped_weights_again_as_often_as_its_official_code(dense: Small) -> None:
    """Growth is uniform over all places that are empty after the drop."""
    runs, figures, share = 100, OFFICIAL["set"]["redrawn"], []
    first = dense.masks(OFFICIAL["set"]["first"])
    name = next(iter(first))

    def take(pruner: Set, update: MaskUpdate) -> Masks:
        kept = pruner._far_from_zero(update.weights[name], update.masks[name])
        for _ in range(runs):
            grown = update_masks(pruner, update)[name] & ~kept
            share.append(int((grown & update.masks[name]).sum()))
        return update.masks

    trained(dense, Set(), range(10, 11), first, density=Masks(first).kept / 640, batches=11, take=take)
    error = figures["spread"] * (1 / runs + 1 / figures["runs"]) ** 0.5
    assert np.mean(share) == pytest.approx(figures["mean"], abs=5 * error)


def test_edge_popup_learns_the_scores_and_masks_of_its_official_code(convolutional: Small) -> None:
    figures, small = OFFICIAL["edge-popup"], convolutional
    pruner, first = EdgePopup(), small.masks(figures["first"])
    values = dict(pruner.initial({n: w.detach() for n, w in small.weights.items()}, 0.5))
    for value, constant in zip(values.values(), figures["constants"], strict=True):
        assert value.abs().unique().tolist() == pytest.approx([constant])
    for name, weight in small.weights.items():
        weight.data.copy_(values[name])
    state = {f"score/{name}": score for name, score in zip(small.weights, small.scores, strict=True)}
    state |= {f"momentum/{name}": torch.zeros_like(w) for name, w in small.weights.items()}
    steps = len(figures["masks"])
    seen = trained(small, pruner, range(steps), first, density=0.5, batches=steps, values=values, state=state)
    for (_, masks), bits in zip(seen.values(), figures["masks"], strict=True):
        assert masks == Masks(small.masks(bits))
    assert_near([state[f"score/{name}"] for name in small.weights], figures["scores"], 1e-5)
    for name, weight in small.weights.items():
        assert torch.equal(weight.detach(), values[name] * seen[steps - 1][1][name])


@pytest.mark.parametrize("case", OFFICIAL["edge-popup"]["counts"], ids=lambda case: str(case["density"]))
def test_edge_popup_keeps_as_many_weights_of_each_layer_as_its_official_code(
    case: Figures, convolutional: Small, pose: Callable[..., Problem]
) -> None:
    """The official code rounds each layer up."""
    problem = pose(convolutional.model.float(), (2, 7, 7), num_classes=5)
    kept = EdgePopup().prune(problem, case["density"]).layer_kept
    for mine, official in zip(kept.values(), case["kept"], strict=True):
        assert -1 <= mine - official <= 0
