"""Claims: every published number is complete, and each verdict is that of the interval."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from synflow_bench import suites
from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard import (
    CLAIM_FORMS,
    Claim,
    Estimate,
    PublishedNumber,
    build_leaderboard,
    check_claims,
    choose_numbers,
    print_claims,
    published_numbers,
    render_claims,
)
from synflow_bench.leaderboard.claims import NEEDED, difference_from, verdict_on
from synflow_bench.records import Record
from synflow_bench.suites import (
    Finetune,
    ModelSpec,
    Multishot,
    PruningOptions,
    Recipe,
    Setting,
    Singleshot,
    load_suite,
    read_tuning,
)

FIGURE = next(number for number in published_numbers() if number.id == "tanaka2020-vgg-1")
"""SNIP on VGG-11 and CIFAR-100 without pruning: three runs of the best epoch, with the whole recipe."""
MakeRecord = Callable[..., Record]


def setting(**changes: Any) -> Setting:
    """The setting of `FIGURE`, with changes of its recipe or of its pruning options."""
    pruning = {name: value for name, value in changes.items() if name in PruningOptions.model_fields}
    recipe = {**FIGURE.source.recipe, **{name: changes[name] for name in changes.keys() - pruning.keys()}}
    return Setting(
        dataset=FIGURE.dataset,
        model=ModelSpec(name=FIGURE.model),
        recipe=Recipe.model_validate(recipe),
        pruning=PruningOptions.model_validate(pruning),
    )


@pytest.fixture
def claim_on(make_record: MakeRecord) -> Callable[..., Claim]:
    """The claim on `FIGURE`, beside one row of best accuracies."""

    def claim_on(
        best: tuple[float, ...], number: PublishedNumber = FIGURE, row: str = "snip", **common: Any
    ) -> Claim:
        common = {"setting": setting(), "compression": number.compression, **common}
        records = [
            make_record(row, seed=seed, top1=top1 - 0.01, max_test_top1=top1, **common)
            for seed, top1 in enumerate(best)
        ]
        (claim,) = check_claims(build_leaderboard(records), [number]).claims
        return claim

    return claim_on


def test_there_are_enough_numbers_of_enough_papers() -> None:
    numbers = published_numbers()
    own = {number.source.paper for number in numbers if "quoted" not in number.source.name}
    assert len(numbers) >= 150
    assert len([number for number in numbers if number.source.paper != "tanaka2020"]) >= 150
    assert len(own) >= 8


def test_every_number_is_complete_and_says_where_it_was_read() -> None:
    numbers = published_numbers()
    assert len({number.id for number in numbers}) == len(numbers)
    for number in numbers:
        source = number.source
        texts = (number.dataset, number.reported_model, number.method, number.protocol, number.given)
        assert all((*texts, source.citation, source.short, source.where, source.read)), number.id
        assert 0 < number.top1 < 1, number.id
        assert number.compression >= 1, number.id
        assert (number.spread is None) or (source.spread and 0 <= number.spread < 0.5), number.id
        assert not source.arxiv or f"arXiv {source.arxiv}" in source.cited
        assert {*source.recipe} <= {*Recipe.model_fields}, number.id
        assert {*source.protocol} <= {*Finetune.model_fields, *Multishot.model_fields} - {"name"}, number.id


def test_a_compression_is_that_of_the_density_as_it_was_published() -> None:
    def factor(given: str) -> float:
        kind, _, value = given.partition(" ")
        if given.startswith("10^"):
            return 10 ** float(given.removeprefix("10^"))
        if kind == "sparsity":
            share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
            return 1 / (1 - share)
        if kind == "density":
            return (100 if value.endswith("%") else 1) / float(value.removesuffix("%"))
        percent, rest = float(kind), value.removeprefix("% ")
        return 100 / (percent if rest == "of weights remain" else 100 - percent)

    for number in published_numbers():
        assert number.compression == pytest.approx(factor(number.given), rel=1e-4), number.id


def test_numbers_with_every_run_have_the_mean_and_deviation_of_the_runs() -> None:
    for number in published_numbers():
        if number.runs:
            assert number.top1 == pytest.approx(sum(number.runs) / len(number.runs))
            assert number.spread == pytest.approx(statistics.stdev(number.runs))


@given(
    ours=st.lists(st.floats(0.3, 0.7), min_size=2, max_size=6),
    runs=st.lists(st.floats(0.3, 0.7), min_size=2, max_size=6),
)
def test_with_every_run_published_the_interval_is_welchs(ours: list[float], runs: list[float]) -> None:
    number = replace(FIGURE, top1=sum(runs) / len(runs), spread=statistics.stdev(runs), runs=tuple(runs))
    found = difference_from(number, ours)
    a, b = statistics.variance(ours) / len(ours), statistics.variance(runs) / len(runs)
    if a + b < 1e-12:
        return
    degrees = (a + b) ** 2 / (a**2 / (len(ours) - 1) + b**2 / (len(runs) - 1))
    half = stats.t.ppf(0.975, max(1, math.floor(degrees + 1e-9))) * math.sqrt(a + b)
    assert found.mean == pytest.approx(sum(ours) / len(ours) - sum(runs) / len(runs), abs=1e-12)
    assert found.half_width == pytest.approx(half, rel=1e-6)


def test_a_number_without_spread_has_that_of_ours() -> None:
    alone = replace(FIGURE, top1=0.7, spread=None, runs=(), source=replace(FIGURE.source, seeds=None))
    found = difference_from(alone, [0.68, 0.70, 0.72])
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 2) * 0.02 * math.sqrt(1 / 3 + 1))
    three = replace(alone, source=replace(FIGURE.source, seeds=3))
    found = difference_from(three, [0.68, 0.70, 0.72])
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 2) * 0.02 * math.sqrt(1 / 3 + 1 / 3))


def test_one_run_of_ours_has_the_spread_of_theirs() -> None:
    number = replace(FIGURE, top1=0.7, spread=0.01, runs=())
    found = difference_from(number, [0.71])
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 2) * 0.01 * math.sqrt(1 + 1 / 3))


def test_a_standard_error_is_not_divided_by_the_runs_again() -> None:
    source = replace(FIGURE.source, spread="se", seeds=4)
    number = replace(FIGURE, top1=0.7, spread=0.01, runs=(), source=source)
    found = difference_from(number, [0.7, 0.7])
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 3) * 0.01)


def test_a_spread_of_an_unknown_kind_is_not_used() -> None:
    plain = replace(FIGURE, top1=0.7, spread=None, runs=())
    unstated = replace(plain, spread=0.3, source=replace(FIGURE.source, spread="unstated"))
    assert difference_from(unstated, [0.68, 0.72]) == difference_from(plain, [0.68, 0.72])


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.01, 0.01, "reproduced"),
        (0.002, 0.009, "reproduced"),
        (-0.011, 0.0, "undecided"),
        (0.0101, 0.05, "not reproduced"),
        (-0.05, -0.0101, "not reproduced"),
        (-0.05, -0.005, "undecided"),
        (-0.2, 0.2, "undecided"),
    ],
)
def test_a_verdict_is_the_place_of_the_interval_beside_the_margin(
    low: float, high: float, verdict: str
) -> None:
    assert verdict_on(Estimate((low + high) / 2, (high - low) / 2, 3, low, high), 0.01) == verdict


@given(
    ours=st.lists(st.floats(0.2, 0.8), min_size=2, max_size=5),
    shift=st.floats(-0.05, 0.05),
    margin=st.floats(0.001, 0.05),
)
def test_verdicts_do_not_depend_on_which_side_the_difference_is(
    ours: list[float], shift: float, margin: float
) -> None:
    middle = sum(ours) / len(ours)
    above = replace(FIGURE, top1=middle + shift, spread=None, runs=())
    below = replace(above, top1=middle - shift)
    first, second = difference_from(above, ours), difference_from(below, ours)
    ends = [end for found in (first, second) for end in (found.low, found.high) if end is not None]
    assume(all(abs(abs(end) - margin) > 1e-9 for end in ends))
    assert verdict_on(first, margin) == verdict_on(second, margin)


def test_without_any_spread_a_number_is_undecided(claim_on: Callable[..., Claim]) -> None:
    alone = replace(FIGURE, spread=None, runs=())
    claim = claim_on((0.7,), alone)
    assert claim.verdict == "undecided"
    assert "no interval" in claim.reason


def test_equal_settings_are_compared_over_the_best_epochs(claim_on: Callable[..., Claim]) -> None:
    claim = claim_on(FIGURE.runs)
    assert claim.verdict == "reproduced"
    assert claim.ours is not None
    assert claim.ours.mean == pytest.approx(FIGURE.top1)
    assert claim.board is not None
    assert claim.difference is not None
    assert claim.difference.mean == pytest.approx(0, abs=1e-12)
    worse = claim_on(tuple(run - 0.1 for run in FIGURE.runs))
    assert worse.verdict == "not reproduced"


def test_the_epoch_is_that_of_the_published_number(claim_on: Callable[..., Claim]) -> None:
    final = replace(FIGURE, source=replace(FIGURE.source, metric="final_test"))
    claim = claim_on(FIGURE.runs, final)
    assert claim.ours is not None
    assert claim.ours.mean == pytest.approx(FIGURE.top1 - 0.01)
    unstated = claim_on(FIGURE.runs, replace(FIGURE, source=replace(FIGURE.source, metric="test")))
    assert unstated.verdict == "not comparable"
    assert "epoch of the accuracy" in unstated.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"setting": setting(epochs=5, milestones=(2, 3))}, "epochs 160 there, 5 here"),
        ({"setting": setting(lr=0.2)}, "lr 0.1 there, 0.2 here"),
        ({"setting": setting(granularity="channel", group_score="l2")}, "granularity weight there, channel"),
        ({"setting": setting(only=["0.*"])}, "only none there, 0.* here"),
        ({"setting": setting(skip=["0.*"])}, "skip none there, 0.* here"),
        ({"setting": setting(scope="local")}, "scope global there, local here"),
        ({"setting": setting(prune_bias=True)}, "prune bias no there, yes here"),
        ({"row": "synflow"}, "no row snip"),
        ({"compression": 3.0}, "no compression 1"),
        ({"status": "failed"}, "no cell of ours has finished"),
        ({"setting": setting().model_copy(update={"protocol": Singleshot(pre_epochs=3)})}, "pruned after 3"),
        ({"setting": setting().model_copy(update={"dataset": "digits"})}, "no board of this dataset"),
    ],
)
def test_whatever_differs_is_said_and_not_compared(
    claim_on: Callable[..., Claim], changes: dict[str, Any], reason: str
) -> None:
    claim = claim_on(FIGURE.runs, **changes)
    assert claim.verdict == "not comparable"
    assert reason in claim.reason
    assert claim.ours is None


PRUNED = replace(FIGURE, compression=4.0)
FINETUNED = replace(
    PRUNED,
    protocol="after training",
    source=replace(FIGURE.source, protocol={"epochs": 40, "lr": 0.001}),
)
REWOUND = replace(
    PRUNED,
    protocol="weight rewinding",
    source=replace(FIGURE.source, protocol={"levels": 2, "rewind": 500}),
)
RATES_REWOUND = replace(
    PRUNED,
    protocol="learning-rate rewinding",
    source=replace(FIGURE.source, protocol={"levels": 2, "pre_epochs": 80}),
)


@pytest.mark.parametrize(
    ("number", "protocol", "reason"),
    [
        (FINETUNED, {"name": "finetune", "epochs": 40, "lr": 0.001}, ""),
        (FINETUNED, {"name": "finetune", "epochs": 40}, ""),
        (FINETUNED, {"name": "finetune", "epochs": 1, "lr": 0.001}, "finetune epochs 40 there, 1 here"),
        (FINETUNED, {"name": "finetune", "epochs": 40, "lr": 5.0}, "finetune lr 0.001 there, 5 here"),
        (FINETUNED, {"name": "multishot", "levels": 2, "rewind": 500}, "pruned after training there"),
        (REWOUND, {"name": "multishot", "levels": 2, "rewind": 500}, ""),
        (REWOUND, {"name": "multishot", "levels": 20, "rewind": 500}, "multishot levels 2 there, 20 here"),
        (REWOUND, {"name": "multishot", "levels": 2, "rewind": 10}, "multishot rewind 500 there, 10 here"),
        (REWOUND, {"name": "multishot", "levels": 2}, "multishot rewind 500 there, init here"),
        (
            REWOUND,
            {"name": "multishot", "levels": 2, "rewind": 500, "pre_epochs": 9},
            "multishot pre epochs 160 there, 9 here",
        ),
        (RATES_REWOUND, {"name": "multishot", "levels": 2, "rewind": "lr", "pre_epochs": 80}, ""),
        (RATES_REWOUND, {"name": "multishot", "levels": 2, "rewind": "lr"}, "pre epochs 80 there, 160 here"),
    ],
)
def test_a_protocol_agrees_in_every_field(
    claim_on: Callable[..., Claim], number: PublishedNumber, protocol: dict[str, Any], reason: str
) -> None:
    claim = claim_on(FIGURE.runs, number, setting=with_protocol(protocol))
    assert (claim.verdict == "not comparable") == bool(reason)
    assert reason in claim.reason


def with_protocol(protocol: Any) -> Setting:
    return Setting.model_validate({**setting().model_dump(), "protocol": protocol})


@pytest.mark.parametrize(
    ("number", "names"),
    [
        (FINETUNED, "finetune epochs, finetune lr"),
        (REWOUND, "multishot levels, multishot rewind"),
        (RATES_REWOUND, "multishot levels"),
    ],
)
def test_a_protocol_that_the_source_does_not_state_is_not_compared(
    claim_on: Callable[..., Claim], number: PublishedNumber, names: str
) -> None:
    claim = claim_on(FIGURE.runs, replace(number, source=FIGURE.source), setting=setting())
    assert claim.reason == f"not stated by the source: {names}"


def test_an_ablated_row_is_no_method(make_record: MakeRecord) -> None:
    """Also where the row has a protocol of its own, which is written before the ablation."""
    own = with_protocol({"name": "multishot", "levels": 2, "rewind": 500})
    common: dict[str, Any] = {"compression": 4.0, "top1": 0.6, "max_test_top1": 0.7, "seed": 0}
    dense = make_record("dense", 1.0, setting=setting(), seed=0)
    for ablation, verdict in (("none", "undecided"), ("shuffle", "not comparable")):
        row = make_record("snip", setting=own, ablation=ablation, **common)
        (claim,) = check_claims(
            build_leaderboard([dense, row]), [replace(REWOUND, spread=None, runs=())]
        ).claims
        assert claim.verdict == verdict, claim.reason


def test_of_several_rows_that_of_the_boards_own_protocol_is_compared_and_named(
    make_record: MakeRecord,
) -> None:
    explicit = with_protocol({"name": "finetune", "epochs": 40, "lr": 0.001})
    by_default = with_protocol({"name": "finetune", "epochs": 40})
    records = [make_record("dense", 1.0, setting=by_default)]
    records += [make_record("snip", 4.0, setting=by_default, top1=0.6, max_test_top1=0.7)]
    records += [
        make_record("snip", 4.0, seed=seed, setting=explicit, top1=0.6, max_test_top1=0.8)
        for seed in range(3)
    ]
    (claim,) = check_claims(build_leaderboard(records), [FINETUNED]).claims
    assert claim.row == "snip"
    assert claim.ours is not None
    assert claim.ours.mean == pytest.approx(0.7)
    lines = json.loads(render_claims(check_claims(build_leaderboard(records), [FINETUNED]), "json"))
    assert lines["claims"][0]["row"] == "snip"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (replace(FIGURE, model=""), "lottery/vgg11-bn"),
        (replace(FIGURE, pruner="", method="STR"), "STR"),
        (replace(FIGURE, pruner="grasp"), "predate the correction"),
        *(
            (
                replace(
                    FIGURE,
                    source=replace(
                        FIGURE.source, recipe={k: v for k, v in FIGURE.source.recipe.items() if k != name}
                    ),
                ),
                name.replace("_", " "),
            )
            for name in NEEDED
        ),
    ],
)
def test_numbers_that_nothing_can_be_compared_with_say_why(
    claim_on: Callable[..., Claim], number: PublishedNumber, reason: str
) -> None:
    claim = claim_on(FIGURE.runs, number, row=number.pruner or "snip")
    assert claim.verdict == "not comparable"
    assert reason in claim.reason


def test_a_tuned_board_is_compared_with_no_number(make_record: MakeRecord) -> None:
    records = [
        make_record("snip", seed=seed, top1=top1, setting=setting(lr=rate), compression=FIGURE.compression)
        for rate in (0.1, 0.2)
        for seed, top1 in enumerate(FIGURE.runs)
    ]
    assert len(check_claims(build_leaderboard(records), [FIGURE]).compared) == 1
    tuned = build_leaderboard(records, tuning=read_tuning("lr=0.1|0.2"))
    (claim,) = check_claims(tuned, [FIGURE]).claims
    assert claim.verdict == "not comparable"
    assert "no board of this dataset" in claim.reason


def test_at_compression_one_every_method_is_the_dense_network(claim_on: Callable[..., Claim]) -> None:
    assert FIGURE.compression == 1
    assert claim_on(FIGURE.runs, row="dense").verdict == "reproduced"
    pruned = replace(FIGURE, compression=2.0)
    assert claim_on(FIGURE.runs, pruned, row="dense", compression=1.0).verdict == "not comparable"


def test_compressions_are_equal_within_their_rounding(claim_on: Callable[..., Claim]) -> None:
    number = next(
        each
        for each in published_numbers()
        if each.source is FIGURE.source and each.pruner == "snip" and each.compression == 31.6228
    )
    near = claim_on(number.runs, number, compression=31.62, setting=_place_of(number))
    assert near.verdict != "not comparable"
    far = claim_on(number.runs, number, compression=32.0, setting=_place_of(number))
    assert far.verdict == "not comparable"


def _place_of(number: PublishedNumber) -> Setting:
    place = {"dataset": number.dataset, "model": ModelSpec(name=number.model)}
    return setting().model_copy(update=place)


def test_the_suite_of_a_paper_is_comparable_with_its_numbers(make_record: MakeRecord) -> None:
    suite = load_suite(Path(suites.__file__).parent / "presets" / "synflow-2020.toml")
    rows = ("random", "magnitude", "snip", "synflow")
    records = [make_record(row, 10, setting=each) for each in suite.settings for row in rows]
    compared = check_claims(build_leaderboard(records)).compared
    assert {claim.published.compression for claim in compared} == {10.0}
    places = {(claim.published.dataset, claim.published.model) for claim in compared}
    theirs = {(each.dataset, each.model.name) for each in suite.settings if "wide" not in each.model.name}
    assert places == theirs
    assert {claim.published.pruner for claim in compared} == {*rows}


def test_the_page_on_claims_lists_every_paper_with_the_number_of_its_numbers() -> None:
    page = (Path(__file__).parents[2] / "docs/explanation/claims.md").read_text(encoding="utf-8")
    counts = Counter(number.source.short for number in published_numbers())
    for paper, count in counts.items():
        assert re.search(rf"^\| \[?{re.escape(paper)}[^|]* \| {count} \|", page, re.MULTILINE), paper
    index = (Path(__file__).parents[2] / "docs/index.md").read_text(encoding="utf-8")
    assert f"{counts.total():,} numbers of {len(counts)} papers" in index


def test_without_records_every_number_is_listed_and_none_is_compared() -> None:
    checks = check_claims(build_leaderboard([]))
    assert checks.counts["not comparable"] == len(published_numbers()) == len(checks.claims)
    assert all(claim.reason for claim in checks.claims)
    assert sum(checks.reasons.values()) == len(checks.claims)


@pytest.fixture(scope="module")
def checks() -> Any:
    """The verdicts on some numbers, with text that is markup to one format or another."""
    source = replace(FIGURE.source, citation="A <b>|bold|</b> paper", where="table_1 & *more*")
    return check_claims(
        build_leaderboard([]),
        [replace(FIGURE, method="=<i>snip</i>", source=source), *published_numbers()[:9]],
    )


@pytest.mark.parametrize("form", CLAIM_FORMS)
def test_every_format_has_every_number_and_its_citation(checks: Any, form: str) -> None:
    text = render_claims(checks, form)
    assert "2006.05467" in text
    assert f"{100 * FIGURE.top1:.2f}" in text or f"{FIGURE.top1}" in text
    assert text == render_claims(checks, form), "equal verdicts give equal text"
    if form in ("markdown", "html"):
        assert "<i>snip" not in text
        assert "<b>|bold" not in text


def test_programs_get_shares_and_the_whole_setting(checks: Any) -> None:
    claims = json.loads(render_claims(checks, "json"))["claims"]
    assert len(claims) == len(checks.claims)
    assert claims[1]["published_top1"] == published_numbers()[0].top1
    assert claims[1]["recipe"]["milestones"] == [60, 120]
    lines = list(csv.DictReader(io.StringIO(render_claims(checks, "csv"))))
    assert [line["id"] for line in lines] == [claim["id"] for claim in claims]
    assert not lines[0]["method"].startswith("="), "a spreadsheet runs nothing"


def test_a_terminal_of_eighty_columns_is_enough() -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    print_claims(check_claims(build_leaderboard([])), console, details=True)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80


def test_numbers_are_chosen_by_our_names_or_theirs() -> None:
    chosen = choose_numbers(
        published_numbers(), datasets=["imagenet"], models=["ResNet-50"], pruners=["SNIP"]
    )
    assert {number.source.paper for number in chosen} == {"evci2019", "wang2023"}
    assert chosen == choose_numbers(published_numbers(), models=["imagenet/resnet50"], pruners=["snip"])
    with pytest.raises(UnknownNameError, match="imagenet"):
        choose_numbers(published_numbers(), datasets=["imagenett"])
    with pytest.raises(UsageError, match="mnist, grasp"):
        choose_numbers(published_numbers(), datasets=["mnist"], pruners=["grasp"])
