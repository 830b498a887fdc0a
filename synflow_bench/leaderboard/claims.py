"""Published numbers beside ours: which of them a board can be compared with, and what the interval says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from synflow_bench.leaderboard.board import MARGIN, Board, BoardRow, CurvePoint, Leaderboard
from synflow_bench.leaderboard.formatting import compression
from synflow_bench.leaderboard.published import PublishedNumber, published_numbers
from synflow_bench.leaderboard.statistics import Estimate, estimate, mean, t_quantile, variance, within

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synflow_bench.suites import Setting

Verdict = Literal["reproduced", "not reproduced", "undecided", "not comparable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
NEEDED = ("epochs", "optimizer", "lr", "batch_size", "weight_decay", "schedule")
"""The fields of a recipe that a source must state before its numbers are compared."""
ROUNDING = 0.01
"""The relative difference up to which two compressions are the same: published ones are rounded."""
_PROTOCOLS = {
    "after training": "finetune",
    "weight rewinding": "multishot",
    "learning-rate rewinding": "multishot",
}
"""Time of pruning -> the protocol that has it; all other times are those of pruners within one training."""
_NEEDED_OF_PROTOCOL = {
    "after training": ("epochs", "lr"),
    "weight rewinding": ("levels", "rewind"),
    "learning-rate rewinding": ("levels",),
}
"""Time of pruning -> the fields of its protocol that a source must state before its numbers are compared."""
_OF_WEIGHTS = (
    *("granularity", "scope", "only", "skip", "dense_classifier"),
    *("prune_bias", "prune_batchnorm", "prune_residual", "prune_embedding"),
)
"""The options that say which weights are removed: those of published numbers are the defaults."""
_NAMED = 3
"""The most differences that a reason names."""

SUSPECT = "the number is suspect"
NO_NETWORK = "no network here is known to equal it"
NO_PRUNER = "no pruner here is known to equal it"
UNSTATED = "not stated by the source"
NO_BOARD = "no board of this dataset and network"
DIFFERS = "the board's setting or rows differ"


@dataclass(frozen=True)
class Claim:
    """One published number with the verdict on it.

    Attributes:
        published: The number.
        verdict: The verdict.
        reason: The reason why the two cannot be compared, a kind and what it is in this case; or why an
            interval is missing; otherwise empty.
        board: The board that is comparable; None if there is none.
        row: The label of its row; empty if there is none.
        ours: Our accuracy with its interval.
        difference: Ours minus the published number, with its 95 % interval; None where there is no interval.
    """

    published: PublishedNumber
    verdict: Verdict
    reason: str = ""
    board: Board | None = None
    row: str = ""
    ours: Estimate | None = None
    difference: Estimate | None = None


@dataclass(frozen=True)
class ClaimChecks:
    """All published numbers with the verdicts on them.

    Attributes:
        claims: One claim per published number.
        margin: The difference, as a share, up to which a number counts as reproduced.

    Example:
        >>> from synflow_bench.leaderboard import build_leaderboard, check_claims
        >>> check_claims(build_leaderboard([])).counts["reproduced"]
        0
    """

    claims: tuple[Claim, ...]
    margin: float = MARGIN

    @property
    def counts(self) -> dict[Verdict, int]:
        """The number of claims with each verdict."""
        found = Counter(claim.verdict for claim in self.claims)
        return {verdict: found[verdict] for verdict in VERDICTS}

    @property
    def papers(self) -> tuple[str, ...]:
        """The short names of the papers."""
        return tuple(dict.fromkeys(claim.published.source.paper for claim in self.claims))

    @property
    def reasons(self) -> dict[str, int]:
        """The kinds of reasons why numbers are not comparable, with their numbers, the most common first."""
        kinds = (claim.reason.partition(":")[0] for claim in self.claims if claim.verdict == "not comparable")
        return dict(Counter(kinds).most_common())

    @property
    def compared(self) -> tuple[Claim, ...]:
        """The claims that a board can be compared with."""
        return tuple(claim for claim in self.claims if claim.verdict != "not comparable")


def check_claims(
    leaderboard: Leaderboard, numbers: Iterable[PublishedNumber] | None = None, *, margin: float | None = None
) -> ClaimChecks:
    """Compare published numbers with the boards of a leaderboard.

    A number is compared with a board of the same dataset, network, method, time of pruning and compression,
    whose recipe and protocol agree in every field that the source states. All other numbers are not
    comparable, with the reason. Boards on which a field of the recipe is tuned are compared with none, and
    neither are ablated rows. Of several rows, that of the board's own protocol is taken, then the one with
    the most seeds.

    Args:
        leaderboard: The leaderboard.
        numbers: The published numbers; by default all that come with synflow-bench.
        margin: The difference, as a share, up to which a number counts as reproduced; by default the margin
            of the boards.
    """
    if margin is None:
        margin = leaderboard.boards[0].margin if leaderboard.boards else MARGIN
    # The setting of a tuned board has one value of the tuned field, and its rows may have others.
    boards = tuple(board for board in leaderboard.boards if board.tuned is None)
    every = published_numbers() if numbers is None else numbers
    return ClaimChecks(tuple(_claim(number, boards, margin) for number in every), margin)


def _claim(number: PublishedNumber, boards: Sequence[Board], margin: float) -> Claim:
    if reason := _unusable(number, boards):
        return Claim(number, "not comparable", reason)
    near = [board for board in boards if _place(board.setting) == (number.dataset, number.model)]
    found = [each for board in near for each in _candidates(number, board)]
    comparable = [each for each in found if each.row and not each.differences]
    if not comparable:
        fewest = min((each.differences for each in found), key=len)
        return Claim(number, "not comparable", _joined(fewest))
    best = max(comparable, key=lambda each: (each.row == number.pruner, len(each.ours)))
    ours = best.ours
    difference = difference_from(number, ours)
    verdict = verdict_on(difference, margin)
    reason = "" if difference.low is not None else "one run of each: there is no interval"
    return Claim(number, verdict, reason, best.board, best.row, estimate(ours), difference)


def _unusable(number: PublishedNumber, boards: Sequence[Board]) -> str:
    """Return the reason why no board can be compared with a number, empty if some board may be."""
    if number.flaw:
        return f"{SUSPECT}: {number.flaw}"
    if not number.model:
        return f"{NO_NETWORK}: {number.reported_model}"
    if not number.pruner:
        return f"{NO_PRUNER}: {number.method}"
    unstated = [name.replace("_", " ") for name in NEEDED if name not in number.source.recipe]
    needed = _NEEDED_OF_PROTOCOL.get(number.protocol, ())
    protocol = _PROTOCOLS.get(number.protocol, "")
    unstated += [f"{protocol} {name}" for name in needed if name not in number.source.protocol]
    if number.source.metric == "test":
        unstated.append("the epoch of the accuracy")
    if unstated:
        return f"{UNSTATED}: {', '.join(unstated)}"
    if not any(_place(board.setting) == (number.dataset, number.model) for board in boards):
        return f"{NO_BOARD}: {number.dataset} / {number.model}"
    return ""


def _place(setting: Setting) -> tuple[str, str]:
    return setting.dataset_label, setting.model.name


@dataclass(frozen=True)
class _Candidate:
    """A row of a board that may be compared with a number: our accuracies there, and what differs."""

    board: Board
    row: str
    ours: list[float]
    differences: list[str]


def _candidates(number: PublishedNumber, board: Board) -> Iterator[_Candidate]:
    """Yield the rows of a board that may be compared with a number; one without a label if it has none."""
    rows = [row for row in board.rows if _has_method(row, number)]
    if not rows:
        differing = [*_differences(number, board.setting), f"the board has no row {number.pruner}"]
        yield _Candidate(board, "", [], differing)
    for row in rows:
        point = _nearest(row, number.compression)
        if point is None:
            differing = _differences(number, board.setting)
            wanted = compression(number.compression)
            yield _Candidate(board, row.label, [], [*differing, f"the row has no compression {wanted}"])
            continue
        differing = _differences(number, point.results[0].cell.setting if point.results else board.setting)
        ours = _values(number, point)
        yield _Candidate(
            board, row.label, ours, differing if ours else [*differing, "no cell of ours has finished"]
        )


def _has_method(row: BoardRow, number: PublishedNumber) -> bool:
    """Return True if a row has the method of a number; at compression 1 each has the dense network."""
    if row.ablation != "none":
        return False
    return row.label.partition("@")[0] == number.pruner or (row.is_dense and number.compression == 1)


def _nearest(row: BoardRow, wanted: float) -> CurvePoint | None:
    near = [point for point in row.points if math.isclose(point.compression, wanted, rel_tol=ROUNDING)]
    return min(near, key=lambda point: abs(point.compression - wanted), default=None)


def _differences(number: PublishedNumber, setting: Setting) -> list[str]:
    """Return in words what differs between the setting of a number and one of ours."""
    found = [*_differences_of_protocol(number, setting)]
    for name, theirs in number.source.recipe.items():
        value = getattr(setting.recipe, name)
        if not _equal(theirs, value):
            found.append(f"{name.replace('_', ' ')} {_shown(theirs)} there, {_shown(value)} here")
    options = setting.pruning
    found += [
        f"{name.replace('_', ' ')} {_shown(theirs)} there, {_shown(ours)} here"
        for name in _OF_WEIGHTS
        if (ours := getattr(options, name)) != (theirs := type(options).model_fields[name].default)
    ]
    if setting.model.options:
        found.append("the network here has options")
    return found


def _differences_of_protocol(number: PublishedNumber, setting: Setting) -> Iterator[str]:
    """Yield in words what differs between the protocols: the time of pruning, then every field.

    A training before a pruning is one of the whole recipe where the source does not state another.
    """
    protocol, recipe = setting.protocol, setting.recipe
    if not _has_time(number.protocol, setting):
        yield f"pruned {number.protocol} there, {protocol.summary(recipe.epochs)} here"
        return
    ours: dict[str, object] = {}
    if protocol.name == "finetune":
        last = protocol.last_recipe(recipe)
        ours = {"epochs": last.epochs, "lr": last.lr}
    elif protocol.name == "multishot":
        before = protocol.pre_epochs or recipe.epochs
        ours = {"levels": protocol.levels, "rewind": protocol.rewind, "pre_epochs": before}
    stated = {"rewind": "lr", "pre_epochs": recipe.epochs, **number.source.protocol}
    for name, value in ours.items():
        if not _equal(theirs := stated.get(name), value):
            words = f"{protocol.name} {name.replace('_', ' ')}"
            yield f"{words} {_shown(theirs)} there, {_shown(value)} here"


def _equal(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other)
    return one == other


def _has_time(time: str, setting: Setting) -> bool:
    """Return True if a protocol of ours prunes at the time that a number was published for."""
    protocol = setting.protocol
    if protocol.name != _PROTOCOLS.get(time, "singleshot"):
        return False
    if protocol.name == "multishot":
        return (protocol.rewind == "lr") == (time == "learning-rate rewinding")
    return protocol.name != "singleshot" or protocol.pre_epochs == 0


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _joined(differences: Sequence[str]) -> str:
    more = len(differences) - _NAMED
    shown = [*differences[:_NAMED], *([f"{more} more"] if more > 0 else [])]
    return f"{DIFFERS}: {'; '.join(shown)}"


def _values(number: PublishedNumber, point: CurvePoint) -> list[float]:
    """Return our accuracies of the epoch that the number is of, one per finished seed."""
    if number.source.metric == "final_test":
        return list(point.top1.values())
    done = [result.metrics for result in point.results if result.status == "ok" and result.metrics]
    return [metrics.max_test_top1 for metrics in done]


def difference_from(number: PublishedNumber, ours: Sequence[float]) -> Estimate:
    """Return our mean minus a published number, with a 95 % interval over the runs of both.

    The interval is Welch's: the variances of the two means are added, and the degrees of freedom are those of
    Welch and Satterthwaite, rounded down. Where one side has no spread, the other side's holds for it. A
    number of unstated runs counts as one run. With one run on each side there is no interval.

    Args:
        number: The published number.
        ours: Our accuracies, one per seed; at least one.

    Example:
        >>> from synflow_bench.leaderboard import published_numbers
        >>> number = published_numbers()[0]
        >>> difference_from(number, number.runs).mean
        0.0
    """
    middle = mean(ours) - number.top1
    n, runs = len(ours), number.seeds or 1
    own = variance(ours) if n > 1 else None
    theirs = _variance_of(number, runs)
    if own is None and theirs is None:
        return Estimate(middle, None, n)
    if own is None or theirs is None:
        shared = own if theirs is None else theirs
        square, degrees = (shared or 0.0) * (1 / n + 1 / runs), float((n if theirs is None else runs) - 1)
    else:
        parts = ((own / n, n - 1), (theirs / runs, max(runs - 1, 1)))
        square = sum(part for part, _ in parts)
        weight = sum(part**2 / degree for part, degree in parts)
        degrees = square**2 / weight if weight else float(n - 1)
    half_width = t_quantile(max(1, math.floor(degrees + 1e-9))) * math.sqrt(square)
    return within(middle, half_width, n, "t95", least=-1.0)


def _variance_of(number: PublishedNumber, runs: int) -> float | None:
    """Return the variance of one published run; None where no spread, or no kind of spread, is stated."""
    kind = number.source.spread
    if number.spread is None or kind not in ("sd", "se") or (kind == "sd" and runs == 1):
        return None
    return number.spread**2 * (runs if kind == "se" else 1)


def verdict_on(difference: Estimate, margin: float) -> Verdict:
    """Return the verdict on a number from our difference to it.

    A number is reproduced if the whole interval lies within the margin, not reproduced if the whole interval
    lies outside of it, and undecided otherwise, or without an interval.

    Example:
        >>> from synflow_bench.leaderboard import Estimate
        >>> verdict_on(Estimate(-0.02, 0.005, 3, -0.025, -0.015), 0.01)
        'not reproduced'
    """
    if difference.low is None or difference.high is None:
        return "undecided"
    if -margin <= difference.low and difference.high <= margin:
        return "reproduced"
    return "not reproduced" if difference.low > margin or difference.high < -margin else "undecided"
