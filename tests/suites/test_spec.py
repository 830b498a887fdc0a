"""Pruners as text: what is written is read back, and a parameter with several values is several pruners."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.errors import SuiteError
from synflow_bench.suites import PrunerSpec, expand_pruners, label_of, load_suite, parse_pruner, validate

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True)
SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["1", "true", "inf", "nan", "1e3", "a,b", "a]", '"', "\\", " a ", "", "1 # one", "x=y"])
)
SUITE = """
compressions = [10]
seeds = 1
settings = [{ dataset = "digits", model = "fc", recipe = { epochs = 1 } }]
"""
VALUES = st.lists(st.integers() | st.booleans() | st.text(), min_size=1, max_size=3)


@given(NAMES, st.dictionaries(KEYS, SCALARS))
def test_what_is_written_is_read_back(name: str, parameters: dict[str, Any]) -> None:
    read = parse_pruner(label_of(name, parameters))
    assert read == {"name": name, "parameters": parameters}
    for key, value in parameters.items():
        assert type(read["parameters"][key]) is type(value)


@given(NAMES, st.dictionaries(KEYS, SCALARS))
def test_the_order_of_parameters_does_not_matter(name: str, parameters: dict[str, Any]) -> None:
    assert label_of(name, dict(reversed(parameters.items()))) == label_of(name, parameters)


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("synflow", "synflow", {}),
        ("synflow[]", "synflow", {}),
        (" synflow [ rounds = 10 , schedule=linear ] ", "synflow", {"rounds": 10, "schedule": "linear"}),
        ("x[a=1.5,b=true,c=1e3,d='1']", "x", {"a": 1.5, "b": True, "c": 1000.0, "d": "1"}),
        ("lab/x[a=2000-01-01]", "lab/x", {"a": "2000-01-01"}),
    ],
)
def test_a_pruner_is_read_with_its_parameters(text: str, name: str, parameters: dict[str, Any]) -> None:
    assert PrunerSpec.model_validate(text) == PrunerSpec(name=name, parameters=parameters)


def test_words_are_written_without_quotes() -> None:
    assert label_of("x", {"schedule": "linear", "rounds": 3}) == "x[rounds=3,schedule=linear]"


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("synflow[rounds=10", "pruner 'synflow[rounds=10'"),
        ("synflow]", "pruner 'synflow]'"),
        ("", "pruner ''"),
        ("synflow[rounds]", "'rounds' in pruner 'synflow[rounds]'"),
        ("synflow[rounds=]", "'rounds='"),
        ("synflow[1=2]", "'1=2'"),
        ("synflow[a=1,a=2]", "'a' twice"),
        ("SynFlow", "name: 'SynFlow' is not a name"),
        ("a/../b", "'a/../b' is not a name"),
        ("x[rate=inf]", "parameters.rate"),
        ("x[a=1|2]", "several"),
    ],
)
def test_another_text_is_an_error_that_names_it(text: str, fact: str) -> None:
    with pytest.raises(SuiteError) as error:
        validate(PrunerSpec, text, "pruner")
    assert str(error.value).startswith("pruner: ")
    assert fact in str(error.value)


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
def test_a_missing_value_is_an_error(text: str) -> None:
    (unread,) = expand_pruners([text])
    with pytest.raises(SuiteError) as error:
        validate(PrunerSpec, unread, "pruner")
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(("written", "shown"), [("[]", "[]"), ("[[1], 2]", "[1]"), ("{ a = 1 }", "{'a': 1}")])
def test_a_parameter_without_a_scalar_is_one_problem(tmp_path: Path, written: str, shown: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'pruners = [{{ name = "synflow", parameters = {{ rounds = {written} }} }}]{SUITE}')
    with pytest.raises(SuiteError) as error:
        load_suite(file)
    assert f"pruners[0].parameters.rounds: {shown} is no value" in str(error.value)
    assert str(error.value).count("rounds") == 1
