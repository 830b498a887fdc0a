"""Layer densities: exact counts, and agreement with the published ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from synflow_bench.errors import UsageError
from synflow_bench_studies.layer_density import published_densities

Study = Callable[..., list[dict[str, Any]]]


def test_kept_weights_of_all_layers_are_the_compression_exactly(study: Study) -> None:
    rows = study(
        "layer-density", "fc", "magnitude", "synflow[rounds=3]", shape=(1, 8, 8), compressions=(7, 50)
    )
    size = 64 * 100 + 4 * 100 * 100 + 100 * 10
    for pruner in ("magnitude", "synflow[rounds=3]"):
        for compression in (7, 50):
            chosen = [
                r
                for r in rows
                if (r["compression"], r["rounds"]) == (compression, 3 if "sy" in pruner else 1)
            ]
            assert sum(row["size"] for row in chosen) == size
            assert sum(row["kept"] for row in chosen) == round(size / compression)
            assert [row["index"] for row in chosen] == [1, 2, 3, 4, 5, 6]
    assert all(row["density"] == row["kept"] / row["size"] for row in rows)


def test_a_pruner_that_needs_data_is_refused_without_a_dataset(study: Study) -> None:
    with pytest.raises(UsageError, match="'snip' scores with data"):
        study("layer-density", "fc", "snip", shape=(1, 8, 8))


def test_with_a_dataset_scores_are_those_of_a_run(study: Study) -> None:
    rows = study("layer-density", "fc", "snip", dataset="digits", compressions=(10,))
    assert sum(row["kept"] for row in rows) == 4740
    assert {row["dataset"] for row in rows} == {"digits"}


def test_published_densities_cover_five_pruners_and_mark_grasp() -> None:
    rows = list(published_densities())
    assert len(rows) == 5 * 3 * 14
    assert {row["pruner"] for row in rows} >= {"synflow published", "grasp published (suspect)"}


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["random", "magnitude", "synflow"])
def test_densities_agree_with_the_published_ones(pruner: str, study: Study) -> None:
    at = {"shape": (3, 32, 32), "classes": 100, "compressions": (10, 100)}
    ours = study("layer-density", "lottery/vgg16-bn", pruner, **at)
    published = {
        (row["compression"], row["index"]): row["kept"]
        for row in published_densities()
        if row["pruner"] == f"{pruner} published"
    }
    for row in ours:
        expected = published[row["compression"], row["index"]]
        assert abs(row["kept"] - expected) <= max(0.06 * expected, 4 * max(expected, 1) ** 0.5), row["layer"]
