"""Sentences about a board: how its networks were trained, which seeds it has, what is missing."""

from __future__ import annotations

from collections.abc import Iterator

from synflow_bench.errors import count
from synflow_bench.leaderboard.board import (
    RANKED_COMPRESSIONS,
    RANKED_SEEDS,
    Board,
    Leaderboard,
    OverallRanking,
)
from synflow_bench.leaderboard.costs import budget_sentence
from synflow_bench.leaderboard.formatting import (
    BEST,
    CHANCE,
    EQUIVALENT,
    UNDECIDED,
    compression,
    compressions,
)
from synflow_bench.records import printable
from synflow_bench.suites import PruningOptions, Recipe, Setting

_NAMED = 3
"""The most rows that a note names; of more it gives the number."""
_ENOUGH_SETTINGS = 10
"""The fewest settings whose bootstrap intervals cover about as often as they state."""
_COVERAGE = {2: "53 to 72", 3: "75 to 86", 6: "89 to 92"}
"""Settings -> how often of 100 such an interval holds (`benchmarks/null_boards.py`)."""


def facts(board: Board) -> list[str]:
    """Return the lines under a board's heading."""
    numbers = ", ".join(map(str, board.seeds))
    seeds = f"{count(len(board.seeds), 'seed')} ({numbers})" if board.seeds else "no finished cell"
    baseline = [f"baseline: {board.baseline}"] if board.baseline else []
    described = describe_setting(board.setting, board.tuned.tuning.field if board.tuned else "")
    lines = [described, f"{seeds}; setting {board.id}", *baseline, *tuning(board)]
    return [*lines, *preliminary(board)]


def tuning(board: Board) -> Iterator[str]:
    """Yield the lines on what was tuned, and on its cost."""
    if board.tuned:
        yield from board.tuned.lines
        dense = (f"{row.tuned:g}" for row in board.rows if row.is_dense)
        yield from (f"dense network: {board.tuned.tuning.field} {value}" for value in dense)


def comparisons(board: Board) -> Iterator[str]:
    """Yield the best row within each budget, the grid and flattery of the AUC, and the comparisons."""
    yield from budget_sentence(board)
    if len(board.auc_compressions) > 1:
        yield f"AUC over compressions {compressions(board.auc_compressions)}"
    if board.compared_columns:
        yield (
            f"compared with the best in {count(board.compared_columns, 'column')}, with one error of 5 % "
            f"for all pairs of rows in all of them; equivalent: within {margin(board)}"
        )
    if flattered := [row.auc_flattery for row in board.rows if row.auc_flattery is not None]:
        yield (
            f"the best AUC is flattered by about {100 * flattered[0]:.1f} points, because it was chosen "
            "(bootstrap over seeds)"
        )


def margin(board: Board) -> str:
    """Return the margin of equivalence: `1 point`."""
    value = f"{100 * board.margin:g}"
    return f"{value} point" if value == "1" else f"{value} points"


def marks(leaderboard: Leaderboard) -> str:
    """Return the legend of the marks in one line."""
    margins = " or ".join(dict.fromkeys(margin(board) for board in leaderboard.boards)) or "the margin"
    return (
        f"{BEST} best   {EQUIVALENT} within {margins} of it   {UNDECIDED} cannot tell   no mark: worse   "
        f"{CHANCE} at chance"
    )


def preliminary(board: Board) -> Iterator[str]:
    """Yield one line on what a preliminary board lacks; nothing for other boards."""
    if not board.is_preliminary:
        return
    if not any(not row.is_dense for row in board.shown):
        refused = any(not row.is_dense for row in board.rows)
        reason = "no pruner of this board is defined here" if refused else "no pruner has a record"
        yield f"preliminary: nothing to rank, because {reason}"
        return
    points = [point for row in board.shown if not row.is_dense for point in row.points]
    if not any(point.accuracy for point in points):
        yield "preliminary: nothing to rank, because no cell of a pruner has finished"
        return
    lacking = []
    if board.complete_seeds < RANKED_SEEDS:
        lacking.append(f"fewer than {RANKED_SEEDS} seeds in every row (at most {board.complete_seeds})")
    if len(board.auc_compressions) < RANKED_COMPRESSIONS:
        found = len(board.auc_compressions)
        lacking.append(f"fewer than {RANKED_COMPRESSIONS} compressions above 1 ({found})")
    yield f"preliminary: {' and '.join(lacking)}; too little for ranks"


