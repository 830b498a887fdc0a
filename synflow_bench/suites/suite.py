"""Suites: named lists of settings, compressions and seeds, read from TOML and expanded to cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from synflow_bench.errors import SuiteError, UsageError, did_you_mean
from synflow_bench.suites.cell import Ablation, Cell, Revisions, compression_of_sparsity, dense_cell
from synflow_bench.suites.rows import PrunerRow
from synflow_bench.suites.setting import Setting
from synflow_bench.suites.spec import PrunerSpec, expand_pruners
from synflow_bench.suites.tuning import TuningText
from synflow_bench.suites.values import NUMBER, Count, Name, Value, canonical
from synflow_bench.toml import read_toml

M = TypeVar("M", bound=BaseModel)

MOST_REPETITIONS = 10_000
"""A larger number of seeds is a seed by mistake."""

RevisionsOf = Callable[[Setting, PrunerSpec | None], Revisions]
"""The revisions of a setting's cells with a pruner, or of the unpruned network with None."""


class Suite(Value):
    """Every setting at every compression and seed.

    `sparsities = [0.9, 0.99]` may be given in place of `compressions = [10, 100]`. `seeds` is a list of
    repetitions, or their number. `pruners` is empty if the run chooses them; then every installed one takes
    part. A parameter of a pruner with several values stands for one pruner per value. A pruner may have a
    protocol of its own, such as `magnitude@multishot[levels=3]`; the others have that of the setting.
    `tune = { lr = [0.001, 0.01] }` runs every setting with each of these learning rates; its board has for
    every pruner the one with the highest validation accuracy.

    Example:
        >>> setting = {"dataset": "digits", "model": "fc", "recipe": {"epochs": 6}}
        >>> suite = Suite(name="mine", sparsities=[0, 0.9], seeds=3, settings=[setting])
        >>> suite.compressions, suite.seeds
        ((1.0, 10.0), (0, 1, 2))
    """

    name: Name
    description: str = ""
    compressions: Annotated[
        tuple[Annotated[float, Field(ge=1, strict=True), NUMBER], ...], Field(min_length=1)
    ]
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)]
    pruners: tuple[PrunerRow, ...] = ()
    ablations: Annotated[tuple[Ablation, ...], Field(min_length=1)] = ("none",)
    settings: Annotated[tuple[Setting, ...], Field(min_length=1)]
    tune: TuningText | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_sparsities(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "sparsities" not in value:
            return value
        if "compressions" in value:
            raise ValueError("both compressions and sparsities are given; leave out one of them")
        given = value["sparsities"]
        try:
            compressions = [compression_of_sparsity(sparsity) for sparsity in given]
        except UsageError as error:
            raise ValueError(f"sparsities: {error}") from error
        except TypeError as error:
            raise ValueError(f"sparsities: {given!r} is no list of numbers; write [0.9, 0.99]") from error
        return {name: field for name, field in value.items() if name != "sparsities"} | {
            "compressions": compressions
        }

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_or_list(cls, value: Any) -> Any:
        if not isinstance(value, Integral) or isinstance(value, bool):
            return value
        if int(value) > MOST_REPETITIONS:
            raise ValueError(
                f"{value} repetitions are more than {MOST_REPETITIONS}; for that one seed write [{value}]"
            )
        if value < 1:
            raise ValueError(f"{value} repetitions are none; 1 is seed 0 alone")
        return range(int(value))

    @field_validator("pruners", mode="before")
    @classmethod
    def _sweeps(cls, value: Any) -> Any:
        return expand_pruners(value)

    @field_validator("compressions", "seeds", "ablations")
    @classmethod
    def _once_each(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(values))

    @model_validator(mode="after")
    def _granularity_allows_compressions(self) -> Self:
        for setting in self.settings:
            for compression in self.compressions:
                if compression != 1:  # the dense network
                    setting.pruning.exact_compression(compression)
        return self

    @model_validator(mode="after")
    def _can_tune(self) -> Self:
        for setting in self.settings if self.tune else ():
            self.candidates(setting)
        return self

    def candidates(self, setting: Setting) -> tuple[Setting, ...]:
        """Return the settings that are run for one of the suite: one per value that is tuned."""
        return self.tune.candidates(setting) if self.tune else (setting,)

    @model_validator(mode="after")
    def _can_shuffle(self) -> Self:
        protocols = [setting.protocol for setting in self.settings]
        protocols += [row.protocol for row in self.pruners if row.protocol]
        if "shuffle" in self.ablations and any(p.levels > 1 and p.step is None for p in protocols):
            raise ValueError(
                "ablation 'shuffle' needs weights everywhere, and with rewind 'lr' none are left where "
                "earlier levels pruned; leave it out, or rewind to 'init' or to a step"
            )
        return self


def load_suite(path: Path) -> Suite:
    """Read a suite from a TOML file; its name is that of the file unless it says another.

    Raises:
        SuiteError: The file cannot be read, or is not valid; the message lists every problem with its place.
    """
    try:
        data = read_toml(path)
    except FileNotFoundError:
        raise SuiteError(
            f"no suite file {str(path)!r}; `synflow-bench list suites` names the installed ones"
        ) from None
    except (OSError, ValueError) as error:
        raise SuiteError(f"cannot read suite {str(path)!r}: {error}") from error
    return validate(Suite, {"name": path.stem.lower(), **data}, f"suite {str(path)!r}")


def validate(model: type[M], data: Any, what: str) -> M:
    """Validate `data` as a `model`.

    Args:
        model: A class such as `Suite`, `Setting` or `PrunerSpec`.
        data: The value, such as a dictionary.
        what: The name of the value in error messages.

    Raises:
        SuiteError: The value is not valid; the message lists every problem with its place.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SuiteError(f"{what}: {validation_message(error, model)}") from error


def validation_message(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Write all problems of a validation in one line: `settings[0].recipe.lr: must be ...; ...`.

    Args:
        error: The problems.
        model: The class that was validated, for suggestions in place of fields that it does not have.
    """
    found = error.errors(include_url=False)
    problems = [each for each in found if not _follows(each, found)]
    suggestions = [_suggestion(each, model) for each in problems]
    parts = []
    for number, (each, suggestion) in enumerate(zip(problems, suggestions, strict=True)):
        is_new = not suggestion.startswith("; known: ") or suggestion not in suggestions[:number]
        parts.append(_place(each["loc"]) + _message(each) + (suggestion if is_new else ""))
    return "; ".join(parts)


def _suggestion(problem: Any, model: type[BaseModel] | None) -> str:
    """Return the fields that may be meant by one that does not exist."""
    if problem["type"] != "extra_forbidden" or model is None:
        return ""
    *parents, name = problem["loc"]
    kinds: list[type[BaseModel]] = [model]
    for part in parents:
        fields = [kind.model_fields[part] for kind in kinds if part in kind.model_fields]
        inner = [kind for field in fields for kind in _models_in(field.annotation)]
        kinds = inner or [kind for kind in kinds if _is_named(kind, part)] or kinds
    return f"; {did_you_mean(str(name), {field for kind in kinds for field in kind.model_fields})}"


def _is_named(kind: type[BaseModel], name: int | str) -> bool:
    """Return True for the class of a union whose objects have this `name`."""
    return "name" in kind.model_fields and kind.model_fields["name"].default == name


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _models_in(part)]


