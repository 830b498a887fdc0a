"""Recorded cells as a sequence, a table, a data frame or a leaderboard, with masks and weights.

Nothing here imports torch before masks or weights are asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synflow_bench.arguments import read_argument
from synflow_bench.data import default_data_root
from synflow_bench.errors import RecordError, UsageError
from synflow_bench.host import Host, PluginClass, PluginFile
from synflow_bench.records import Metrics, Record, Result, Store, Timing
from synflow_bench.suites import Tuning, read_tuning

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

    from synflow_bench.execution import Summary
    from synflow_bench.leaderboard import Leaderboard
    from synflow_bench.pruning import Masks
    from synflow_bench.recovery import Recovered


class Results(Sequence[Result]):
    """Recorded cells, in a fixed order.

    Attributes:
        path: The results folder.
        summary: The counts of the run, and whether it ended early; None if the results were loaded.
        unreadable: One line per record that cannot be read, or that a run should have left and did not.
        skipped: The datasets that were missing, each with the reason; their cells have no records.
        tuning: The field of the recipe that the run tunes for every pruner; None for one recipe for all.
    """

    def __init__(
        self,
        path: Path,
        results: Iterable[Result],
        summary: Summary | None = None,
        unreadable: Sequence[str] = (),
        skipped: Mapping[str, str] | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        self.path = path
        self.summary = summary
        self.unreadable = tuple(unreadable)
        self.skipped = dict(skipped or {})
        self.tuning = tuning
        self._results = tuple(results)

    def __len__(self) -> int:
        return len(self._results)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            return self._results[index]
        kept = self._results[index]
        return Results(self.path, kept, self.summary, self.unreadable, self.skipped, self.tuning)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        skipped = f", dataset missing: {', '.join(self.skipped)}" if self.skipped else ""
        return f"<Results: {len(self)} cells{failed}{skipped} in {str(self.path)!r}>"

    @property
    def failed(self) -> tuple[Result, ...]:
        """The recorded cells that did not succeed, with the reason in `result.error`.

        Cells whose dataset was missing from the start have no record; `skipped` names their datasets.
        """
        return tuple(result for result in self if result.error and not result.error.not_defined)

    @property
    def not_defined(self) -> tuple[Result, ...]:
        """The recorded cells whose method is not defined for their network and compression."""
        return tuple(result for result in self if result.error and result.error.not_defined)

    def records(self) -> list[Record]:
        """Read the full records: layers, curves and provenance too.

        Raises:
            RecordError: If a record cannot be read.
        """
        store = Store(self.path)
        return [record for result in self if (record := store.get(result.cell))]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return one row per cell: the cell, its metrics and its timing.

        Accuracies are shares from 0 to 1, times are in seconds, and costs in dense trainings. A value that a
        cell lacks is None.
        """
        return [_row(result) for result in self]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the rows of `to_dicts` as a data frame.

        Raises:
            UsageError: If pandas is not installed.
        """
        from synflow_bench.leaderboard.data_formats import dataframe

        frame = dataframe(self.to_dicts())
        return frame if len(self) else frame.reindex(columns=list(_COLUMNS))

    def masks(
        self,
        key: str | Result | Record,
        *,
        again: bool = False,
        plugins: str | Path | type | Iterable[str | Path | type] = (),
        data: str | Path | None = None,
        device: str | None = None,
    ) -> Masks:
        """Return the masks of a cell: kept ones, or those of its pruning, which is run again.

        A pruning at initialization is run without training. If the masks are not the recorded ones, because
        of another machine or other versions, a warning says so, and how many weights differ where that can be
        known.

        Args:
            key: The key of a record or its first characters, or one of these results.
            again: Run again even if the masks were kept, and compare with the kept ones.
            plugins: Python files that are plugins, and pruner classes.
            data: The data folder; by default as in `run`. Methods that look at no data need none.
            device: A device; by default the CPU for records that were made on one, else the best one.

        Raises:
            RecordError: If there is no such record, its cell has failed, or a plugin that made it has
                changed.
            UsageError: If a plugin that made it is not installed.
            DataMissingError: If the dataset is needed and not there.

        Example:
            >>> import synflow_bench as sfb
            >>> results = sfb.load_results("results")  # doctest: +SKIP
            >>> results.masks(results[0]).save("masks.safetensors")  # doctest: +SKIP
        """
        return self._recover(key, again, plugins, data, device, weights=False).masks

    def weights(
        self,
        key: str | Result | Record,
        *,
        again: bool = False,
        plugins: str | Path | type | Iterable[str | Path | type] = (),
        data: str | Path | None = None,
        device: str | None = None,
    ) -> dict[str, Tensor]:
        """Return the trained weights of a cell: kept ones, or those of the whole cell, which is run again.

        Args:
            key: As for `masks`, like all other arguments.

        Returns:
            Parameters and buffers by name, for `load_state_dict`. Removed weights are zero; a unit with
            weight norm that has lost all of its weights has size 0 and a direction of ones.

        Raises:
            HandledError: As `masks`.
        """
        return dict(self._recover(key, again, plugins, data, device, weights=True).weights or {})

    def _recover(
        self,
        key: Any,
        again: bool,
        plugins: Any,
        data: str | Path | None,
        device: str | None,
        *,
        weights: bool,
    ) -> Recovered:
        from synflow_bench.recovery import Recovery

        given = list(plugins) if isinstance(plugins, Iterable) and not isinstance(plugins, str) else [plugins]
        classes = [PluginClass.of(each) for each in given if isinstance(each, type)]
        paths = [each for each in given if not isinstance(each, type)]
        files = [PluginFile.read(path) for path in (read_argument("plugins", paths) if paths else ())]
        host = Host.load(files=[*files, *classes])
        store, root = Store(self.path), default_data_root() if data is None else Path(data)
        name = key if isinstance(key, str) else getattr(key, "key", None)
        if not isinstance(name, str):
            raise UsageError(
                f"key is a {type(key).__name__}; give the key of a record, or one of the results"
            )
        recovery = Recovery(host, store, root, device)
        found = recovery.recover(store.find(name), weights=weights, again=again)
        if found.difference:
            warnings.warn(found.difference, stacklevel=3)
        return found

    def leaderboard(
        self,
        baseline: str | None = None,
        *,
        margin: float = 0.01,
        tune: str | Mapping[str, Sequence[float]] | None = None,
    ) -> Leaderboard:
        """Aggregate the cells over their seeds; settings that differ only in their protocol share a board.

        Args:
            baseline: The row that all others are compared with, paired by seed; by default none.
            margin: The difference of accuracies, as a share, up to which rows count as equivalent.
            tune: Settings that differ only in this field, such as `"lr=0.001|0.01"`, share a board, on which
                every pruner has its best value by validation accuracy; by default as the run was tuned,
                unless it ended with cells of one value alone.

        Raises:
            RecordError: If no cell has succeeded.
            UnknownNameError: If no row is called `baseline`.
            UsageError: If `baseline` is not a name, or nothing can be tuned.
        """
        from synflow_bench.leaderboard import build_leaderboard
        from synflow_bench.leaderboard.tuning import can_tune

        baseline = read_argument("baseline", baseline)
        if not any(result.status == "ok" for result in self):
            reason = "; ".join(self.skipped.values()) or "`failed` has the errors"
            raise RecordError(f"no cell in {str(self.path)!r} has succeeded; {reason}")
        tuning = self.tuning if tune is None else read_tuning(tune)
        if tune is None and tuning and not can_tune(self._results, tuning):
            tuning = None
        return build_leaderboard(self._results, baseline=baseline, margin=margin, tuning=tuning)


def load_results(path: str | Path = "results") -> Results:
    """Load every record of a results folder.

    Args:
        path: The results folder of `run` or of `synflow-bench run --results`.

    Returns:
        The results. A record that cannot be read is left out with a warning; `unreadable` has the reason.

    Raises:
        RecordError: If the folder does not exist, or has no records.
        UsageError: If `path` is not a path.

    Example:
        >>> import synflow_bench as sfb
        >>> results = sfb.load_results("leaderboard/smoke/results")  # doctest: +SKIP
        >>> results.leaderboard(baseline="random").to_markdown()  # doctest: +SKIP
    """
    folder = read_argument("path", path)
    if folder.is_file():
        raise RecordError(
            f"{str(folder)!r} is a file; `synflow-bench results import` unpacks an archive into a folder"
        )
    if not folder.is_dir():
        raise RecordError(f"no results folder {str(folder)!r}; `synflow_bench.run(results=...)` creates one")
    unreadable: list[str] = []
    found = Store(folder).results(unreadable)
    if not found and not unreadable:
        raise RecordError(f"no records in {str(folder)!r}; give the folder that a run has written")
    for line in unreadable:
        warnings.warn(f"{line}; it is left out", stacklevel=2)
    return Results(folder, found, unreadable=unreadable)


_CELL_COLUMNS = (
    *("key", "status", "dataset", "model", "protocol", "setting"),
    *("pruner", "ablation", "target_compression", "seed"),
)
_COLUMNS = (*_CELL_COLUMNS, *Metrics.model_fields, "cost", *Timing.model_fields, "error")


def _row(result: Result) -> dict[str, Any]:
    cell, setting = result.cell, result.cell.setting
    place = (setting.dataset_label, setting.model.name, setting.protocol.label, setting.id)
    values = (result.key, result.status, *place, cell.row, cell.ablation, cell.compression, cell.seed)
    return {
        **dict.fromkeys(_COLUMNS),
        **dict(zip(_CELL_COLUMNS, values, strict=True)),
        **(result.metrics.model_dump() if result.metrics else {}),
        "cost": result.cost.total if result.cost else None,
        **(result.timing.model_dump() if result.timing else {}),
        "error": str(result.error) if result.error else None,
    }
