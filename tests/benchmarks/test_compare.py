"""The comparison of benchmark ratios with the committed baseline, with made-up numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from compare import BASELINE, BaselineError, compare, main, read
from hypothesis import given
from hypothesis import strategies as st

RATIOS = st.dictionaries(st.text(min_size=1), st.floats(1e-3, 1e3), max_size=5)


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps({"one": 0.5, "two": 2.0}))
    return path


def always(**ratios: float) -> dict[str, Callable[[], float]]:
    return {name: lambda ratio=ratio: ratio for name, ratio in ratios.items()}


def test_only_what_is_worse_than_the_bound_is_told() -> None:
    lines = compare({"one": 1.01, "two": 4.0}, {"one": 0.5, "two": 2.0}, bound=2)
    assert lines == ["slower: one: 1.01, more than 2 times the baseline's 0.5"]


def test_new_and_missing_ratios_are_told() -> None:
    lines = compare({"new": 1.0}, {"old": 1.0})
    assert [line.split(";")[0] for line in lines] == ["no baseline: new", "not measured: old"]


@given(RATIOS, st.floats(1.01, 10))
def test_a_baseline_is_never_worse_than_itself(ratios: dict[str, float], bound: float) -> None:
    assert compare(ratios, ratios, bound) == []


@given(RATIOS, st.floats(1.01, 10))
def test_all_that_is_slower_by_more_than_the_bound_is_told(ratios: dict[str, float], bound: float) -> None:
    slower = {name: ratio * bound * 1.01 for name, ratio in ratios.items()}
    assert len(compare(slower, ratios, bound)) == len(ratios)


def test_exit_code_0_when_nothing_is_worse(baseline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], always(one=0.9, two=0.1), baseline) == 0
    printed = capsys.readouterr()
    assert "0.900     0.500  one" in printed.out
    assert printed.err == ""


def test_exit_code_1_and_a_line_for_each_that_is_worse(
    baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], always(one=1.2, two=5.0), baseline) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_the_bound_can_be_chosen(baseline: Path) -> None:
    assert main(["--bound", "3"], always(one=1.2, two=5.0), baseline) == 0


def test_what_seems_slower_is_measured_again(baseline: Path) -> None:
    noisy: Iterator[float] = iter([7.0, 0.6])
    assert main([], {"one": lambda: next(noisy), "two": lambda: 2.0}, baseline) == 0
    assert next(noisy, None) is None


def test_write_makes_a_baseline_that_then_holds(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    assert main(["--write"], always(one=1.23456), path) == 0
    assert read(path) == {"one": 1.235}
    assert main([], always(one=1.23456), path) == 0


@pytest.mark.parametrize("text", ["", "[]", '{"one": 0}', '{"one": "fast"}', '{"one": true}'])
def test_exit_code_2_for_a_baseline_that_is_none(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(BaselineError, match=r"baseline\.json"):
        read(path)
    assert main([], {}, path) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bound_that_leaves_no_room_is_refused(baseline: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--bound", "1"], {}, baseline)
    assert caught.value.code == 2


def test_the_committed_baseline_can_be_read() -> None:
    assert read(BASELINE)
