"""The singleshot protocol: what is shared between pruners, what differs, and what is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from synflow_bench.protocols import Bench, run_cell
from synflow_bench.records import Record
from synflow_bench.suites import Cell, PruningOptions, Singleshot

MakeCell = Callable[..., Cell]


def ok(record: Record) -> Record:
    assert record.error is None, record.error
    return record


@pytest.mark.parametrize("pruner", ["random", "magnitude", "snip", "grasp", "synflow[rounds=5]"])
def test_a_record_has_the_exact_density_and_says_what_was_measured(
    bench: Bench, make_cell: MakeCell, pruner: str
) -> None:
    record = ok(run_cell(make_cell(pruner, 8.0), bench))
    assert record.metrics is not None
    size = sum(layer.size for layer in record.layers)
    assert sum(layer.kept for layer in record.layers) == round(size / 8)
    assert record.metrics.compression == pytest.approx(8, rel=1e-3)
    assert record.metrics.density == pytest.approx(1 / record.metrics.compression)
    assert record.metrics.test_top1 == record.curve[-1].test_top1
    assert record.metrics.max_test_top1 == max(point.test_top1 for point in record.curve)
    assert record.metrics.init_top1 == record.curve[0].test_top1
    assert record.provenance.score_dtype in {"float32", "float64"}
    assert record.provenance.threads == 1
    assert set(record.provenance.plugins) == {"dataset", "model", "pruner"}
    # Every weight of a fully connected network is used once for an example.
    kept = sum(layer.kept for layer in record.layers)
    assert record.metrics.theoretical_speedup == pytest.approx(size / kept)


def test_equal_cells_give_bitwise_equal_records(bench: Bench, make_cell: MakeCell) -> None:
    cell = make_cell("snip", 10.0)
    first = ok(run_cell(cell, bench))
    run_cell(make_cell("random", 3.0, seed=4), bench)
    torch.rand(7)
    assert ok(run_cell(cell, bench)).result == first.result


def test_a_run_leaves_the_global_generator_alone(bench: Bench, make_cell: MakeCell) -> None:
    before = torch.get_rng_state()
    ok(run_cell(make_cell(), bench))
    assert torch.equal(before, torch.get_rng_state())


def test_pruners_share_weights_data_order_and_split_at_one_seed(
    bench: Bench, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    for pruner in ("random", "snip"):
        ok(run_cell(make_cell(pruner), bench))
    first, second = seen
    assert all(torch.equal(w, second["weights"][name]) for name, w in first["weights"].items())
    assert torch.equal(first["order"], second["order"])
    assert torch.equal(first["examples"].train.images, second["examples"].train.images)
    assert first["masks"] != second["masks"]


def test_seeds_change_weights_and_order_but_not_the_split(
    bench: Bench, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    for seed in (0, 1):
        ok(run_cell(make_cell(seed=seed), bench))
    first, second = seen
    assert not torch.equal(first["weights"]["classifier.weight"], second["weights"]["classifier.weight"])
    assert not torch.equal(first["order"], second["order"])
    assert torch.equal(first["examples"].train.images, second["examples"].train.images)


def test_reinit_trains_new_weights_under_the_same_masks(
    bench: Bench, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    for ablation in ("none", "reinit"):
        ok(run_cell(make_cell(ablation=ablation), bench))
    plain, reinit = seen
    assert plain["masks"] == reinit["masks"]
    assert not torch.equal(plain["weights"]["classifier.weight"], reinit["weights"]["classifier.weight"])


def test_shuffle_keeps_layer_counts_and_moves_the_weights(bench: Bench, make_cell: MakeCell) -> None:
    plain, shuffled = (ok(run_cell(make_cell(ablation=kind), bench)) for kind in ("none", "shuffle"))
    assert [layer.kept for layer in plain.layers] == [layer.kept for layer in shuffled.layers]
    assert plain.masks != shuffled.masks


def test_invert_keeps_what_scores_least(
    bench: Bench, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    for ablation in ("none", "invert"):
        ok(run_cell(make_cell("magnitude", 2.0, ablation=ablation), bench))
    plain, inverted = (dict(call["masks"]) for call in seen)
    both = sum(int((plain[name] & inverted[name]).sum()) for name in plain)
    assert both <= 1, "at compression 2 the halves share at most the weight in the middle"


@pytest.mark.parametrize("ablation", ["random-labels", "random-inputs"])
def test_ablations_of_the_data_change_what_a_data_pruner_keeps(
    bench: Bench, make_cell: MakeCell, ablation: str
) -> None:
    plain, changed = (ok(run_cell(make_cell("snip", ablation=kind), bench)) for kind in ("none", ablation))
    assert plain.masks != changed.masks


def test_the_dense_network_keeps_everything(bench: Bench, make_cell: MakeCell) -> None:
    record = ok(run_cell(make_cell("dense", 1.0), bench))
    assert record.metrics is not None
    assert record.metrics.compression == record.metrics.theoretical_speedup == 1
    assert record.provenance.score_dtype is None


def test_pre_epochs_train_before_pruning(
    bench: Bench, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    record = ok(run_cell(make_cell(protocol=Singleshot(pre_epochs=2)), bench))
    pretraining, training = seen
    assert pretraining["masks"] == {}
    assert not torch.equal(
        pretraining["weights"]["classifier.weight"], training["weights"]["classifier.weight"]
    )
    at_start = ok(run_cell(make_cell(), bench))
    assert record.masks != at_start.masks
    assert len(record.curve) == 2, "the curve is that of the training after pruning"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"prune_bias": True}, {"classifier.bias", "classifier.weight"}),
        ({"dense_classifier": True}, set()),
        ({}, {"classifier.weight"}),
    ],
)
def test_pruning_options_decide_which_layers_are_counted(
    bench: Bench, make_cell: MakeCell, options: dict[str, bool], names: set[str]
) -> None:
    record = ok(run_cell(make_cell("random", pruning=PruningOptions(**options)), bench))
    assert {layer.name for layer in record.layers if layer.name.startswith("classifier")} == names


def test_local_scope_gives_every_layer_the_same_density(bench: Bench, make_cell: MakeCell) -> None:
    record = ok(run_cell(make_cell("magnitude", 4.0, pruning=PruningOptions(scope="local")), bench))
    assert all(abs(layer.kept - layer.size / 4) < 1 for layer in record.layers)


def test_a_network_with_batch_norm_and_residuals_runs_too(bench: Bench, make_cell: MakeCell) -> None:
    options = PruningOptions(prune_batchnorm=True)
    record = ok(
        run_cell(make_cell("synflow[rounds=3]", 10.0, model="lottery/resnet20", pruning=options), bench)
    )
    assert any("bn" in layer.name or "norm" in layer.name for layer in record.layers)
