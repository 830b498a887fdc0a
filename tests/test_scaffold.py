"""The names of a new plugin; `tests/cli/test_plugins.py` checks the files."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import Any

import pytest

from synflow_bench.errors import UsageError
from synflow_bench.scaffold import names_of


def test_a_new_plugin_cannot_hide_a_package_of_synflow_bench() -> None:
    packages = {point.module.partition(".")[0] for point in distribution("synflow-bench").entry_points}
    assert len(packages) >= 5
    for package in packages - {"synflow_bench"}:
        with pytest.raises(UsageError, match=repr(package)):
            names_of(package.removeprefix("synflow_bench_"), "pruner")


@pytest.mark.parametrize(
    ("name", "kind", "attribute"),
    [
        ("none", "pruner", "NonePruner"),
        ("pruner", "pruner", "PrunerPruner"),
        ("3d", "dataset", "Dataset3d"),
        ("lambda", "model", "build_lambda"),
        ("synflow-bench-gradnorm", "pruner", "GradnormPruner"),
    ],
)
def test_attributes_are_identifiers_but_not_keywords(name: str, kind: Any, attribute: str) -> None:
    names = names_of(name, kind)
    assert names.attribute == attribute
    assert names.attribute.isidentifier()
    assert names.module.isidentifier()
    assert names.distribution == f"synflow-bench-{names.plugin}"
