"""A parameter with several values is several pruners: one for each combination."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.errors import SuiteError
from synflow_bench.suites import PrunerSpec, expand_pruners, label_of, load_suite, parse_pruner, validate

SUITE = """
compressions = [10]
seeds = 1
settings = [{ dataset = "digits", model = "fc", recipe = { epochs = 1 } }]
"""
VALUES = st.lists(st.integers() | st.booleans() | st.text(), min_size=1, max_size=3)


def parameters(pruners: list[Any]) -> list[dict[str, Any]]:
    return [PrunerSpec.model_validate(each).parameters for each in pruners]


def test_each_value_is_a_pruner_in_the_order_given() -> None:
    assert parameters(expand_pruners(["x[rounds=1|10|100]"])) == [{"rounds": n} for n in (1, 10, 100)]


def test_several_sweeps_are_all_their_combinations_the_last_changing_fastest() -> None:
    found = parameters(expand_pruners(["x[a=1|2, b=fast | slow, c=true]"]))
    assert [(each["a"], each["b"]) for each in found] == [(1, "fast"), (1, "slow"), (2, "fast"), (2, "slow")]
    assert all(each["c"] is True for each in found)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES))
def test_a_table_and_its_text_expand_alike(choices: dict[str, list[Any]]) -> None:
    wanted = [dict(zip(choices, pick, strict=True)) for pick in product(*choices.values())]
    assert parameters(expand_pruners([{"name": "x", "parameters": choices}])) == wanted
    inside = ",".join(f"{key}={'|'.join(_written(v) for v in values)}" for key, values in choices.items())
    assert parameters(expand_pruners([f"x[{inside}]"])) == wanted


def _written(value: Any) -> str:
    """As a label has it."""
    return label_of("x", {"k": value})[len("x[k=") : -1]


def test_a_bar_within_a_text_is_escaped_in_labels() -> None:
    assert label_of("x", {"a": "1|2"}) == 'x[a="1\\u007c2"]'
    assert parse_pruner('x[a="1\\u007c2"]')["parameters"] == {"a": "1|2"}


def test_a_suite_may_sweep_in_text_and_in_tables(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    table = '{ name = "synflow", parameters = { rounds = [1, 10], schedule = "linear" } }'
    file.write_text(f'pruners = ["snip", "synflow[rounds=3|5]", {table}]{SUITE}')
    specs = load_suite(file).pruners
    assert [spec.name for spec in specs] == ["snip", *["synflow"] * 4]
    assert [spec.parameters.get("rounds") for spec in specs] == [None, 3, 5, 1, 10]
    assert specs[-1].parameters["schedule"] == "linear"


@pytest.mark.parametrize("text", ["x[a=1|]", "x[a=|1]", "x[a=1||2]"])
def test_a_value_that_is_missing_is_told(text: str) -> None:
    (unread,) = expand_pruners([text])
    with pytest.raises(SuiteError) as error:
        validate(PrunerSpec, unread, "pruner")
    assert f"in pruner {text!r}; write it as key=value, or key=value|value" in str(error.value)


def test_where_one_pruner_is_wanted_a_sweep_is_refused() -> None:
    with pytest.raises(
        SuiteError, match=r"pruner 'x\[a=1\|2\]' is several, one for each a; name one of them"
    ):
        validate(PrunerSpec, "x[a=1|2]", "pruner")


@pytest.mark.parametrize(("written", "shown"), [("[]", "[]"), ("[[1], 2]", "[1]"), ("{ a = 1 }", "{'a': 1}")])
def test_what_is_no_value_is_one_fault(tmp_path: Path, written: str, shown: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'pruners = [{{ name = "synflow", parameters = {{ rounds = {written} }} }}]{SUITE}')
    with pytest.raises(SuiteError) as error:
        load_suite(file)
    assert str(error.value).endswith(
        f"pruners[0].parameters.rounds: {shown} is no value of a parameter; give a bool, int, float or str"
    )
