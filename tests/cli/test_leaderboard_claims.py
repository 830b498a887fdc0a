"""`synflow-bench leaderboard --claims`: published numbers with verdicts, in every format and as a check."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.leaderboard import PublishedNumber, published_numbers
from synflow_bench.records import Store
from synflow_bench.suites import ModelSpec, Recipe, Setting

FIGURE = [
    number
    for number in published_numbers()
    if number.source.name == "tanaka2020-vgg"
    and (number.dataset, number.model, number.pruner) == ("cifar10", "lottery/vgg16-bn", "snip")
    and number.compression in (1.0, 10.0)
]


def setting_of(number: PublishedNumber) -> Setting:
    recipe = Recipe.model_validate(dict(number.source.recipe))
    return Setting(dataset=number.dataset, model=ModelSpec(name=number.model), recipe=recipe)


@pytest.fixture
def claims(invoke: Callable[..., Any], tmp_path: Path, make_record: Callable[..., Any]) -> Callable[..., Any]:
    """Run the command on a board of which one number is reproduced, and one is far off."""
    store = Store(tmp_path / "results")
    for number, shift in zip(FIGURE, (0.0, -0.2), strict=True):
        for seed in range(3):
            top1 = number.top1 + shift + seed / 10000
            common = {"setting": setting_of(number), "max_test_top1": top1}
            store.put(make_record("snip", number.compression, seed, top1 - 0.01, **common))
    return lambda *arguments: invoke("leaderboard", "--claims", "--results", str(store.root), *arguments)


def test_the_verdicts_are_printed_with_their_counts(claims: Any) -> None:
    done = claims()
    assert (done.code, done.err) == (0, "")
    words = " ".join(done.out.split())
    assert "1 reproduced, 1 not reproduced, 0 undecided" in words
    assert "no board of this dataset and network" in words
    assert "arXiv 1911.11134" not in done.out
    assert "arXiv 1911.11134" in claims("--details").out


def test_a_wider_margin_reproduces_more(claims: Any) -> None:
    assert json.loads(claims("--format", "json", "--margin", "30").out)["counts"]["reproduced"] == 2


def test_numbers_are_chosen_whatever_was_recorded(claims: Any) -> None:
    found = json.loads(claims("--format", "json", "--dataset", "imagenet", "--pruner", "SNIP").out)["claims"]
    assert {claim["arxiv"] for claim in found} == {"1911.11134", "2304.02840"}
    typed = claims("--dataset", "imagenett")
    assert typed.code == 2
    assert "imagenet" in typed.err
    assert claims("--dataset", "mnist", "--model", "WRN-22-2").code == 2


def test_without_records_all_numbers_are_listed(invoke: Any, tmp_path: Path) -> None:
    done = invoke("leaderboard", "--claims", "--results", str(tmp_path), "--format", "json")
    assert done.code == 0
    assert json.loads(done.out)["counts"]["not comparable"] == len(published_numbers())


@pytest.mark.parametrize("name", ["claims.md", "claims.html", "claims.csv", "claims.json", "claims.txt"])
def test_a_written_page_of_claims_is_fresh_until_the_records_change(
    claims: Any, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    assert claims("--output", str(file)).code == 0
    assert claims("--check", str(file)).code == 0
    file.write_text(file.read_text(encoding="utf-8") + "old", encoding="utf-8")
    stale = claims("--check", str(file))
    assert stale.code == 1
    command = shlex.split(stale.err.partition("regenerate: ")[2])
    assert {"--claims", "--force"} <= {*command}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--published",), "--published"),
        (("--baseline", "snip"), "--baseline"),
        (("--columns", "10"), "--columns"),
        (("--per-seed", "--format", "csv"), "--per-seed"),
        (("--format", "latex"), "latex"),
        (("--format", "parquet", "--output", "claims.parquet"), "parquet"),
    ],
)
def test_what_has_no_effect_is_refused(claims: Any, arguments: tuple[str, ...], reason: str) -> None:
    done = claims(*arguments)
    assert (done.code, done.out) == (2, "")
    assert reason in done.err
    assert done.err.count("\n") == 1
