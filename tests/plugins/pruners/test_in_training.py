"""Methods that change masks in training, update by update, against what their papers and codes say."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import synflow_bench as sfb
from synflow_bench.errors import UsageError
from synflow_bench.pruning import Masks, MaskUpdate, TrainingPruner, update_masks
from synflow_bench_pruners.edge_popup import EdgePopup
from synflow_bench_pruners.gmp import Gmp
from synflow_bench_pruners.sparse_training import Rigl, Set


def update_of(
    shape: tuple[int, int], density: float, *, seed: int = 0, step: int = 300, **changed: Any
) -> MaskUpdate:
    """A layer with random weights and gradients, in the middle of a training of 1000 steps."""
    draw = torch.Generator().manual_seed(seed)
    size = shape[0] * shape[1]
    mask = torch.zeros(size, dtype=torch.bool)
    mask[torch.randperm(size, generator=draw)[: round(density * size)]] = True
    masks = Masks({"layer": mask.view(shape)})
    weights = {"layer": torch.randn(shape, generator=draw) * masks["layer"]}
    gradients = {"layer": torch.randn(shape, generator=draw)}
    fields = {"progress": 0.4, "density": density, "lr": 0.1, "scope": "global", "seed": 7, **changed}
    return MaskUpdate(
        step=step,
        steps=1000,
        masks=masks,
        weights=weights,
        generator=torch.Generator().manual_seed(seed),
        _gradients=gradients,
        **fields,
    )


def published_rigl(weights: Tensor, mask: Tensor, gradients: Tensor, fraction: float) -> np.ndarray:
    """The update of google-research/rigl as its code computes it, without noise: two sorts of all entries."""
    ones = int(mask.sum())
    pruned = int(np.float32(ones) * np.float32(fraction))
    by_magnitude = np.argsort(-(weights * mask).abs().flatten().numpy(), kind="stable")
    kept = np.zeros(mask.numel())
    kept[by_magnitude[: ones - pruned]] = 1
    growth = gradients.abs().flatten().numpy()
    lifted = np.where(kept == 1, growth.min() - 1, growth)
    grown = np.zeros(mask.numel())
    grown[np.argsort(-lifted, kind="stable")[:pruned]] = 1
    return (kept + grown).reshape(mask.shape).astype(bool)


@given(seed=st.integers(0, 10**6), density=st.floats(0.05, 0.9), step=st.integers(1, 750))
def test_an_update_of_rigl_is_that_of_its_official_code(seed: int, density: float, step: int) -> None:
    update = update_of((13, 7), density, seed=seed, step=step)
    fraction = 0.3 / 2 * (1 + cos(pi * step / 750))
    expected = published_rigl(
        update.weights["layer"], update.masks["layer"], update.gradients()["layer"], fraction
    )
    assert np.array_equal(update_masks(Rigl(), update)["layer"].numpy(), expected)


def published_set(weights: np.ndarray, zeta: float) -> np.ndarray:
    """What stays by the code of SET: weights beyond a rank of either sign, found in the sorted values."""
    values = np.sort(weights.ravel())
    negative, positive = int((values < 0).sum()), int((values > 0).sum())
    largest_negative = values[int((1 - zeta) * negative)]
    smallest_positive = values[min(len(values) - 1, int(len(values) - positive + zeta * positive))]
    return (weights > smallest_positive) | (weights < largest_negative)


@given(seed=st.integers(0, 10**6), density=st.floats(0.2, 0.9))
def test_set_keeps_what_its_official_code_keeps_but_for_one_weight_of_either_sign(
    seed: int, density: float
) -> None:
    update = update_of((20, 10), density, seed=seed)
    kept = Set()._far_from_zero(update.weights["layer"], update.masks["layer"]).numpy()
    published = published_set(update.weights["layer"].numpy(), 0.3)
    assert not (published & ~kept).any()
    assert (kept & ~published).sum() <= 2


@given(seed=st.integers(0, 10**6), density=st.floats(0.1, 0.95))
def test_set_drops_three_tenths_of_either_sign_and_grows_as_many(seed: int, density: float) -> None:
    update = update_of((20, 10), density, seed=seed)
    weights, mask = update.weights["layer"], update.masks["layer"]
    new = update_masks(Set(), update)["layer"]
    assert new.sum() == mask.sum()
    for sign in (weights > 0, weights < 0):
        order = weights[sign].abs().sort().values
        threshold = order[int(0.3 * len(order)) - 1] if int(0.3 * len(order)) else 0.0
        assert new[sign & (weights.abs() > threshold)].all()


def test_growth_of_set_is_uniform() -> None:
    """Over many draws each empty place grows about equally often (5 standard deviations)."""
    grown, draws = torch.zeros(10, 10), 400
    generator = torch.Generator().manual_seed(0)
    for _ in range(draws):
        update = update_of((10, 10), 0.3)
        fresh = MaskUpdate(**{**vars(update), "generator": generator})
        grown += update_masks(Set(), fresh)["layer"] & ~update.masks["layer"]
    places = ~update_of((10, 10), 0.3).masks["layer"]
    share = grown[places] / draws
    expected = float(share.mean())
    assert share.sub(expected).abs().max() < 5 * (expected / draws) ** 0.5


@given(density=st.floats(0.001, 0.999), progress=st.floats(0, 1))
def test_gmp_follows_the_cubic_schedule_of_sparsity(density: float, progress: float) -> None:
    sparsity = (1 - density) + (0 - (1 - density)) * (1 - progress) ** 3
    assert Gmp().density_at(progress, density) == pytest.approx(1 - sparsity)
    assert Gmp().density_at(1, density) == density
    assert Gmp().density_at(0, density) == pytest.approx(1)


@pytest.mark.parametrize(("scope", "kept"), [("local", {"a": 50, "b": 5}), ("global", {"a": 45, "b": 10})])
def test_gmp_keeps_the_largest_weights_of_each_layer_or_of_all(scope: Any, kept: dict[str, int]) -> None:
    weights = {"a": torch.linspace(0.01, 1, 100), "b": torch.linspace(2, 3, 10)}
    update = MaskUpdate(
        **{**vars(update_of((2, 2), 0.5)), "weights": weights, "masks": Masks.ones(weights), "density": 0.5}
    )
    new = update_masks(Gmp(scope=scope), update)
    assert dict(new.layer_kept) == kept
    assert new["a"][-kept["a"] :].all()


def test_gmp_ranks_a_removed_weight_by_its_last_value() -> None:
    """The second smallest weight is removed, and comes back when others have become smaller."""
    values: dict[str, Tensor] = {}
    masks = Masks({"layer": torch.ones(1, 4, dtype=torch.bool)})
    for weights, density, kept in [
        ([1.0, -2.0, 3.0, 4.0], 0.5, [False, False, True, True]),
        ([0.0, 0.0, 0.5, 4.0], 0.5, [False, True, False, True]),
        ([0.0, -2.1, 0.0, 0.4], 0.25, [False, True, False, False]),
    ]:
        changed = {"weights": {"layer": torch.tensor([weights])}, "masks": masks, "values": values}
        masks = update_masks(Gmp(), MaskUpdate(**{**vars(update_of((1, 4), density)), **changed}))
        assert masks["layer"].tolist() == [kept]
    assert values["layer"].tolist() == [[1.0, pytest.approx(-2.1), 0.5, pytest.approx(0.4)]]


def test_methods_begin_as_their_papers_say() -> None:
    """Erdos-Renyi densities eps (n + m) / (n m), the same for both; gmp begins with everything."""
    masks = {}
    problem = sfb.Problem.of(
        nn.Sequential(nn.Linear(100, 300, bias=False), nn.Linear(300, 50, bias=False)),
        input_shape=(100,),
        num_classes=50,
        generator=torch.Generator().manual_seed(0),
    )
    for method in (Set(), Rigl()):
        masks = method.prune(problem, 0.1)
        eps = 0.1 * 45_000 / (400 + 350)
        assert masks.layer_kept["0.weight"] == pytest.approx(eps * 400, abs=1)
        assert masks.layer_kept["1.weight"] == pytest.approx(eps * 350, abs=1)
    assert Rigl(layers="uniform").prune(problem, 0.1).layer_kept["1.weight"] == 1500
    scores = EdgePopup().score(problem)
    assert float(scores["0.weight"].max()) == pytest.approx(1 / 100**0.5, rel=1e-3)
    assert float(scores["1.weight"].max()) == pytest.approx(1 / 300**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("pruner", "steps", "epoch", "due"),
    [
        (Gmp(), 10_000, 100, range(100, 7501, 100)),
        (Rigl(), 60, 20, range(4, 46, 4)),
        (Rigl(), 22, 22, range(4, 17, 4)),
        (Gmp(), 22, 22, range(1, 17)),
        (Rigl(every=7), 60, 20, range(7, 46, 7)),
        (Set(), 60, 20, range(20, 60, 20)),
        (Set(until=0.5), 100, 20, range(20, 51, 20)),
        (EdgePopup(), 3, 1, range(3)),
    ],
)
def test_updates_come_at_their_steps(pruner: TrainingPruner, steps: int, epoch: int, due: range) -> None:
    assert list(pruner.due(steps, epoch)) == list(due)


@pytest.mark.parametrize("name", ["gmp", "set", "rigl", "edge-popup"])
def test_without_a_training_there_are_no_masks(name: str) -> None:
    with pytest.raises(UsageError, match="changes its masks in training"):
        sfb.prune(nn.Linear(8, 8), name, compression=2, input_shape=(8,))
