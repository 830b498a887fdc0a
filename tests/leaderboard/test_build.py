"""From records to boards: what is averaged, what is not, and what is claimed."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.errors import RecordError, UnknownNameError
from synflow_bench.leaderboard import (
    Board,
    BoardRow,
    CollapsedLayer,
    CurvePoint,
    build_boards,
    build_leaderboard,
    choose,
    render,
)
from synflow_bench.leaderboard.describe import facts, notes
from synflow_bench.records import Record
from synflow_bench.suites import ModelSpec, PrunerSpec, Recipe, Revisions, Setting

COMPRESSIONS = (2, 5, 10, 20, 50)
EXAMPLE = {
    name: dict.fromkeys(COMPRESSIONS, (top1, top1 + 0.01, top1 + 0.02))
    for name, top1 in {"snip": 0.5, "random": 0.4, "synflow": 0.6}.items()
}
SEEDS = (0.8, 0.81, 0.82)


def row(board: Board, label: str) -> BoardRow:
    return next(row for row in board.rows if row.label == label)


def entry(board: Board, label: str, compression: float) -> CurvePoint:
    found = row(board, label).at(compression)
    assert found is not None
    return found


def standings(board: Board, compression: float) -> dict[str, str | None]:
    return {row.label: found.standing for row in board.rows if (found := row.at(compression))}


def test_an_entry_is_the_mean_over_its_seeds(make_board: Any) -> None:
    found = entry(make_board({"snip": {10: (0.7, 0.8, 0.9)}}), "snip", 10)
    assert found.top1 == {0: 0.7, 1: 0.8, 2: 0.9}
    assert found.accuracy is not None
    assert found.accuracy.mean == pytest.approx(0.8)
    assert found.accuracy.half_width == pytest.approx(4.3027 * 0.1 / math.sqrt(3), abs=1e-5)


def test_the_final_epoch_counts_and_not_the_best_one(make_board: Any) -> None:
    found = entry(make_board({"snip": {10: SEEDS}}, max_test_top1=1.0), "snip", 10)
    assert found.accuracy is not None
    assert found.accuracy.mean == pytest.approx(0.81)


def test_achieved_numbers_are_averaged_over_seeds(make_record: Any) -> None:
    records = [make_record(seed=0, theoretical_speedup=2.0), make_record(seed=1, theoretical_speedup=4.0)]
    assert build_boards(records)[0].rows[0].points[0].means["theoretical_speedup"] == 3


def test_a_number_that_one_seed_lacks_has_no_mean(make_record: Any) -> None:
    records = [make_record(seed=0, theoretical_speedup=2.0), make_record(seed=1, theoretical_speedup=None)]
    assert build_boards(records)[0].rows[0].points[0].means["theoretical_speedup"] is None


def test_collapsed_layers_are_a_union_with_the_number_of_seeds(make_record: Any) -> None:
    layers = [("fc1",), ("fc1", "fc3"), ()]
    records = [make_record(seed=seed, collapsed_layers=names) for seed, names in enumerate(layers)]
    found = build_boards(records)[0].rows[0].points[0]
    assert found.collapsed == (CollapsedLayer("fc1", 2), CollapsedLayer("fc3", 1))


def test_failed_and_skipped_cells_are_counted_and_never_averaged(make_board: Any, make_record: Any) -> None:
    failed = make_record("snip", 10, seed=3, status="failed", message="out of luck")
    skipped = make_record("snip", 10, seed=4, status="skipped")
    board = make_board({"snip": {10: SEEDS}}, [failed, skipped])
    found = entry(board, "snip", 10)
    assert found.accuracy is not None
    assert (found.accuracy.n, found.failed, found.skipped) == (3, 1, 1)
    assert [(each.status, each.message, each.cells) for each in board.unfinished] == [
        ("failed", "out of luck", ((10.0, 3),)),
        ("skipped", "scores of 'fc1' are constant", ((10.0, 4),)),
    ]


def test_a_board_where_all_failed_has_rows_without_numbers(make_record: Any) -> None:
    (board,) = build_boards([make_record(seed=seed, status="failed") for seed in range(3)])
    assert board.seeds == ()
    assert board.rows[0].points[0].accuracy is None
    assert len(board.unfinished) == 1, "one reason is given once"


def test_the_dense_row_comes_first_and_then_the_larger_auc(make_board: Any) -> None:
    assert [row.label for row in make_board().rows] == ["dense", "synflow", "random", "snip"]


def test_the_auc_is_the_integral_over_log_compression(make_board: Any) -> None:
    curve = {2: 0.9, 10: 0.8, 50: 0.3}
    found = row(make_board({"snip": {c: (a, a) for c, a in curve.items()}}), "snip").auc
    integral = sum(
        (math.log(c1) - math.log(c0)) * (a0 + a1) / 2 for (c0, a0), (c1, a1) in pairwise(curve.items())
    )
    assert found is not None
    assert found.mean == pytest.approx(integral / math.log(25))


def test_a_flat_curve_has_its_height_as_auc_whatever_the_compressions(make_board: Any) -> None:
    found = row(make_board({"snip": dict.fromkeys((2, 3, 100), (0.7, 0.7))}), "snip").auc
    assert found is not None
    assert (found.mean, found.half_width) == (pytest.approx(0.7), pytest.approx(0))


def test_a_row_that_lacks_a_compression_has_no_auc_and_comes_last(make_board: Any) -> None:
    board = make_board({"snip": {2: SEEDS, 10: SEEDS}, "abs": {2: (0.99, 0.99)}})
    assert [row.label for row in board.rows] == ["snip", "abs"]
    assert row(board, "abs").auc is None


def test_a_row_is_intact_up_to_its_first_collapse(make_record: Any) -> None:
    collapsed = {2: (), 5: (), 10: ("fc2",), 20: ()}
    records = [make_record("snip", c, seed=0, collapsed_layers=names) for c, names in collapsed.items()]
    records.append(make_record("magnitude", 2, collapsed_layers=("fc1",)))
    (board,) = build_boards(records)
    assert row(board, "snip").critical_compression == 5
    assert row(board, "magnitude").critical_compression is None


def test_best_undecided_and_worse_rows_are_told_apart(make_board: Any) -> None:
    assert standings(make_board(), 10) == {
        "synflow": "best",
        "random": "undecided",
        "snip": "worse",
    }
    assert standings(make_board(), 1) == {"dense": None}


def test_the_dense_row_does_not_compete(make_board: Any) -> None:
    board = make_board({"dense": {1: (0.99, 0.99)}, "snip": {1: (0.5, 0.6)}, "grasp": {1: (0.4, 0.4)}})
    assert standings(board, 1) == {"dense": None, "snip": "best", "grasp": "undecided"}


def test_with_one_seed_no_best_is_claimed(make_board: Any) -> None:
    assert standings(make_board({"snip": {10: (0.9,)}, "grasp": {10: (0.1,)}}), 10) == {
        "snip": "undecided",
        "grasp": "undecided",
    }


def test_a_lone_row_is_not_called_the_best(make_board: Any) -> None:
    assert standings(make_board({"snip": {10: SEEDS}}), 10) == {"snip": None}


def test_a_row_with_one_seed_is_neither_best_nor_worse(make_board: Any) -> None:
    board = make_board({"snip": {10: SEEDS}, "grasp": {10: (0.5, 0.5, 0.5)}, "lucky": {10: (0.99,)}})
    assert standings(board, 10) == {"snip": "best", "grasp": "worse", "lucky": "undecided"}


def test_a_row_that_is_better_over_the_seeds_in_common_is_not_called_worse(
    make_board: Any, records_of: Any
) -> None:
    """Seeds 3 to 5 are lucky: over seeds 0 to 2, which snip has too, it is better by a steady margin."""
    table = {"snip": {10: (0.81, 0.82, 0.83)}, "synflow": {10: (0.80, 0.81, 0.82, 0.95, 0.96, 0.97)}}
    assert standings(make_board(table), 10) == {"snip": "best", "synflow": "equivalent"}
    (board,) = build_boards(records_of(table), margin=0.005)
    assert standings(board, 10) == {"snip": "best", "synflow": "worse"}


def test_where_most_rows_have_more_seeds_a_better_row_of_few_is_undecided(make_board: Any) -> None:
    many = (0.80, 0.81, 0.95, 0.96, 0.97)
    board = make_board({"snip": {10: (0.85, 0.86)}, "synflow": {10: many}, "random": {10: many}})
    assert sorted(map(str, standings(board, 10).values())) == ["best", "equivalent", "undecided"]
    assert standings(board, 10)["snip"] == "undecided"


def test_a_poor_row_of_more_seeds_than_all_others_is_not_the_best(make_board: Any) -> None:
    board = make_board(
        {"snip": {10: SEEDS}, "synflow": {10: (0.9, 0.91, 0.92)}, "random": {10: (0.1,) * 3 + (0.99,) * 9}}
    )
    assert standings(board, 10) == {"snip": "worse", "synflow": "best", "random": "worse"}


def test_rows_without_two_seeds_in_common_have_no_best(make_record: Any) -> None:
    seeds = {"snip": (0, 1), "random": (2, 3)}
    (board,) = build_boards(make_record(row, seed=seed) for row, own in seeds.items() for seed in own)
    assert standings(board, 10) == {"snip": "undecided", "random": "undecided"}


@given(
    st.dictionaries(
        st.sampled_from(["snip", "grasp", "random", "synflow"]),
        st.dictionaries(st.integers(0, 5), st.sampled_from([0.1, 0.5, 0.51, 0.9]), min_size=1),
        min_size=2,
    )
)
def test_no_row_is_worse_whose_difference_from_the_best_is_positive(
    make_record: Any, accuracies: dict[str, dict[int, float]]
) -> None:
    (board,) = build_boards(
        make_record(row, seed=seed, top1=top1)
        for row, own in accuracies.items()
        for seed, top1 in own.items()
    )
    found = [entry for row in board.rows for entry in row.points]
    assert [entry.standing for entry in found].count("best") <= 1
    assert all(entry.to_best and entry.to_best.mean < 0 for entry in found if entry.standing == "worse")


def test_rows_of_equal_accuracy_are_equivalent(make_board: Any) -> None:
    found = standings(make_board({"snip": {10: SEEDS}, "grasp": {10: SEEDS}}), 10)
    assert sorted(map(str, found.values())) == ["best", "equivalent"]


@pytest.mark.parametrize(
    ("seeds", "compressions", "preliminary"), [(3, 5, False), (2, 5, True), (3, 4, True), (5, 7, False)]
)
def test_a_board_with_too_little_is_preliminary(
    make_board: Any, seeds: int, compressions: int, preliminary: bool
) -> None:
    table = {
        "dense": {1: (0.9,) * seeds},
        "snip": {2.0**c: (0.5,) * seeds for c in range(1, compressions + 1)},
    }
    assert make_board(table).is_preliminary is preliminary


def test_three_rows_of_one_seed_each_are_preliminary(make_record: Any) -> None:
    rows = enumerate(("snip", "random", "synflow"))
    (board,) = build_boards(make_record(row, c, seed) for seed, row in rows for c in (2, 5, 10, 20, 50))
    assert board.is_preliminary
    assert "fewer than 3 seeds in every row (at most 1);" in " ".join(facts(board))


def test_a_row_with_five_compressions_over_different_seeds_is_no_reason_to_rank(make_record: Any) -> None:
    (board,) = build_boards(
        make_record("snip", c, seed)
        for start, c in enumerate((2, 5, 10, 20, 50))
        for seed in (start, start + 1)
    )
    assert board.is_preliminary


@pytest.mark.parametrize(
    ("seeds", "compressions", "said"),
    [
        (2, 5, "preliminary: fewer than 3 seeds in every row (at most 2);"),
        (3, 4, "preliminary: fewer than 5 compressions above 1 (4);"),
        (1, 1, "fewer than 3 seeds in every row (at most 1) and fewer than 5 compressions above 1 (1);"),
    ],
)
def test_a_preliminary_board_says_what_was_short(
    make_board: Any, seeds: int, compressions: int, said: str
) -> None:
    board = make_board({"snip": {2.0**c: (0.5,) * seeds for c in range(1, compressions + 1)}})
    assert said in " ".join(facts(board))


def test_a_compression_of_one_row_alone_takes_no_auc_from_the_others(make_board: Any) -> None:
    plain = make_board(EXAMPLE)
    for seeds in ((0.5,), SEEDS):
        board = make_board(EXAMPLE | {"ghost": {3: seeds}})
        assert {row.label: row.auc for row in board.rows if row.label != "ghost"} == {
            row.label: row.auc for row in plain.rows
        }
        assert {row.rank for row in board.rows} == {None, 1, 2, 3}
        assert row(board, "ghost").auc is None
        assert notes(board) == [
            "left out of the AUC, which is over 2, 5, 10, 20, 50: compression 3: only ghost"
        ]
    assert notes(plain) == []


def test_a_row_that_has_a_compression_besides_keeps_its_auc(make_board: Any) -> None:
    one, other = dict.fromkeys(COMPRESSIONS, SEEDS), dict.fromkeys((*COMPRESSIONS, 3), SEEDS)
    board = make_board({"snip": one, "random": other})
    assert board.auc_compressions == COMPRESSIONS
    assert {row.rank for row in board.rows} == {1}


def test_rows_that_could_not_go_as_far_do_not_shorten_the_aucs_of_most(make_board: Any) -> None:
    far, near = dict.fromkeys(COMPRESSIONS, SEEDS), dict.fromkeys(COMPRESSIONS[:4], SEEDS)
    board = make_board({"snip": far, "synflow": far, "random": near})
    assert {row.label: row.rank for row in board.rows} == {"snip": 1, "synflow": 1, "random": None}


def test_an_ablation_becomes_a_column_of_its_plain_row(make_record: Any) -> None:
    (board,) = build_boards([make_record(), make_record(ablation="shuffle")])
    assert [row.label for row in board.rows] == ["snip"]
    assert [row.label for row in board.ablated] == ["snip (shuffle)"]
    assert board.ablations == ("shuffle",)


def test_an_ablation_without_its_plain_row_is_a_row_of_its_own_that_does_not_compete(
    make_record: Any,
) -> None:
    ablated = [make_record("grasp", seed=seed, top1=0.99, ablation="shuffle") for seed in range(3)]
    plain = [make_record(name, seed=seed, top1=0.5) for name in ("snip", "random") for seed in range(3)]
    (board,) = build_boards([*plain, *ablated])
    assert standings(board, 10)["grasp (shuffle)"] is None
    assert sorted(map(str, standings(board, 10).values())) == ["None", "best", "equivalent"]


def test_revisions_are_never_averaged_and_the_newest_counts(make_record: Any) -> None:
    old = [make_record(seed=seed, top1=0.1) for seed in range(3)]
    new = [make_record(seed=seed, top1=0.9, revisions=Revisions(pruner=2)) for seed in range(2)]
    (board,) = build_boards([*old, *new])
    found = entry(board, "snip", 10)
    assert found.accuracy is not None
    assert (found.accuracy.mean, found.accuracy.n) == (pytest.approx(0.9), 2)
    assert board.outdated == {"snip": 3}
    assert row(board, "snip").revision == 2


def test_a_newer_pruner_leaves_the_other_rows_alone(make_record: Any) -> None:
    (board,) = build_boards([make_record("snip"), make_record("grasp", revisions=Revisions(pruner=4))])
    assert {row.label: row.revision for row in board.rows} == {"grasp": 4, "snip": 1}
    assert board.outdated == {}


@pytest.mark.parametrize("part", ["model", "dataset"])
def test_rows_on_an_older_model_or_data_set_are_left_out_for_they_cannot_be_compared(
    make_record: Any, part: str
) -> None:
    (board,) = build_boards([make_record("snip"), make_record("grasp", revisions=Revisions(**{part: 2}))])
    assert [row.label for row in board.rows] == ["grasp"]
    assert board.outdated == {"snip": 1}


def test_rows_that_share_a_label_and_differ_in_parameters_are_told_apart(make_record: Any) -> None:
    records = [make_record(f"iter-snip[rounds={rounds}]", label="iter-snip") for rounds in (5, 10)]
    (board,) = build_boards(records)
    assert sorted(row.label for row in board.rows) == ["iter-snip[rounds=10]", "iter-snip[rounds=5]"]


def test_every_setting_has_a_board_and_equal_titles_say_what_differs(make_record: Any) -> None:
    recipes = [Recipe(epochs=epochs, optimizer="adam", lr=lr) for epochs, lr in ((5, 0.01), (10, 0.001))]
    settings = [Setting(dataset="digits", model=ModelSpec(name="fc"), recipe=recipe) for recipe in recipes]
    alone = Setting(dataset="mnist", model=ModelSpec(name="fc"), recipe=recipes[0])
    boards = build_boards([make_record(setting=setting) for setting in [*settings, alone]])
    assert [board.heading for board in boards] == [
        "digits / fc (recipe.epochs 10, recipe.lr 0.001)",
        "digits / fc (recipe.epochs 5, recipe.lr 0.01)",
        "mnist / fc",
    ]


def test_options_in_another_order_are_the_same_setting(make_record: Any) -> None:
    options = {"width": 2, "depth": 3}
    specs = [ModelSpec(name="fc", options=given) for given in (options, dict(reversed(options.items())))]
    settings = [Setting(dataset="digits", model=spec, recipe=Recipe(epochs=1)) for spec in specs]
    boards = build_boards([make_record(setting=setting, seed=seed) for seed, setting in enumerate(settings)])
    assert [board.seeds for board in boards] == [(0, 1)]


def test_the_order_of_records_does_not_change_the_boards(example: list[Any]) -> None:
    expected = render(build_leaderboard(example), "json")
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(example))
        assert render(build_leaderboard(example[i] for i in order), "json") == expected


def test_one_key_in_two_files_is_an_error(make_record: Any) -> None:
    with pytest.raises(RecordError, match="two records have the key"):
        build_boards([make_record(top1=0.1), make_record(top1=0.9)])


def test_names_that_a_terminal_would_obey_are_made_harmless(make_record: Any) -> None:
    (board,) = build_boards([make_record("snip", parameters={"note": "\x1b[2J\u202e\n"})])
    assert board.rows[0].label.isprintable()


@pytest.mark.parametrize(
    "label", ["dense", "synflow", "snip[rounds=1]", "evil\x1b[2J", "snip[", "snip[x=1,x=2]"]
)
def test_a_row_is_named_by_its_pruner_whatever_its_label_says(make_record: Any, label: str) -> None:
    record = make_record("snip", parameters={"rounds": 3}, label=label)
    (board,) = build_boards([make_record("dense"), record])
    assert {row.label for row in board.rows} == {"dense", "snip[rounds=3]"}


def test_no_records_make_no_boards() -> None:
    assert build_boards([]) == []


def test_choosing_a_pruner_keeps_the_dense_row(example: list[Any]) -> None:
    (board,) = build_boards(choose(example, pruners=["synflow"]))
    assert [row.label for row in board.rows] == ["dense", "synflow"]


def test_a_pruner_is_chosen_by_its_name_or_its_row(make_record: Any) -> None:
    records = [make_record(f"synflow[rounds={rounds}]") for rounds in (1, 100)]
    assert choose(records, pruners=["synflow"]) == records
    assert choose(records, pruners=["synflow[rounds=1]"]) == records[:1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pruners": ["synflw"]}, "unknown recorded pruner 'synflw'; did you mean 'synflow'?"),
        ({"datasets": ["digit"]}, "unknown recorded dataset 'digit'; did you mean 'digits'?"),
        ({"models": ["conv"]}, "unknown recorded model 'conv'; known: fc"),
    ],
)
def test_a_name_that_no_record_has_is_an_error_with_a_proposal(
    example: list[Any], given: Any, said: str
) -> None:
    with pytest.raises(UnknownNameError) as caught:
        choose(example, **given)
    assert str(caught.value) == said


def test_names_that_were_never_recorded_together_are_an_error(make_record: Any) -> None:
    settings = [
        Setting(dataset=d, model=ModelSpec(name=m), recipe=Recipe(epochs=1))
        for d, m in (("a", "x"), ("b", "y"))
    ]
    with pytest.raises(RecordError, match="no record has all of a, y"):
        choose([make_record(setting=setting) for setting in settings], datasets=["a"], models=["y"])


def test_a_label_that_is_missing_is_the_name(make_record: Any) -> None:
    record = make_record()
    bare = record.cell.model_copy(update={"pruner": PrunerSpec(name="snip")})
    (board,) = build_boards([record.model_copy(update={"cell": bare})])
    assert board.rows[0].label == "snip"


def digits(**protocol: Any) -> Setting:
    """The setting of the records of these tests, with a protocol."""
    recipe = {"epochs": 5, "optimizer": "adam"}
    given = {"dataset": "digits", "model": "fc", "recipe": recipe, "protocol": protocol}
    return Setting.model_validate(given)


@pytest.fixture
def eras(records_of: Any) -> list[Record]:
    """One-shot pruning beside other protocols over the same setting."""
    dense = {"dense": {1: (0.9, 0.91, 0.92)}}
    curve = {"magnitude": dict.fromkeys(COMPRESSIONS, SEEDS)}
    better = {"magnitude": {c: [top1 + 0.05 for top1 in SEEDS] for c in COMPRESSIONS}}
    tuned = records_of(better, setting=digits(name="finetune", epochs=2))
    rewound = records_of(better | dense, setting=digits(name="multishot", levels=2, rewind="lr"))
    return [*records_of(dense | curve | {"rigl": curve["magnitude"]}), *tuned, *rewound]


def test_protocols_over_one_setting_are_rows_of_one_board(eras: list[Record]) -> None:
    (board,) = build_boards(eras)
    assert (board.title, board.id) == ("digits / fc", digits().id)
    assert {each.label for each in board.rows} == {
        *("dense", "magnitude", "rigl"),
        *("magnitude@finetune[epochs=2]", "magnitude@multishot[levels=2,rewind=lr]"),
    }
    better = entry(board, "magnitude@finetune[epochs=2]", 10)
    assert better.accuracy is not None
    assert better.accuracy.mean == pytest.approx(0.86)
    assert better.standing in {"best", "equivalent"}  # with the other better row
    assert entry(board, "magnitude", 10).standing == "worse"
    assert entry(board, "dense", 1).top1 == {0: 0.9, 1: 0.91, 2: 0.92}


def test_the_notes_describe_the_protocols_of_rows(eras: list[Record]) -> None:
    (board,) = build_boards(eras)
    lines = [line for line in notes(board) if line.startswith("@")]
    assert len(lines) == 2
    assert lines[0].startswith("@finetune[epochs=2]: pruned after")
    assert "learning rate rewound" in lines[1]


def test_a_board_of_one_protocol_has_plain_labels(records_of: Any) -> None:
    setting = digits(name="multishot", levels=2)
    (board,) = build_boards(records_of({"dense": {1: SEEDS}, "snip": {10: SEEDS}}, setting=setting))
    assert [each.label for each in board.rows] == ["dense", "snip"]
    assert (board.title, board.id) == ("digits / fc / multishot", setting.id)
    assert not [line for line in notes(board) if line.startswith("@")]


def test_the_order_of_records_does_not_matter_where_protocols_share_a_board(eras: list[Record]) -> None:
    assert build_boards(reversed(eras)) == build_boards(eras)


def test_rows_are_chosen_by_their_protocol_too(eras: list[Record]) -> None:
    (board,) = build_boards(choose(eras, pruners=["magnitude@finetune[epochs=2]"]))
    assert {each.label for each in board.rows} == {"dense", "magnitude@finetune[epochs=2]"}
    (board,) = build_boards(choose(eras, pruners=["magnitude"]))
    assert len(board.rows) == 4
