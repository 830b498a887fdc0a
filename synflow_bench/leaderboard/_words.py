"""What a board says besides its numbers: how it was trained, what its columns mean, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from synflow_bench.leaderboard._board import (
    PUBLISHED_COMPRESSIONS,
    PUBLISHED_SEEDS,
    Board,
    Incident,
    Leaderboard,
)
from synflow_bench.leaderboard._explanations import EXPLANATIONS
from synflow_bench.leaderboard._text import compression, count, numbers
from synflow_bench.records import printable
from synflow_bench.suites import Multishot, PruningOptions, Recipe, Setting

_NAMED = 3
"""Rows up to which a footnote names them."""

BEST, TIE, UNDECIDED = "*", "≈", "?"

DEFINITIONS = {
    "accuracy": (
        "test top-1 after the final epoch, in percent: mean over seeds ± half-width of its 95 % t-interval"
    ),
    "best": (
        "best: highest mean at that compression, claimed only among two or more pruners with the same two or "
        "more seeds"
    ),
    "tie": (
        "not distinguishable from the best: the 95 % t-interval of the difference, paired by seed, contains "
        "zero (no correction for many comparisons)"
    ),
    "undecided": (
        "fewer than two seeds in common with the best, or better than it over those in common, so not decided"
    ),
    "rank": "1 for the largest area, among rows with the area of three seeds or more",
    "area": (
        "area under accuracy against log compression, over those above 1 that most pruners share, divided by "
        "its width"
    ),
    "area to best": "area minus that of the row with the best area, in points: compared as accuracies are",
    "intact to": "largest compression up to which no seed lost a whole layer",
    "compression": (
        "prunable weights over kept weights; achieved is what the masks have, effective counts a kept weight "
        "only if it lies on a path of kept weights from input to output"
    ),
    "speedup": (
        "theoretical: dense over kept multiply-accumulates; masks simulate sparsity, nothing runs faster"
    ),
    "prune s": "wall-clock seconds of pruning, mean over seeds",
    "to best": (
        "accuracy minus that of the best, in points: mean difference over the seeds that both have ± "
        "half-width of its 95 % t-interval"
    ),
    "collapsed": "layers with no weight (effectively) left, and in how many seeds",
}
"""What every board explains of itself, in few words; `leaderboard --explain` says more."""


def definitions(best: str, page: Leaderboard | None = None) -> list[tuple[str, str]]:
    """Each term with its meaning; `best` is how the format marks the best."""
    signs = {"best": best, "tie": TIE, "undecided": UNDECIDED}
    said = DEFINITIONS | (dict(_occasional(page)) if page else {})
    return [(signs.get(term, term), meaning) for term, meaning in said.items()]


def _occasional(page: Leaderboard) -> Iterator[tuple[str, str]]:
    """Terms that only some leaderboards need."""
    if page.overall:
        yield "overall rank", EXPLANATIONS["overall rank"]
    if any(board.baseline for board in page.boards):
        yield from ((term, EXPLANATIONS[term]) for term in ("to baseline", "area to baseline"))
    yield from ((f"{name} gap", EXPLANATIONS[f"{name} gap"]) for name in _ablations(page.boards))


def _ablations(boards: Iterable[Board]) -> list[str]:
    return list(dict.fromkeys(name for board in boards for name in board.ablations))


def facts(board: Board) -> list[str]:
    """The lines under a board's heading."""
    seeds = (
        f"{count(len(board.seeds), 'seed')} ({numbers(board.seeds)})" if board.seeds else "no finished cell"
    )
    baseline = [f"baseline: {board.baseline}"] if board.baseline else []
    return [summary(board.setting), f"{seeds}; setting {board.id}", *baseline, *_smoke(board)]


def _smoke(board: Board) -> Iterator[str]:
    if board.is_smoke_run:
        short = " and ".join(_short_of(board))
        yield f"smoke run: {short}; too little to publish, and no rank is given"


