"""Boards for programs: dictionaries, CSV and JSON in full precision; and raw records as Parquet.

Accuracies and AUCs are shares in [0, 1].
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from synflow_bench.errors import UsageError, without_formula
from synflow_bench.leaderboard.board import Board, BoardRow, CurvePoint, Leaderboard, OverallRow
from synflow_bench.leaderboard.definitions import BOARD_METRICS, GLOSSARY, METRICS, RECORD_METRICS
from synflow_bench.leaderboard.describe import describe_setting
from synflow_bench.leaderboard.metric import Position
from synflow_bench.leaderboard.published import PublishedTable
from synflow_bench.records import Record

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

_NAMES = ("setting", "dataset", "model", "row", "pruner", "ablation", "revision", "compression")
_OVERALL = (
    *METRICS["overall rank"].columns,
    "overall_interquartile_mean",
    "overall_first_improves",
)
_PUBLISHED = ("published_top1_mean", "published_top1_t95_half_width", "citation")
_METRIC_COLUMNS = [column for metric in BOARD_METRICS for column in metric.columns]
COLUMNS = (
    *_NAMES,
    "seeds",
    *_METRIC_COLUMNS,
    *_OVERALL,
    "preliminary",
    "baseline",
    "records",
    "digest",
    "metric",
    *_PUBLISHED,
)
SEED_COLUMNS = (*_NAMES, "seed", "status", *(metric.key for metric in RECORD_METRICS), "key")


def to_dicts(leaderboard: Leaderboard) -> list[dict[str, Any]]:
    """Return one dictionary per row and compression, with the keys `COLUMNS`; missing numbers are None.

    Ablated rows are included. Published accuracies follow, with their metric and citation.
    """
    lines = [_line(leaderboard, *place) for place in _places(leaderboard)]
    lines += [line for table in leaderboard.published for line in _published(table)]
    return [dict.fromkeys(COLUMNS) | line for line in lines]


def seed_dicts(leaderboard: Leaderboard) -> list[dict[str, Any]]:
    """Return one dictionary per record, with the keys `SEED_COLUMNS`; missing numbers are None."""
    return [
        {
            **_names(board, row, point),
            "seed": result.cell.seed,
            "status": result.status,
            **{each.key: each.of_record(result) for each in RECORD_METRICS if each.of_record},
            "key": result.key,
        }
        for board, row, point in _places(leaderboard)
        for result in point.results
    ]


def render_csv(leaderboard: Leaderboard) -> str:
    """Return all boards in one table with a header line; a missing number is empty."""
    return csv_text(COLUMNS, to_dicts(leaderboard))


def render_csv_per_seed(leaderboard: Leaderboard) -> str:
    """Return all records of the boards in one table with a header line; a missing number is empty."""
    return csv_text(SEED_COLUMNS, seed_dicts(leaderboard))


def csv_text(columns: Iterable[str], lines: Iterable[dict[str, Any]]) -> str:
    """Return lines with a header as CSV; a missing number is empty."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(columns), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({name: _csv_value(value) for name, value in line.items()})
    return sink.getvalue()


def _csv_value(value: Any) -> Any:
    """Return a value of a CSV; a spreadsheet would run text that begins like a formula."""
    if isinstance(value, bool):
        return str(value).lower()
    return without_formula(value) if isinstance(value, str) else value


def _places(leaderboard: Leaderboard) -> Iterator[tuple[Board, BoardRow, CurvePoint]]:
    for board in leaderboard.boards:
        for row in (*board.rows, *board.ablated):
            yield from ((board, row, point) for point in row.points)


def _names(board: Board, row: BoardRow, point: CurvePoint) -> dict[str, Any]:
    setting = board.setting
    names = (
        board.id,
        setting.dataset_label,
        setting.model.name,
        row.label,
        row.pruner,
        row.ablation,
        row.revision,
    )
    return dict(zip(_NAMES, (*names, point.compression), strict=True))


def _line(leaderboard: Leaderboard, board: Board, row: BoardRow, point: CurvePoint) -> dict[str, Any]:
    rank = leaderboard.overall.of(row.label) if leaderboard.overall else None
    return {
        **_names(board, row, point),
        "seeds": ";".join(map(str, point.top1)),
        **{
            column: value
            for each in BOARD_METRICS
            for column, value in each.values(Position(board, row, point))
        },
        **(dict(zip(_OVERALL, _overall(rank), strict=True)) if rank else {}),
        "preliminary": board.is_preliminary,
        "baseline": board.baseline,
        "records": board.records,
        "digest": board.digest,
        "metric": "final_epoch",
    }