def notes(board: Board) -> list[str]:
    """Return the lines about protocols, left-out cells and records, unknown costs, and measurements."""
    return [
        *_protocols(board),
        *_outside_auc(board),
        *_unfinished(board),
        *_outdated(board),
        *_without_cost(board),
        *board.measurement,
    ]


def _protocols(board: Board) -> Iterator[str]:
    """Describe the protocols of rows that have another one than the setting of the board."""
    results = (result for row in board.rows for point in row.points for result in point.results)
    protocols = {result.cell.setting.protocol.label: result.cell.setting.protocol for result in results}
    for label, protocol in sorted(protocols.items()):
        if protocol != board.setting.protocol:
            yield f"@{label}: {protocol.summary(board.setting.recipe.epochs)}"


def _outside_auc(board: Board) -> Iterator[str]:
    outside = [value for value in board.compressions if value > 1 and value not in board.auc_compressions]
    if outside and board.auc_compressions:
        rows = "; ".join(f"compression {compression(value)}: {_rows_at(board, value)}" for value in outside)
        yield f"left out of the AUC, which is over {compressions(board.auc_compressions)}: {rows}"


def _rows_at(board: Board, value: float) -> str:
    rows = [row.label for row in board.rows if row.competes and (point := row.at(value)) and point.top1]
    if not rows:
        return "no finished cell"
    return f"only {', '.join(rows) if len(rows) <= _NAMED else count(len(rows), 'row')}"


def _unfinished(board: Board) -> Iterator[str]:
    not_defined: dict[str, list[tuple[float, str]]] = {}
    for each in board.unfinished:
        if each.status == "not defined":
            reason = each.message.removeprefix("not defined here: ")
            not_defined.setdefault(each.row, []).extend((value, reason) for value, _ in each.cells)
            continue
        cells = count(len(each.cells), "cell")
        yield f"{each.row}: {cells} {each.status}, not averaged ({each.kind}: {each.message})"
    for row, found in not_defined.items():
        places = compressions(sorted({value for value, _ in found}))
        first, reason = min(found)
        where = f"at {compression(first)}: " if len({each for _, each in found}) > 1 else ""
        yield f"{row}: not defined here at compression {places} ({where}{reason})"


def _outdated(board: Board) -> Iterator[str]:
    for label, records in board.outdated.items():
        yield f"{label}: {count(records, 'record')} of older revisions left out"


def _without_cost(board: Board) -> Iterator[str]:
    """Say of which rows the cost is not counted, and why: the layer is named."""
    rows: dict[str, dict[str, None]] = {}
    for row in board.shown:
        for result in (result for point in row.points for result in point.results):
            if result.cost and result.cost.not_counted:
                rows.setdefault(printable(result.cost.not_counted), {})[row.label] = None
    for reason, labels in rows.items():
        every = len(labels) == len(board.shown)
        named = ", ".join(labels) if len(labels) <= _NAMED else count(len(labels), "row")
        yield f"no cost{'' if every else f' of {named}'}: {reason}"


def source(board: Board) -> str:
    """Return a line with the number and the digest of the records; it changes with any record."""
    return f"made of {count(board.records, 'record')}, digest {board.digest}"


