"""A suite with some of its choices replaced, as the command line and the Python API do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from synflow_bench.errors import UsageError
from synflow_bench.suites.rows import PrunerRow
from synflow_bench.suites.setting import Setting
from synflow_bench.suites.spec import read_toml_value
from synflow_bench.suites.suite import Suite, validate


def override(
    suite: Suite,
    *,
    datasets: Sequence[str] = (),
    models: Sequence[str] = (),
    compressions: Sequence[float] = (),
    seeds: int | Sequence[int] | None = None,
    ablations: Sequence[str] = (),
    pruners: Sequence[PrunerRow] = (),
    protocol: Mapping[str, Any] = MappingProxyType({}),
    assignments: Mapping[str, Any] | Iterable[str] = (),
    tune: str | Mapping[str, Any] | None = None,
) -> Suite:
    """Replace the given choices of a suite and validate the result.

    Args:
        suite: The suite, which is not changed.
        datasets: Datasets to choose among the settings, in this order. A pair of dataset and model that the
            suite does not have takes the recipe of its first setting with that model, else with that dataset,
            else of its first.
        models: Models to choose, in the same way.
        compressions: Compression ratios in place of the suite's.
        seeds: A number of repetitions, or a list of seeds, in place of the suite's.
        ablations: Ablations in place of the suite's.
        pruners: Rows in place of the suite's.
        protocol: Fields that change the protocol of every setting, or replace it if their `name` is another.
        assignments: Fields of every setting by path, such as `{"recipe.lr": 0.01}`, or as text:
            `recipe.lr=0.01`.
        tune: A field of the recipe with values to choose from, in place of the suite's.

    Raises:
        SuiteError: The changed suite is not valid; the message lists every problem with its place.
        UsageError: An assignment cannot be read.
    """
    data = suite.model_dump(mode="json", exclude_unset=True)
    settings = _choose(suite.settings, datasets, models)
    data["settings"] = [_assign(_with_protocol(setting, protocol), assignments) for setting in settings]
    given = {
        "compressions": compressions,
        "seeds": seeds,
        "ablations": ablations,
        "pruners": pruners,
        "tune": tune,
    }
    data |= {name: value for name, value in given.items() if _is_given(value)}
    return validate(Suite, data, f"suite {suite.name!r} as changed")


def _is_given(value: Any) -> bool:
    return value is not None and (not hasattr(value, "__len__") or len(value) > 0)


def _choose(settings: Sequence[Setting], datasets: Sequence[str], models: Sequence[str]) -> list[Setting]:
    if not datasets and not models:
        return list(settings)
    pairs = [(s.dataset, s.model.name) for s in settings]
    if datasets:
        pairs = [(dataset, model) for dataset in datasets for _, model in pairs]
    if models:
        pairs = [(dataset, model) for dataset in dict.fromkeys(d for d, _ in pairs) for model in models]
    return [setting for pair in dict.fromkeys(pairs) for setting in _settings_for(settings, *pair)]


def _settings_for(settings: Sequence[Setting], dataset: str, model: str) -> list[Setting]:
    exact = [s for s in settings if (s.dataset, s.model.name) == (dataset, model)]
    if exact:
        return exact
    like = next((s for s in settings if s.model.name == model), None)
    like = like or next((s for s in settings if s.dataset == dataset), settings[0])
    data = like.model_dump(mode="json", exclude_unset=True)
    options = data["model"] if like.model.name == model else model
    return [validate(Setting, {**data, "dataset": dataset, "model": options}, "setting")]


def _with_protocol(setting: Setting, protocol: Mapping[str, Any]) -> dict[str, Any]:
    data = setting.model_dump(mode="json", exclude_unset=True)
    if not protocol:
        return data
    same = protocol.get("name", setting.protocol.name) == setting.protocol.name
    return {**data, "protocol": {**(data.get("protocol", {}) if same else {}), **protocol}}


def _assign(data: dict[str, Any], assignments: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    values = assignments if isinstance(assignments, Mapping) else dict(map(_read, assignments))
    for path, value in values.items():
        *parents, leaf = path.split(".")
        table = data
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UsageError(f"cannot set {path!r}: {parent!r} has no fields")
        table[leaf] = value
    return data


def _read(assignment: str) -> tuple[str, Any]:
    path, equals, text = assignment.partition("=")
    path = path.strip()
    if not equals or not path or path.endswith("."):
        raise UsageError(f"cannot read {assignment!r}; write it as path=value, such as recipe.lr=0.01")
    return path, read_toml_value(text.strip())
