"""One-shot pruning: what pruners share, what is measured, compaction, and residual scales."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from synflow_bench.errors import UsageError
from synflow_bench.protocols import (
    Network,
    WorkerContext,
    network_of,
    run_cell,
    scoring_data,
    singleshot,
)
from synflow_bench.pruning import Masks, prunable_parameters
from synflow_bench.records import Record
from synflow_bench.suites import (
    Cell,
    ModelSpec,
    Multishot,
    PruningOptions,
    Recipe,
    Singleshot,
    load_suite,
    override,
)
from synflow_bench.training import Streams, Training, TrainingData, train

MakeCell = Callable[..., Cell]


def ok(record: Record) -> Record:
    assert record.error is None, record.error
    return record


@pytest.mark.parametrize("pruner", ["random", "magnitude", "snip", "grasp", "synflow[rounds=5]"])
def test_a_record_has_the_exact_density_and_says_what_was_measured(
    context: WorkerContext, make_cell: MakeCell, pruner: str
) -> None:
    record = ok(run_cell(make_cell(pruner, 8.0), context))
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
    on_paths = sum(layer.effective_kept or 0 for layer in record.layers)
    assert record.metrics.theoretical_speedup == pytest.approx(size / on_paths)


def test_equal_cells_give_bitwise_equal_records(context: WorkerContext, make_cell: MakeCell) -> None:
    cell = make_cell("snip", 10.0)
    first = ok(run_cell(cell, context))
    run_cell(make_cell("random", 3.0, seed=4), context)
    torch.rand(7)
    assert ok(run_cell(cell, context)).result == first.result


def test_a_run_leaves_the_global_generator_alone(context: WorkerContext, make_cell: MakeCell) -> None:
    before = torch.get_rng_state()
    ok(run_cell(make_cell(), context))
    assert torch.equal(before, torch.get_rng_state())


def test_pruners_share_weights_data_order_and_split_at_one_seed(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    for pruner in ("random", "snip"):
        ok(run_cell(make_cell(pruner), context))
    first, second = seen
    assert all(torch.equal(w, second["weights"][name]) for name, w in first["weights"].items())
    assert torch.equal(first["order"], second["order"])
    assert torch.equal(first["examples"].train.images, second["examples"].train.images)
    assert first["masks"] != second["masks"]


def test_seeds_change_weights_and_order_but_not_the_split(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    for seed in (0, 1):
        ok(run_cell(make_cell(seed=seed), context))
    first, second = seen
    assert not torch.equal(first["weights"]["classifier.weight"], second["weights"]["classifier.weight"])
    assert not torch.equal(first["order"], second["order"])
    assert torch.equal(first["examples"].train.images, second["examples"].train.images)


def test_reinit_trains_new_weights_under_the_same_masks(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    for ablation in ("none", "reinit"):
        ok(run_cell(make_cell(ablation=ablation), context))
    plain, reinit = seen
    assert plain["masks"] == reinit["masks"]
    assert not torch.equal(plain["weights"]["classifier.weight"], reinit["weights"]["classifier.weight"])


def test_shuffle_keeps_layer_counts_and_moves_the_weights(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    plain, shuffled = (ok(run_cell(make_cell(ablation=kind), context)) for kind in ("none", "shuffle"))
    assert [layer.kept for layer in plain.layers] == [layer.kept for layer in shuffled.layers]
    assert plain.masks != shuffled.masks


def test_invert_keeps_what_scores_least(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    for ablation in ("none", "invert"):
        ok(run_cell(make_cell("magnitude", 2.0, ablation=ablation), context))
    plain, inverted = (dict(call["masks"]) for call in seen)
    both = sum(int((plain[name] & inverted[name]).sum()) for name in plain)
    assert both <= 1, "at compression 2 the halves share at most the weight in the middle"


@pytest.mark.parametrize("ablation", ["random-labels", "random-inputs"])
def test_ablations_of_the_data_change_what_a_data_pruner_keeps(
    context: WorkerContext, make_cell: MakeCell, ablation: str
) -> None:
    plain, changed = (ok(run_cell(make_cell("snip", ablation=kind), context)) for kind in ("none", ablation))
    assert plain.masks != changed.masks


def test_random_examples_are_drawn_without_regard_to_their_classes(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    counts = []
    for kind, seed in (("balanced", 0), ("random", 0), ("random", 1)):
        cell = make_cell("snip", seed=seed, pruning={"examples": kind})
        inputs, labels = scoring_data(cell, context)
        assert len(inputs) == len(labels) == 100
        counts.append(torch.bincount(labels, minlength=10).tolist())
    assert counts[0] == [10] * 10
    assert counts[0] != counts[1] != counts[2]


def test_scores_without_biases_leave_those_of_the_training(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    kept, zero = (
        ok(run_cell(make_cell("synflow[rounds=3]", 50.0, pruning={"biases": biases}), context))
        for biases in ("keep", "zero")
    )
    assert kept.masks != zero.masks
    first, second = (call["weights"] for call in seen)
    biases = [name for name in first if name.endswith("bias")]
    assert biases
    assert all(first[name].any() and torch.equal(first[name], second[name]) for name in biases)


def test_the_dense_network_keeps_everything(context: WorkerContext, make_cell: MakeCell) -> None:
    record = ok(run_cell(make_cell("dense", 1.0), context))
    assert record.metrics is not None
    assert record.metrics.compression == record.metrics.theoretical_speedup == 1
    assert record.provenance.score_dtype is None


def test_pre_epochs_train_before_pruning(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    record = ok(run_cell(make_cell(protocol=Singleshot(pre_epochs=2)), context))
    pretraining, training = seen
    assert pretraining["masks"] == {}
    assert not torch.equal(
        pretraining["weights"]["classifier.weight"], training["weights"]["classifier.weight"]
    )
    at_start = ok(run_cell(make_cell(), context))
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
    context: WorkerContext, make_cell: MakeCell, options: dict[str, bool], names: set[str]
) -> None:
    record = ok(run_cell(make_cell("random", pruning=PruningOptions(**options)), context))
    assert {layer.name for layer in record.layers if layer.name.startswith("classifier")} == names


def test_local_scope_gives_every_layer_the_same_density(context: WorkerContext, make_cell: MakeCell) -> None:
    record = ok(run_cell(make_cell("magnitude", 4.0, pruning=PruningOptions(scope="local")), context))
    assert all(abs(layer.kept - layer.size / 4) < 1 for layer in record.layers)


def test_a_network_with_batch_norm_and_residuals_runs_too(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    options = PruningOptions(prune_batchnorm=True)
    record = ok(
        run_cell(make_cell("synflow[rounds=3]", 10.0, model="lottery/resnet20", pruning=options), context)
    )
    assert any("bn" in layer.name or "norm" in layer.name for layer in record.layers)


@pytest.mark.parametrize(
    "recipe",
    [
        {"lr": 0.01},
        {"optimizer": "momentum", "lr": 0.2, "momentum": 0.9, "weight_decay": 5e-4, "gradient_clip": 1.0},
    ],
    ids=["adam", "momentum"],
)
def test_a_compacted_cell_gives_what_the_whole_one_does(
    context: WorkerContext, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch, recipe: dict[str, Any]
) -> None:
    cell = make_cell("synflow[rounds=10]", 50.0, model="conv", recipe=recipe)
    compacted = ok(run_cell(cell, context))
    monkeypatch.setattr("synflow_bench.protocols.context.compact", lambda *_: None)
    whole = ok(run_cell(cell, context))
    assert (compacted.provenance.engine, whole.provenance.engine) == ("shrunk", "eager")
    assert compacted.masks == whole.masks
    assert compacted.layers == whole.layers
    assert compacted.key == whole.key
    first, reference = compacted.curve[0], whole.curve[0]
    assert first.test_top1 == reference.test_top1
    assert first.test_loss == pytest.approx(reference.test_loss, rel=1e-5)
    assert whole.curve[-1].test_top1 > 0.6
    for ours, theirs in zip(compacted.curve, whole.curve, strict=True):
        assert ours.test_top1 == pytest.approx(theirs.test_top1, abs=0.005)
        assert ours.test_loss == pytest.approx(theirs.test_loss, rel=1e-4)


def test_the_network_is_whole_again_after_its_training(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Network] = []
    monkeypatch.setattr(singleshot, "network_of", lambda *of: built.append(network_of(*of)) or built[-1])
    record = ok(run_cell(make_cell("synflow[rounds=10]", 200.0, model="conv"), context))
    (training,) = seen
    small, whole = training["final_weights"]["conv2.weight"], built[0].model.conv2.weight
    assert max(small.shape[:2]) < 32
    assert whole.shape == (32, 32, 3, 3)
    assert torch.isin(small, whole).all()
    (conv2,) = (layer for layer in record.layers if layer.name == "conv2.weight")
    assert int(whole.count_nonzero()) == conv2.kept


@pytest.mark.slow
def test_a_compacted_cell_that_is_compiled_gives_what_the_plain_one_does(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    how = {"lr": 0.01, "epochs": 1}
    plain, compiled = (
        ok(run_cell(make_cell("synflow[rounds=10]", 50.0, model="conv", recipe=each), context))
        for each in (how, {**how, "compile": "yes"})
    )
    assert plain.provenance.engine == compiled.provenance.engine == "shrunk"
    assert plain.masks == compiled.masks
    assert plain.key != compiled.key
    assert compiled.curve[-1].test_loss == pytest.approx(plain.curve[-1].test_loss, rel=1e-3)


def test_cuda_graphs_without_a_cuda_device_fail_the_cell_in_one_line(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    error = run_cell(make_cell("dense", 1.0, recipe={"compile": "cuda-graphs"}), context).error
    assert error is not None
    assert (error.kind, error.traceback) == ("SuiteError", None)
    assert error.message.startswith("compile 'cuda-graphs' has no effect on device 'cpu'")


def test_dense_networks_are_not_compacted(context: WorkerContext, make_cell: MakeCell) -> None:
    assert ok(run_cell(make_cell("dense", 1.0, model="conv"), context)).provenance.engine == "eager"


def test_batched_networks_are_not_compacted(context: WorkerContext, make_cell: MakeCell) -> None:
    assert ok(run_cell(make_cell("synflow[rounds=10]", 100.0), context)).provenance.engine == "stacked"


def test_levels_are_trained_whole_since_they_prune_again_by_what_was_learnt(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    cell = make_cell("magnitude", 200.0, model="conv", protocol=Multishot(levels=2))
    assert ok(run_cell(cell, context)).provenance.engine == "eager"
    assert all(call["weights"]["conv2.weight"].shape == (32, 32, 3, 3) for call in seen)


RESIDUAL = ModelSpec(name="lottery/resnet20", options={"residual": True})
SCALES = 3 * 16 + 2 * 32 + 2 * 64
"""Three identity shortcuts in the first stage, two in the others."""


def test_they_are_among_the_layers_and_in_density_and_compression(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    recipe = {"epochs": 0}
    for pruner in ("synflow[rounds=3]", "magnitude", "snip"):
        with_scales, without = (
            run_cell(
                make_cell(
                    pruner,
                    10.0,
                    model=RESIDUAL,
                    recipe=recipe,
                    pruning=PruningOptions(prune_residual=prune),
                ),
                context,
            )
            for prune in (True, False)
        )
        scales = [layer for layer in with_scales.layers if layer.name.endswith("shortcut.scale")]
        assert sum(layer.size for layer in scales) == SCALES
        total = sum(layer.size for layer in with_scales.layers)
        assert total == sum(layer.size for layer in without.layers) + SCALES
        assert with_scales.metrics is not None
        assert with_scales.metrics.density == round(total / 10) / total
        assert sum(layer.kept for layer in with_scales.layers) == round(total / 10)


def test_training_leaves_kept_scales_one_and_removed_ones_zero(context: WorkerContext) -> None:
    data = context.data("digits")
    torch.manual_seed(0)
    model: nn.Module = context.host.models.get(RESIDUAL.name)((1, 8, 8), 10, residual=True)
    parameters = prunable_parameters(model, PruningOptions(prune_residual=True))
    draw = torch.Generator().manual_seed(1)
    masks = Masks({name: torch.rand(p.shape, generator=draw) < 0.5 for name, p in parameters.items()})
    part = data.train.take(torch.arange(64))
    recipe = Recipe(epochs=1, optimizer="adam", lr=0.01, batch_size=32, weight_decay=0.1)
    streams = Streams(torch.Generator().manual_seed(2), torch.Generator().manual_seed(3))
    train(Training(model, masks, recipe, TrainingData(part, None, part, None), streams))
    for name, parameter in model.named_parameters():
        if name.endswith("shortcut.scale"):
            assert torch.equal(parameter, masks[name].float())


def test_a_network_that_has_none_is_one_line(context: WorkerContext, make_cell: MakeCell) -> None:
    record = run_cell(make_cell("synflow", 10.0, pruning=PruningOptions(prune_residual=True)), context)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.traceback is None
    assert record.error.message == (
        "model 'fc' has no residual scales to prune; leave out prune_residual, or build a residual network "
        "with its option `residual = true`"
    )


def test_a_model_without_options_says_so(context: WorkerContext, make_cell: MakeCell) -> None:
    model = ModelSpec(name="tinyimagenet/vgg11", options={"residual": True})
    record = run_cell(make_cell("synflow", 10.0, model=model), context)
    assert record.error is not None
    assert record.error.kind == UsageError.__name__
    assert record.error.message == "unknown option of model 'tinyimagenet/vgg11': 'residual'; it takes none"


def test_suites_and_assignments_set_every_option_of_what_is_pruned(tmp_path: Path) -> None:
    flags = ("prune_bias", "prune_batchnorm", "prune_residual", "dense_classifier")
    file = tmp_path / "mine.toml"
    file.write_text(
        'compressions = [10]\nseeds = 1\n[[settings]]\ndataset = "digits"\nrecipe = { epochs = 1 }\n'
        'model = { name = "lottery/resnet20", options = { residual = true } }\n'
        "[settings.pruning]\n" + "".join(f"{flag} = true\n" for flag in flags)
    )
    written = load_suite(file).settings[0]
    assert all(getattr(written.pruning, flag) for flag in flags)
    file.write_text(
        'compressions = [10]\nseeds = 1\n[[settings]]\ndataset = "digits"\nrecipe = { epochs = 1 }\n'
        'model = "lottery/resnet20"\n'
    )
    assignments = ["model.options.residual=true", *(f"pruning.{flag}=true" for flag in flags)]
    assert override(load_suite(file), assignments=assignments).settings[0] == written
