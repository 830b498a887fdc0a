"""A suite with some of its choices replaced, as the command line asks."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from synflow_bench.errors import UsageError
from synflow_bench.suites._load import validate
from synflow_bench.suites._setting import Setting
from synflow_bench.suites._suite import Suite


def override(
    suite: Suite,
    *,
    datasets: Sequence[str] = (),
    models: Sequence[str] = (),
    compressions: Sequence[float] = (),
    seeds: int | None = None,
    ablations: Sequence[str] = (),
    protocol: Mapping[str, str | int] = MappingProxyType({}),
    assignments: Iterable[str] = (),
) -> Suite:
    """Replace what is given and validate the whole again.

    `datasets` and `models` choose among the settings of the suite; a pair that it does not have takes over
    the recipe of its first setting with that model, else with that data set, else of its first. `protocol` is
    laid over the protocol of every setting, or takes its place where its `name` is another. `assignments`
    such as `recipe.lr=0.01` change every setting. Raises `SuiteError` for what is not valid then, and
    `UsageError` for an assignment that cannot be read.
    """
    data = suite.model_dump(mode="json", exclude_unset=True)
    settings = _choose(suite.settings, datasets, models)
    data["settings"] = [_assign(_with_protocol(setting, protocol), assignments) for setting in settings]
    given = {"compressions": compressions, "seeds": seeds, "ablations": ablations}
    data |= {name: value for name, value in given.items() if value not in (None, (), [])}
    return validate(Suite, data, f"suite {suite.name!r} as changed")


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


def _with_protocol(setting: Setting, protocol: Mapping[str, str | int]) -> dict[str, Any]:
    data = setting.model_dump(mode="json", exclude_unset=True)
    before = setting.protocol
    kept = data.get("protocol", {}) if protocol.get("name", before.name) == before.name else {}
    return {**data, "protocol": {**kept, **protocol}} if protocol else data


def _assign(data: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        *parents, leaf = path.strip().split(".")
        if not equals or not leaf:
            raise UsageError(f"cannot read {assignment!r}; write it as path=value, such as recipe.lr=0.01")
        table = data
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UsageError(f"cannot set {path.strip()!r}: {parent!r} has no fields")
        table[leaf] = _value(text.strip())
    return data


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