def _follows(problem: Any, found: Sequence[Any]) -> bool:
    """Return True if a list is called too short only because its invalid items do not count."""
    place = problem["loc"]
    return problem["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in found
    )


def _place(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{text.lstrip('.')}: " if text else ""


def _message(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "no such field"
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = problem["input"]
    if problem["type"] == "protocol" and isinstance(given, dict):
        given = given.get("name")
    names_it = problem["type"] == "value_error" or isinstance(given, dict)
    return message if names_it else f"{message} (given {given!r})"


def expand(suite: Suite, pruners: Sequence[PrunerSpec], revisions: RevisionsOf) -> list[Cell]:
    """Expand a suite to its cells, each once, the unpruned network of every setting and seed among them.

    At compression 1 every pruner keeps everything, so those cells are the dense one. Seeds come before
    compressions and before the values of a tuned field: a run that is interrupted has compared all pruners,
    with all values, on the seeds that it reached. A pruner with a protocol of its own has cells of the
    setting with that protocol.

    Args:
        suite: The suite; its own list of pruners is not used.
        pruners: The resolved pruners of the run.
        revisions: Gives the revisions of the cells of a setting with a pruner.

    Raises:
        SuiteError: The setting does not allow the protocol of a pruner.
    """
    rows = [PrunerRow.model_validate(pruner) for pruner in pruners]
    cells: list[Cell] = []
    expanded: set[str] = set()
    for setting in suite.settings:
        candidates = {each.id: each for each in suite.candidates(setting) if each.id not in expanded}
        expanded |= candidates.keys()
        by_seed = [_cells_by_seed(suite, each, rows, revisions) for each in candidates.values()]
        cells += [cell for of_seed in zip(*by_seed, strict=True) for part in of_seed for cell in part]
    return cells


def _cells_by_seed(
    suite: Suite, setting: Setting, rows: Sequence[PrunerRow], revisions: RevisionsOf
) -> Iterator[list[Cell]]:
    dense = revisions(setting, None)
    per_row = {
        (of.digest, canonical(row.pruner.identity)): (of, row.pruner, revisions(setting, row))
        for row in rows
        for of in [_setting_of(row, setting)]
    }.values()
    given = [compression for compression in suite.compressions if compression != 1]
    compressions = list(dict.fromkeys(map(setting.pruning.exact_compression, given)))
    for seed in suite.seeds:
        yield [
            dense_cell(setting, seed, dense),
            *(
                # Not validated again: the parts are valid, and there may be thousands of cells.
                Cell.model_construct(
                    setting=of,
                    pruner=pruner,
                    compression=compression,
                    seed=seed,
                    ablation=ablation,
                    revisions=revision,
                )
                for compression in compressions
                for ablation in suite.ablations
                for of, pruner, revision in per_row
            ),
        ]


def _setting_of(row: PrunerRow, setting: Setting) -> Setting:
    """Return the setting of the cells of a row: with its protocol, if it has one."""
    if row.protocol is None or row.protocol == setting.protocol:
        return setting
    fields = setting.model_dump(mode="json", exclude_unset=True)
    own = row.protocol.model_dump(mode="json", exclude_unset=True) | {"name": row.protocol.name}
    return validate(Setting, {**fields, "protocol": own}, f"pruner {row.label or row.name!r}")
