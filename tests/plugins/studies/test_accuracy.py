"""Critical compressions: by kept weights, over all seeds, up to the first compression with an empty layer."""

from __future__ import annotations

from typing import Any

from synflow_bench_studies.accuracy import critical_chart, critical_lines, critical_rows


def row(pruner: str, compression: float, seed: int = 0, *, empty: bool = False) -> dict[str, Any]:
    """A cell without a path from input to output."""
    return {
        "source": "ours",
        "pruner": pruner,
        "compression": compression,
        "seed": seed,
        "collapsed": True,
        "empty": empty,
    }


ROWS = [
    *(row("dense", 1, seed) for seed in (0, 1)),
    row("random", 10),
    row("random", 10, 1),
    row("random", 100),
    row("random", 100, 1, empty=True),
    row("random", 1000),
    row("magnitude", 10, empty=True),
    row("magnitude", 100),
    row("magnitude", 1000),
    *(row("synflow", 10.0**n) for n in (1, 2, 3)),
]


def ends(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {row["pruner"]: row["critical"] for row in rows if row["source"] == "ours"}


def test_it_ends_before_the_first_compression_that_empties_a_layer_in_any_seed() -> None:
    """Larger compressions without an empty layer do not count, nor does whether paths are left."""
    assert ends(critical_rows(ROWS, published=False)) == {"random": 10, "magnitude": 1, "synflow": 1000}


def test_the_order_of_rows_does_not_matter() -> None:
    assert ends(critical_rows(ROWS[::-1], published=False)) == ends(critical_rows(ROWS, published=False))


def test_pruners_at_either_end_are_named() -> None:
    _, never, always = critical_lines(ROWS, published=False)
    assert never.endswith(": magnitude")
    assert always.endswith(": synflow")
    values = critical_chart(critical_rows(ROWS, published=False)).to_dict()["data"]["values"]
    assert {"source": "ours", "pruner": "magnitude", "critical": 1.0} in values


def test_a_coarser_grid_than_the_published_one_is_noted_beside_published_points_only() -> None:
    line = "1 decades apart, published ones 0.25"
    assert any(line in each for each in critical_lines(ROWS, published=True))
    assert not any(line in each for each in critical_lines(ROWS, published=False))
    fine = [row("snip", 10 ** (n / 4)) for n in range(1, 9)]
    assert not any("apart" in line for line in critical_lines(fine, published=True))


def test_published_ones_have_a_row_per_pruner_and_run() -> None:
    rows = critical_rows(ROWS, published=True)
    assert len([row for row in rows if row["source"] == "published"]) == 15
