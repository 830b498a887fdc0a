"""From a suite to its cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from synflow_bench.suites._cell import Cell, Revisions, dense_cell
from synflow_bench.suites._setting import Setting
from synflow_bench.suites._spec import PrunerSpec
from synflow_bench.suites._suite import Suite

RevisionsOf = Callable[[Setting, PrunerSpec | None], Revisions]


def expand(suite: Suite, pruners: Sequence[PrunerSpec], revisions: RevisionsOf) -> list[Cell]:
    """All cells of a suite for resolved `pruners`, each once; the dense network of every seed is among them.

    At compression 1 every pruner keeps everything, so those cells are the dense one. Seeds come before
    compressions: a run that is cut short has compared all pruners on the seeds that it reached.
    """
    settings = {setting.id: setting for setting in suite.settings}.values()
    return list(_cells(suite, list(settings), pruners, revisions))


def _cells(
    suite: Suite, settings: Sequence[Setting], pruners: Sequence[PrunerSpec], revisions: RevisionsOf
) -> Iterator[Cell]:
    for setting in settings:
        dense = revisions(setting, None)
        per_pruner = [(pruner, revisions(setting, pruner)) for pruner in pruners]
        for seed in suite.seeds:
            yield dense_cell(setting, seed, dense)
            for compression in suite.compressions:
                if compression == 1:
                    continue
                for ablation in suite.ablations:
                    for pruner, revision in per_pruner:
                        yield Cell.model_construct(
                            setting=setting,
                            pruner=pruner,
                            compression=compression,
                            seed=seed,
                            ablation=ablation,
                            revisions=revision,
                        )
