"""Suites and specs from anywhere: whatever is written there, the end is a value or one error of a user."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synflow_bench.errors import HandledError, SuiteError
from synflow_bench.suites import (
    PrunerSpec,
    expand_pruners,
    label_of,
    load_suite,
    override,
    parse_dataset,
    parse_pruner,
    read_toml_value,
    validate,
)
from synflow_bench.toml import LARGEST_TOML

SUITE = """
compressions = [10]
seeds = 1
settings = [{ dataset = "digits", model = "fc", recipe = { epochs = 1 } }]
"""
DEEP = {"list": "[" * 500 + "]" * 500, "table": "{a=" * 500 + "1" + "}" * 500, "digits": "9" * 4400}
ANY = st.text(st.characters(exclude_categories=[]), max_size=40)
SPEC = st.text(st.sampled_from("ab_=,|[]{}\"'\\.1e-# \n\u00e9\ud800"), max_size=40)


@pytest.mark.parametrize("value", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize(
    "place", ["x = VALUE\n" + SUITE, SUITE + "seeds2 = VALUE", "pruners = VALUE\n" + SUITE]
)
def test_a_deep_or_long_value_is_one_line_that_names_the_file(tmp_path: Path, value: str, place: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(place.replace("VALUE", value))
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    assert repr(str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_suite_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    with path.open("wb") as file:
        file.truncate(2**32)
    with pytest.raises(SuiteError, match=f"more than {LARGEST_TOML} bytes"):
        load_suite(path)


@pytest.mark.parametrize("value", DEEP.values(), ids=DEEP)
def test_a_deep_or_long_parameter_is_text(value: str) -> None:
    assert read_toml_value(value) == value


def test_a_sweep_of_too_many_pruners_is_refused() -> None:
    sweep = ",".join(f"p{n}=0|1|2|3|4|5|6|7|8|9" for n in range(9))
    with pytest.raises(SuiteError, match="1000000000 pruners"):
        expand_pruners([f"mine[{sweep}]"])


def outcome(act: Callable[[], object]) -> str:
    """Return the message of the error that a user can fix, or nothing if there is none."""
    try:
        act()
    except HandledError as error:
        return str(error) or "no message"
    return ""


@settings(max_examples=200)
@given(SPEC | ANY)
def test_any_text_of_a_pruner_or_dataset_is_read_or_refused(text: str) -> None:
    for read in (parse_pruner, parse_dataset, lambda given: expand_pruners([given]), read_toml_value):
        assert outcome(lambda read=read: read(text)) != "no message"  # type: ignore[misc]


@settings(max_examples=200)
@given(SPEC | ANY)
def test_what_is_read_as_a_pruner_has_a_label_that_is_read_as_the_same(text: str) -> None:
    try:
        spec = validate(PrunerSpec, text, "pruner")
    except HandledError:
        return
    label = label_of(spec.name, spec.parameters)
    assert parse_pruner(label) == {"name": spec.name, "parameters": spec.parameters}
    assert spec.model_copy(update={"label": label}).title == label


TOML = st.recursive(
    st.sampled_from(
        ['"digits"', '"fc"', "1", "-1", "1e999", "nan", "true", '"synflow[rounds=1|2]"', "1979-05-27"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]")
        | st.dictionaries(
            st.sampled_from(
                ["name", "dataset", "model", "recipe", "epochs", "options", "parameters", "levels"]
            ),
            inner,
            max_size=3,
        ).map(lambda table: "{" + ", ".join(f"{name} = {value}" for name, value in table.items()) + "}")
    ),
    max_leaves=6,
)
FIELDS = ["compressions", "sparsities", "seeds", "settings", "pruners", "ablations", "name", "description"]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS), TOML, max_size=5))
def test_any_suite_is_a_suite_or_one_line(tmp_path: Path, fields: dict[str, str]) -> None:
    text = "\n".join(f"{name} = {value}" for name, value in fields.items())
    tomllib.loads(text)
    path = tmp_path / "mine.toml"
    path.write_text(f"{SUITE if 'settings' not in fields else ''}\n{text}")
    assert "\n" not in outcome(lambda: load_suite(path))


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_suite_or_one_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with pytest.raises(SuiteError):
        load_suite(path)


@settings(max_examples=200)
@given(
    st.sampled_from(["recipe.lr", "recipe", "recipe.lr.x", "pruning.only", "model", "x", ""]) | ANY,
    SPEC | ANY,
)
def test_any_assignment_is_made_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "base.toml"
    path.write_text(SUITE)
    assert outcome(lambda: override(load_suite(path), assignments=[f"{name}={value}"])) != "no message"
