"""Iterative pruning: levels of training, pruning and rewinding."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from synflow_bench.protocols import Network, WorkerContext, build_network, run_cell
from synflow_bench.records import Record
from synflow_bench.suites import Cell, ModelSpec, Multishot, PruningOptions, Singleshot
from synflow_bench.training import build_optimizer

MakeCell = Callable[..., Cell]
Seen = list[dict[str, Any]]
STEPS = 21
"""Optimizer steps of an epoch: 1,294 digits in batches of 64."""


def ok(record: Record) -> Record:
    assert record.error is None, record.error
    return record


def kept(weights: dict[str, torch.Tensor], masks: Any) -> dict[str, torch.Tensor]:
    """The weights where they are kept, and all that cannot be pruned."""
    return {name: w[masks[name]] if name in masks else w for name, w in weights.items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("pruner", ["magnitude", "snip", "random", "synflow[rounds=4]"])
@pytest.mark.parametrize("rewind", ["init", "lr"])
def test_every_level_has_its_exact_density_and_keeps_only_what_the_one_before_kept(
    context: WorkerContext, make_cell: MakeCell, seen: Seen, pruner: str, rewind: str
) -> None:
    protocol = Multishot(levels=3, rewind=rewind)
    record = ok(run_cell(make_cell(pruner, 20.0, protocol=protocol), context))
    size = sum(layer.size for layer in record.layers)
    masks = [call["masks"] for call in seen]
    assert [m.kept for m in masks] == [round(size * 20 ** (-i / 3)) for i in range(4)]
    for earlier, later in pairwise(masks):
        assert not any(bool((later[name] & ~earlier[name]).any()) for name in later)
    assert record.masks == masks[-1].sha256


@pytest.mark.parametrize("rewind", ["init", 5, "lr"])
def test_training_begins_with_its_own_biases_at_every_level_though_scores_have_none(
    context: WorkerContext, make_cell: MakeCell, seen: Seen, rewind: str | int
) -> None:
    protocol = Multishot(levels=2, rewind=rewind)
    ok(run_cell(make_cell("synflow[rounds=2]", 9.0, protocol=protocol, pruning={"biases": "zero"}), context))
    assert len(seen) == 3
    names = [name for name in seen[0]["weights"] if name.endswith("bias")]
    assert names
    for before, after in pairwise(seen):
        for name in names:
            start = after["weights"][name]
            assert start.any()
            if rewind == "init":
                assert torch.equal(start, before["weights"][name])
            elif rewind == "lr":
                assert torch.equal(start, before["final_weights"][name])


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(levels=st.integers(1, 5), compression=st.floats(1.5, 400), rounds=st.integers(1, 4))
def test_levels_within_rounds_keep_the_exact_density(
    context: WorkerContext, make_cell: MakeCell, levels: int, compression: float, rounds: int
) -> None:
    cell = make_cell(
        f"magnitude[rounds={rounds},schedule=linear]",
        compression,
        protocol=Multishot(levels=levels),
        recipe={"batch_size": 1000},
    )
    record = ok(run_cell(cell, context))
    size = sum(layer.size for layer in record.layers)
    expected = [round(size * compression ** (-i / levels)) for i in range(levels + 1)]
    assert [round(level.density * size) for level in record.levels] == expected
    assert [level.level for level in record.levels] == list(range(levels + 1))


def test_kept_weights_go_back_to_initialization(
    context: WorkerContext, make_cell: MakeCell, seen: Seen
) -> None:
    ok(run_cell(make_cell(protocol=Multishot(levels=2)), context))
    first, *rest = seen
    for call in rest:
        assert equal(kept(call["weights"], call["masks"]), kept(first["weights"], call["masks"]))
        assert call["first_step"] == 0


@pytest.mark.parametrize("step", [1, STEPS - 1, STEPS, STEPS + 4])
def test_kept_weights_go_back_to_what_a_training_cut_off_at_the_step_has(
    context: WorkerContext, make_cell: MakeCell, seen: Seen, step: int
) -> None:
    recipe = {"epochs": 2, "optimizer": "sgd", "lr": 0.05}
    ok(run_cell(make_cell(protocol=Multishot(levels=2, rewind=step), recipe=recipe), context))
    at_step = written_out(context, seen[0], step)
    for call in seen[1:]:
        found, expected = kept(call["weights"], call["masks"]), kept(at_step, call["masks"])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert equal(found, kept(seen[1]["weights"], call["masks"])), "to the bit in every level"
        assert call["first_step"] == step


class Tiny(nn.Module):
    """Notes its parameters and buffers before every step of its training."""

    def __init__(self, normalized: bool) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 6)
        self.norm = nn.BatchNorm1d(6) if normalized else nn.Identity()
        self.classifier = nn.Linear(6, 10)
        self.before: list[dict[str, torch.Tensor]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.before.append({name: t.detach().clone() for name, t in self.state_dict().items()})
        logits: torch.Tensor = self.classifier(self.norm(self.hidden(x.flatten(1))).relu())
        return logits


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rewind=st.one_of(st.just("init"), st.integers(1, 7)),
    levels=st.integers(1, 3),
    pruner=st.sampled_from(["magnitude", "random"]),
    normalized=st.booleans(),
    optimizer=st.sampled_from(["sgd", "adam"]),
)
def test_after_rewinding_kept_weights_and_buffers_are_those_of_the_checkpoint_to_the_bit(
    context: WorkerContext,
    make_cell: MakeCell,
    seen: Seen,
    rewind: Any,
    levels: int,
    pruner: str,
    normalized: bool,
    optimizer: str,
) -> None:
    model = Tiny(normalized)

    def tiny(*_: Any) -> Network:
        return build_network(lambda *_: model, ModelSpec(name="tiny"), (1, 8, 8), 10, 0, context.device)

    seen.clear()
    cell = make_cell(
        pruner,
        10.0,
        protocol=Multishot(levels=levels, rewind=rewind),
        recipe={"epochs": 2, "optimizer": optimizer, "lr": 0.01, "batch_size": 400},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synflow_bench.protocols.multishot.network_of", tiny)
        ok(run_cell(cell, context))
    checkpoint = model.before[0 if rewind == "init" else rewind]
    trained = {**seen[0]["final_weights"], **seen[0]["final_buffers"]}
    assert len(seen) == levels + 1
    for call in seen[1:]:
        found = kept({**call["weights"], **call["buffers"]}, call["masks"])
        assert equal(found, kept(checkpoint, call["masks"]))
        assert not equal(found, kept(trained, call["masks"]))


def written_out(context: WorkerContext, call: dict[str, Any], steps: int) -> dict[str, torch.Tensor]:
    """The weights of `fc` after so many plain SGD steps, computed by hand: equal but for rounding."""
    model, split = context.host.models.get("fc")((1, 8, 8), 10), call["examples"].train
    model.load_state_dict(call["weights"])
    optimizer = build_optimizer(call["recipe"], model.parameters())
    draw = torch.Generator()
    draw.set_state(call["order"])
    orders = (torch.randperm(len(split), generator=draw).split(64) for _ in range(call["recipe"].epochs))
    for chosen in [batch for order in orders for batch in order][:steps]:
        batch = split.take(chosen)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch.normalize(batch.images)), batch.labels).backward()
        optimizer.step()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def test_a_rewound_training_goes_on_in_the_middle_of_schedule_and_data(
    context: WorkerContext, make_cell: MakeCell, seen: Seen
) -> None:
    """With nothing pruned and an optimizer without memory, it repeats the first one bit for bit."""
    recipe = {"epochs": 3, "optimizer": "sgd", "lr": 0.05, "schedule": "cosine"}
    protocol = Multishot(levels=1, rewind=STEPS + 5)
    record = ok(run_cell(make_cell("dense", 1.0, protocol=protocol, recipe=recipe), context))
    first, last = seen
    assert equal(first["final_weights"], last["final_weights"])
    assert [point.epoch for point in record.curve] == [1, 2, 3]
    assert first["trained"].curve[-1] == last["trained"].curve[-1] == record.curve[-1]


def test_batch_norm_is_rewound_with_the_weights_and_stays_with_the_learning_rate(
    context: WorkerContext, make_cell: MakeCell, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def factory(_: Any, classes: int) -> nn.Module:
        layers = (nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, classes))
        return nn.Sequential(*layers)

    def normalized(*_: Any) -> Network:
        return build_network(factory, ModelSpec(name="mine"), (1, 8, 8), 10, 0, context.device)

    monkeypatch.setattr("synflow_bench.protocols.multishot.network_of", normalized)
    for rewind in ("init", "lr"):
        ok(run_cell(make_cell(protocol=Multishot(levels=1, rewind=rewind)), context))
    trained, rewound, _, kept_on = seen
    assert {"2.running_mean", "2.running_var", "2.num_batches_tracked"} == trained["buffers"].keys()
    assert equal(rewound["buffers"], trained["buffers"])
    assert equal(kept_on["buffers"], trained["final_buffers"])
    assert not equal(kept_on["buffers"], trained["buffers"])


def test_learning_rate_rewinding_keeps_weights_and_begins_the_schedule_again(
    context: WorkerContext, make_cell: MakeCell, seen: Seen
) -> None:
    recipe = {"epochs": 2, "optimizer": "momentum", "lr": 0.05, "schedule": "cosine"}
    ok(run_cell(make_cell(protocol=Multishot(levels=2, rewind="lr"), recipe=recipe), context))
    for before, call in pairwise(seen):
        assert equal(kept(call["weights"], call["masks"]), kept(before["final_weights"], call["masks"]))
        assert torch.equal(call["order"], seen[0]["order"])
    rates = [[point.lr for point in call["trained"].curve] for call in seen]
    assert rates[0] == rates[1] == rates[2]


@pytest.mark.parametrize("rewind", ["init", 7, "lr"])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_every_training_has_a_fresh_optimizer(
    context: WorkerContext, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch, optimizer: str, rewind: Any
) -> None:
    built = []

    def spy(*arguments: Any) -> Any:
        built.append(build_optimizer(*arguments))
        assert not built[-1].state
        return built[-1]

    monkeypatch.setattr("synflow_bench.training.batched.build_optimizer", spy)
    recipe = {"optimizer": optimizer, "lr": 0.01}
    protocol = Multishot(levels=2, rewind=rewind)
    ok(run_cell(make_cell(protocol=protocol, recipe=recipe), context))
    assert len({id(optimizer) for optimizer in built}) == len(built) == 3
    assert all(optimizer.state for optimizer in built), "each has gathered its own"


@pytest.mark.parametrize("pruner", ["magnitude", "snip"])
def test_one_level_of_learning_rate_rewinding_is_pruning_after_training(
    context: WorkerContext, make_cell: MakeCell, pruner: str
) -> None:
    """Singleshot with `pre_epochs` says the same: train, prune, train with a fresh optimizer and schedule."""
    one_level = Multishot(levels=1, rewind="lr", pre_epochs=2)
    shot, level = (
        ok(run_cell(make_cell(pruner, protocol=protocol), context))
        for protocol in (Singleshot(pre_epochs=2), one_level)
    )
    assert level.masks == shot.masks
    assert level.metrics == shot.metrics
    assert level.curve == shot.curve


def test_one_level_rewound_trains_initial_weights_under_the_mask_of_trained_ones(
    context: WorkerContext, make_cell: MakeCell, seen: Seen
) -> None:
    shot = ok(run_cell(make_cell(protocol=Singleshot(pre_epochs=1)), context))
    level = ok(run_cell(make_cell(protocol=Multishot(levels=1)), context))
    assert level.masks == shot.masks
    assert level.curve != shot.curve
    assert equal(seen[-1]["weights"], seen[-2]["weights"])


@pytest.mark.parametrize("rewind", ["init", 7, "lr"])
def test_equal_cells_give_bitwise_equal_records(
    context: WorkerContext, make_cell: MakeCell, rewind: Any
) -> None:
    cell = make_cell("snip", 10.0, protocol=Multishot(levels=2, rewind=rewind))
    first = ok(run_cell(cell, context))
    run_cell(make_cell("random", 3.0, seed=4), context)
    torch.rand(7)
    assert ok(run_cell(cell, context)).result == first.result


def test_the_record_has_the_levels_and_its_metrics_are_those_of_the_last(
    context: WorkerContext, make_cell: MakeCell, seen: Seen
) -> None:
    record = ok(run_cell(make_cell("magnitude", 16.0, protocol=Multishot(levels=2)), context))
    assert record.metrics is not None
    ends = [call["trained"].final.top1 for call in seen]
    assert [level.test_top1 for level in record.levels] == ends
    assert [level.density for level in record.levels] == pytest.approx([1, 1 / 4, 1 / 16], rel=1e-3)
    assert record.levels[-1].test_top1 == record.metrics.test_top1
    assert record.levels[-1].density == record.metrics.density
    assert record.curve == seen[-1]["trained"].curve
    assert ok(run_cell(make_cell(), context)).levels == ()


def test_the_dense_network_goes_through_the_same_trainings(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    """Rewound, all of them are alike: the first one says it all, and is that of singleshot."""
    plain = ok(run_cell(make_cell("dense", 1.0), context))
    rewound, going_on = (
        ok(run_cell(make_cell("dense", 1.0, protocol=Multishot(levels=3, rewind=rewind)), context))
        for rewind in ("init", "lr")
    )
    assert rewound.metrics == plain.metrics
    assert len(rewound.levels) == 2
    assert len(going_on.levels) == 4
    assert {level.density for level in (*rewound.levels, *going_on.levels)} == {1.0}


def test_levels_of_other_lengths_than_the_last_training(
    context: WorkerContext, make_cell: MakeCell, seen: Seen
) -> None:
    ok(run_cell(make_cell(protocol=Multishot(levels=2, pre_epochs=2)), context))
    assert [len(call["trained"].curve) - 1 for call in seen] == [2, 2, 1]


def test_ablations_of_masks_and_weights_are_of_the_last_level(
    context: WorkerContext, make_cell: MakeCell, seen: Seen
) -> None:
    protocol = Multishot(levels=2, rewind=5)
    records = [
        ok(run_cell(make_cell(ablation=ablation, protocol=protocol), context))
        for ablation in ("none", "shuffle", "reinit")
    ]
    plain, shuffled, reinit = (seen[start : start + 3] for start in (0, 3, 6))
    assert [c["masks"] for c in plain[:2]] == [c["masks"] for c in shuffled[:2]]
    kept = [[layer.kept for layer in record.layers] for record in records[:2]]
    assert kept[0] == kept[1]
    assert plain[2]["masks"] != shuffled[2]["masks"]
    assert plain[2]["masks"] == reinit[2]["masks"]
    assert not equal(plain[2]["weights"], reinit[2]["weights"])
    assert [call["first_step"] for call in reinit] == [0, 5, 0], "new weights have made no step"


def test_what_cannot_be_pruned_is_rewound_too(
    context: WorkerContext, make_cell: MakeCell, seen: Seen
) -> None:
    options = PruningOptions(dense_classifier=True)
    ok(run_cell(make_cell(protocol=Multishot(levels=1), pruning=options), context))
    first, last = (call["weights"] for call in seen)
    assert torch.equal(first["classifier.weight"], last["classifier.weight"])


@pytest.mark.parametrize(("step", "fits"), [(2 * STEPS - 1, True), (2 * STEPS, False), (10**9, False)])
def test_a_step_beyond_training_fails_before_anything_is_trained(
    context: WorkerContext, make_cell: MakeCell, seen: Seen, step: int, fits: bool
) -> None:
    record = run_cell(make_cell(protocol=Multishot(levels=1, rewind=step), recipe={"epochs": 2}), context)
    assert (record.status == "ok") is fits
    if not fits:
        assert not seen
        assert record.error is not None
        assert record.error.kind == "SuiteError"
        assert f"rewind step {step} is beyond a training of 42 optimizer steps" in record.error.message
