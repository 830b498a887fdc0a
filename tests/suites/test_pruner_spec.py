"""A pruner as text: what is written is read back, and what cannot be read is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.errors import SuiteError
from synflow_bench.suites import PrunerSpec, label_of, parse_pruner, validate

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True)
SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["1", "true", "inf", "nan", "1e3", "a,b", "a]", '"', "\\", " a ", "", "1 # one", "x=y"])
)


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
def test_reads(text: str, name: str, parameters: dict[str, Any]) -> None:
    assert PrunerSpec.model_validate(text) == PrunerSpec(name=name, parameters=parameters)


def test_words_are_written_without_quotes() -> None:
    assert label_of("x", {"schedule": "linear", "rounds": 3}) == "x[rounds=3,schedule=linear]"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("synflow[rounds=10", "cannot read pruner 'synflow[rounds=10'; write it as name or name[key=value"),
        ("synflow]", "cannot read pruner"),
        ("", "cannot read pruner ''"),
        ("synflow[rounds]", "cannot read 'rounds' in pruner 'synflow[rounds]'; write it as key=value"),
        ("synflow[rounds=]", "cannot read 'rounds='"),
        ("synflow[1=2]", "cannot read '1=2'"),
        ("synflow[a=1,a=2]", "pruner 'synflow[a=1,a=2]' gives 'a' twice"),
        ("SynFlow", "name: 'SynFlow' is not a name: lower-case letters"),
        ("a/../b", "is not a name"),
        ("x[rate=inf]", "parameters.rate"),
    ],
)
def test_refuses(text: str, fault: str) -> None:
    with pytest.raises(SuiteError) as error:
        validate(PrunerSpec, text, "pruner")
    assert str(error.value).startswith("pruner: ")
    assert fault in str(error.value)