def _overall(row: OverallRow) -> tuple[float | None, ...]:
    improves = row.first_improves.value if row.first_improves else None
    return row.mean, row.low, row.high, row.interquartile_mean.value, improves


def _published(table: PublishedTable) -> Iterator[dict[str, Any]]:
    for row in table.rows:
        for compression, accuracy in row.accuracy.items():
            numbers = (accuracy.mean, accuracy.half_width, table.citation)
            yield {
                "dataset": table.dataset,
                "model": table.model,
                "metric": table.metric,
                "row": row.label,
                "pruner": row.pruner,
                "compression": compression,
                "n": accuracy.n,
                **dict(zip(_PUBLISHED, numbers, strict=True)),
            }


def render_json(leaderboard: Leaderboard) -> str:
    """Return a list of boards, complete: every seed's accuracy, every reason, and what the terms mean.

    Where published tables were requested it is an object with `boards` and `published`.
    """
    boards: Any = [_board(board, leaderboard) for board in leaderboard.boards]
    whole = {"boards": boards, "published": leaderboard.published} if leaderboard.published else boards
    return json.dumps(whole, indent=1, ensure_ascii=False, default=_plain) + "\n"


def _board(board: Board, leaderboard: Leaderboard) -> dict[str, Any]:
    overall = leaderboard.overall
    return {
        **_plain(board),
        "rows": [
            {**_plain(row), "overall_rank": overall.of(row.label) if overall else None} for row in board.rows
        ],
        "preliminary": board.is_preliminary,
        "overall_test": (overall.test or overall.untested) if overall else None,
        "summary": describe_setting(board.setting),
        "definitions": {term.name: term.legend for term in GLOSSARY if term.legend},
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return {field.name: getattr(value, field.name) for field in fields(value) if field.name != "results"}


def render_parquet(records: Iterable[Record]) -> bytes:
    """Return raw records as a Parquet file, one row per record.

    Columns are the record's fields, parts dotted (`metrics.test_top1`), lists nested. Mappings, and fields
    without a type of their own in Arrow, are JSON text.

    Raises:
        UsageError: pyarrow is missing.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError(
            "parquet needs pyarrow; install it with: pip install 'synflow-bench[parquet]'"
        ) from error
    kind = _struct(Record)
    rows = (record.model_dump(mode="json", by_alias=True) for record in records)
    column = pa.array([_shaped(kind, row) for row in rows], kind)
    table = pa.Table.from_struct_array(column)
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _struct(model: type[BaseModel]) -> pa.StructType:
    import pyarrow as pa

    fields_of = model.model_fields.items()
    return pa.struct([pa.field(field.alias or name, _type(field.annotation)) for name, field in fields_of])


def _type(annotation: Any) -> pa.DataType:
    """Return the Arrow type of a field; text, which holds JSON, for fields that have none."""
    import pyarrow as pa

    plain = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    arguments = [each for each in get_args(annotation) if each is not NoneType]
    origin = get_origin(annotation)
    if origin is Annotated or (origin in {Union, UnionType} and len(arguments) == 1):
        return _type(arguments[0])
    if origin is tuple:
        return pa.list_(_type(arguments[0]))
    if origin is Literal and {type(each) for each in arguments} == {int}:
        return pa.int64()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation)
    return plain.get(annotation, pa.string())


def _shaped(kind: pa.DataType, value: Any) -> Any:
    """Return `value` in the shape of the Arrow type `kind`."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _shaped(field.type, value.get(field.name)) for field in kind}
    if pa.types.is_list(kind):
        return [_shaped(kind.value_type, each) for each in value]
    if isinstance(value, str) or not pa.types.is_string(kind):
        return value
    return json.dumps(value, sort_keys=True)


def dataframe(rows: list[dict[str, Any]]) -> pandas.DataFrame:
    """Return rows with equal keys as a data frame.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UsageError("data frames need pandas; `pip install pandas`, or use to_dicts()") from error
    return pandas.DataFrame(rows)