def overall_notes(overall: OverallRanking) -> Iterator[str]:
    """Yield the settings of an overall ranking, and how far its intervals can be trusted."""
    yield f"settings: {'; '.join(overall.settings)}"
    settings = len(overall.settings)
    if settings < _ENOUGH_SETTINGS:
        simulated, held = max(each for each in _COVERAGE.items() if each[0] <= settings)
        yield (
            f"the bootstrap interval over {count(settings, 'setting')} is too narrow: simulated with "
            f"{simulated} settings, it holds the mean rank over all settings {held} times in 100, not 95"
        )
    if test := overall.test:
        chance = "below 0.001" if test.friedman_p < 0.001 else f"{test.friedman_p:.3f}"
        separating = f"{test.critical_difference:.2f} (Nemenyi)"
        yield f"Friedman test: p {chance}; critical difference of mean ranks {separating}"
        yield from (f"not separated: {', '.join(group)}" for group in test.groups)
    else:
        yield f"no Friedman or Nemenyi test: {overall.untested}"
    if overall.left_out:
        yield f"not ranked in every setting: {', '.join(overall.left_out)}"


def describe_setting(setting: Setting, tuned: str = "") -> str:
    """Return the setting in one line: training, validation split, pruning; without the value of `tuned`."""
    protocol = setting.protocol.summary(setting.recipe.epochs)
    parts = [*_recipe(setting.recipe), protocol, *_pruning(setting.pruning), *_extras(setting)]
    if tuned:
        words = tuned.replace("_", " ")
        parts = [part for part in parts if not part.startswith(f"{words} ")]
        parts.insert(2, f"{words} tuned for each pruner")
    return printable(", ".join(parts))


def _recipe(recipe: Recipe) -> Iterator[str]:
    yield count(recipe.epochs, "epoch")
    yield f"momentum {recipe.momentum:g} (Nesterov)" if recipe.optimizer == "momentum" else recipe.optimizer
    yield f"lr {recipe.lr:g}"
    yield f"batch {recipe.batch_size}"
    milestones = ", ".join(map(str, recipe.milestones))
    steps = f" (x {recipe.gamma:g} at {milestones})" if recipe.schedule == "step" else ""
    yield f"{recipe.schedule} schedule{steps}"
    if recipe.warmup_epochs:
        yield f"warm-up {count(recipe.warmup_epochs, 'epoch')}"
    if recipe.weight_decay:
        yield f"weight decay {recipe.weight_decay:g}"
    if recipe.label_smoothing:
        yield f"label smoothing {recipe.label_smoothing:g}"
    if recipe.gradient_clip is not None:
        yield f"gradient clip {recipe.gradient_clip:g}"
    if not recipe.augment:
        yield "no augmentation"
    yield recipe.precision
    if recipe.channels_last:
        yield "channels last"
    if recipe.compile != "no":
        yield "compiled" if recipe.compile == "yes" else "compiled, CUDA graphs"
    yield f"validation {100 * recipe.validation_fraction:g} % of train"


def _pruning(options: PruningOptions) -> Iterator[str]:
    yield f"{options.scope} scope"
    if options.granularity != "weight":
        means = {"sum": "", "mean": ", by means", "l2": ", by L2 norms"}
        yield f"{options.granularity} granularity{means[options.group_score]}"
    drawn = " on average" if options.examples == "random" else ""
    yield f"{count(options.examples_per_class, 'example')} per class{drawn}"
    if options.biases == "zero":
        yield "scored without biases"
    flags = {
        "prune_bias": "biases",
        "prune_batchnorm": "batch norm",
        "prune_residual": "residual scales",
        "prune_embedding": "embeddings",
    }
    yield from (f"{words} pruned" for flag, words in flags.items() if getattr(options, flag))
    if options.dense_classifier:
        yield "dense classifier"
    if options.only:
        yield f"only {', '.join(options.only)} pruned"
    if options.skip:
        yield f"{', '.join(options.skip)} not pruned"


def _extras(setting: Setting) -> Iterator[str]:
    yield from (f"model {name} {value}" for name, value in sorted(setting.model.options.items()))
    if setting.root_seed:
        yield f"root seed {setting.root_seed}"
