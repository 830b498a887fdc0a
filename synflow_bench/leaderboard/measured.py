"""Measured sizes and speeds of compact networks, as numbers of a board that are no part of a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synflow_bench.leaderboard.board import Board, BoardRow, Leaderboard, MeasuredPoint
from synflow_bench.leaderboard.formatting import factor
from synflow_bench.leaderboard.metric import Metric, Position

RUNTIMES = {"torch": "torch", "onnx": "onnxruntime"}
BATCHES = (1, 64)
"""The runtimes, by the names in headings, and the batch sizes that are measured."""

Place = tuple[str, str, float]
"""The id of a board, the label of a row and a compression."""


def with_measurements(
    leaderboard: Leaderboard,
    found: Mapping[Place, MeasuredPoint],
    lines: Mapping[str, Sequence[str]],
) -> Leaderboard:
    """Return a leaderboard with measured points.

    Args:
        leaderboard: The leaderboard.
        found: The measured points by their place.
        lines: What to say below a board, by its id.
    """
    boards = (
        replace(
            board,
            rows=tuple(_measured_row(board, row, found) for row in board.rows),
            measurement=tuple(lines.get(board.id, ())),
        )
        for board in leaderboard.boards
    )
    return replace(leaderboard, boards=tuple(boards))


def _measured_row(board: Board, row: BoardRow, found: Mapping[Place, MeasuredPoint]) -> BoardRow:
    points = (
        replace(point, measured=found.get((board.id, row.label, point.compression))) for point in row.points
    )
    return replace(row, points=tuple(points))


def _number(
    name: str, key: str, definition: str, legend: str, value: Callable[[MeasuredPoint], float | None]
) -> Metric:
    def of_board(at: Position) -> Any:
        return value(at.point.measured) if at.point.measured else None

    return Metric(
        name, definition, legend, key=key, table="measured", always=False, of_board=of_board, show=factor
    )


def _faster(runtime: str, batch: int) -> Metric:
    name = f"{runtime} {batch}"
    examples = "one example" if batch == 1 else f"{batch} examples"
    definition = (
        "Measured seconds of the whole network over those of the compact one, which has no dead units, for "
        f"{examples} at once in {RUNTIMES[runtime]} on one thread: medians of runs in turns. The networks "
        "have their initial weights, since the time does not depend on the values. 1 where no unit is dead: "
        "nothing is measured then. Only with --measure, on the machine that is named below the board."
    )
    legend = f"measured factor by which the compact network is faster in {RUNTIMES[runtime]}, for {examples}"
    return _number(name, f"measured_{runtime}_{batch}", definition, legend, lambda at: at.faster.get(name))


MEASURED: tuple[Metric, ...] = (
    _number(
        "file",
        "measured_file",
        "Bytes of the parameters and buffers of the whole network, as a safetensors file, over those of the "
        "compact one, which has no dead units. A dead unit is one from which no path of kept weights leads "
        "to the output. Only with --measure.",
        "measured factor by which the file of the compact network is smaller",
        lambda at: at.file,
    ),
    *(_faster(runtime, batch) for runtime in RUNTIMES for batch in BATCHES),
    Metric(
        "measured on",
        "The processor, the versions of the libraries and the day of the measured sizes and speeds.",
        key="measured_on",
        of_board=lambda at: at.point.measured and f"{at.point.measured.machine}, {at.point.measured.date}",
    ),
    Metric(
        "measured seeds",
        "The seeds whose networks were measured.",
        key="measured_seeds",
        of_board=lambda at: at.point.measured and ";".join(map(str, at.point.measured.seeds)),
    ),
)
