"""Residual scales: counted and pruned where asked for, never trained, and refused where there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from synflow_bench.errors import UsageError
from synflow_bench.protocols import Bench, run_cell
from synflow_bench.pruning import Masks, prunable_parameters
from synflow_bench.suites import Cell, ModelSpec, PruningOptions, Recipe, load_suite, override
from synflow_bench.training import Examples, Streams, Training, train

MakeCell = Callable[..., Cell]
RESIDUAL = ModelSpec(name="lottery/resnet20", options={"residual": True})
SCALES = 3 * 16 + 2 * 32 + 2 * 64
"""Three identity shortcuts in the first stage, two in the others."""


def test_they_are_among_the_layers_and_in_density_and_compression(bench: Bench, make_cell: MakeCell) -> None:
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
                bench,
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


def test_training_leaves_kept_scales_one_and_removed_ones_zero(bench: Bench) -> None:
    data = bench.data("digits")
    torch.manual_seed(0)
    model: nn.Module = bench.host.models.get(RESIDUAL.name)((1, 8, 8), 10, residual=True)
    parameters = prunable_parameters(model, PruningOptions(prune_residual=True))
    draw = torch.Generator().manual_seed(1)
    masks = Masks({name: torch.rand(p.shape, generator=draw) < 0.5 for name, p in parameters.items()})
    part = data.train.take(torch.arange(64))
    recipe = Recipe(epochs=1, optimizer="adam", lr=0.01, batch_size=32, weight_decay=0.1)
    streams = Streams(torch.Generator().manual_seed(2), torch.Generator().manual_seed(3))
    train(Training(model, masks, recipe, Examples(part, None, part, None), streams))
    for name, parameter in model.named_parameters():
        if name.endswith("shortcut.scale"):
            assert torch.equal(parameter, masks[name].float())


def test_a_network_that_has_none_is_one_line(bench: Bench, make_cell: MakeCell) -> None:
    record = run_cell(make_cell("synflow", 10.0, pruning=PruningOptions(prune_residual=True)), bench)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.traceback is None
    assert record.error.message == (
        "model 'fc' has no residual scales to prune; leave out prune_residual, or build a residual network "
        "with its option `residual = true`"
    )


def test_a_model_without_options_says_so(bench: Bench, make_cell: MakeCell) -> None:
    model = ModelSpec(name="lottery/vgg11", options={"residual": True})
    record = run_cell(make_cell("synflow", 10.0, model=model), bench)
    assert record.error is not None
    assert record.error.kind == UsageError.__name__
    assert record.error.message == "unknown option of model 'lottery/vgg11': 'residual'; it takes none"


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