def _short_of(board: Board) -> Iterator[str]:
    if board.complete_seeds < PUBLISHED_SEEDS:
        yield f"fewer than {PUBLISHED_SEEDS} seeds in every row (at most {board.complete_seeds})"
    if len(board.area_compressions) < PUBLISHED_COMPRESSIONS:
        yield f"fewer than {PUBLISHED_COMPRESSIONS} compressions above 1 ({len(board.area_compressions)})"


def footnotes(board: Board) -> list[str]:
    """What is not in the averages, and why."""
    return [*_outside_areas(board), *map(_incident, board.incidents), *_outdated(board)]


def _outside_areas(board: Board) -> Iterator[str]:
    """Compressions that areas leave out, each with the rows that have it."""
    outside = [value for value in board.compressions if value > 1 and value not in board.area_compressions]
    if outside:
        told = "; ".join(f"compression {compression(value)}: {_having(board, value)}" for value in outside)
        yield f"left out of the areas, which are over {_list(board.area_compressions)}: {told}"


def _list(compressions: Iterable[float]) -> str:
    return ", ".join(map(compression, compressions)) or "nothing"


def _having(board: Board, value: float) -> str:
    rows = [row.label for row in board.rows if row.competes and (entry := row.at(value)) and entry.top1]
    if not rows:
        return "no finished cell"
    named = f"{', '.join(rows)}" if len(rows) <= _NAMED else count(len(rows), "row")
    return f"{named} alone"


def source(board: Board) -> str:
    """What the board was made of; other records give another line."""
    return f"made of {count(board.records, 'record')}, digest {board.digest}"


def _incident(incident: Incident) -> str:
    cells = count(len(incident.cells), "cell")
    return f"{incident.row}: {cells} {incident.status}, not averaged ({incident.kind}: {incident.message})"


def _outdated(board: Board) -> Iterator[str]:
    for label, records in board.outdated.items():
        yield f"{label}: {count(records, 'record')} of older revisions left out"


def summary(setting: Setting) -> str:
    """The setting in one line: training, validation split, pruning."""
    parts = [*_recipe(setting.recipe), _pruned(setting), *_options(setting.pruning), *_specials(setting)]
    return printable(", ".join(parts))


def _recipe(recipe: Recipe) -> Iterator[str]:
    yield count(recipe.epochs, "epoch")
    yield f"momentum {recipe.momentum:g} (Nesterov)" if recipe.optimizer == "momentum" else recipe.optimizer
    yield f"lr {recipe.lr:g}"
    yield f"batch {recipe.batch_size}"
    yield _schedule(recipe)
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


def _schedule(recipe: Recipe) -> str:
    if recipe.schedule != "step":
        return f"{recipe.schedule} schedule"
    return f"step schedule (x {recipe.gamma:g} at {numbers(recipe.milestones)})"


def _pruned(setting: Setting) -> str:
    protocol = setting.protocol
    if isinstance(protocol, Multishot):
        return _levels(protocol, protocol.pre_epochs or setting.recipe.epochs)
    return (
        f"pruned after {count(protocol.pre_epochs, 'epoch')}"
        if protocol.pre_epochs
        else "pruned at initialization"
    )


def _levels(protocol: Multishot, epochs: int) -> str:
    to = {"init": "weights rewound to initialization", "lr": "learning rate rewound"}
    rewound = to.get(str(protocol.rewind), f"weights rewound to step {protocol.rewind}")
    return f"pruned in {count(protocol.levels, 'level')} of {count(epochs, 'epoch')}, {rewound}"


def _options(options: PruningOptions) -> Iterator[str]:
    yield f"{options.scope} scope"
    yield f"{count(options.examples_per_class, 'example')} a class"
    flags = {
        "prune_bias": "biases",
        "prune_batchnorm": "batch norm",
        "prune_residual": "residual scales",
    }
    yield from (f"{words} pruned" for flag, words in flags.items() if getattr(options, flag))
    if options.dense_classifier:
        yield "dense classifier"


def _specials(setting: Setting) -> Iterator[str]:
    yield from (f"model {name} {value}" for name, value in sorted(setting.model.options.items()))
    if setting.root_seed:
        yield f"root seed {setting.root_seed}"
