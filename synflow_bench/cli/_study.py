"""From the options of a study to its request."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from synflow_bench.errors import UsageError
from synflow_bench.studies import Study

if TYPE_CHECKING:
    from synflow_bench.host import Host
    from synflow_bench.protocols import Bench
    from synflow_bench.studies._request import Request
    from synflow_bench.suites import PrunerSpec, Setting

NO_DATASET = "none"
"""Stands for a data set in the seeds of a network that has none."""

EXAMPLE = "such as --model fc --dataset digits, or --model imagenet/vgg19 --input-shape 3x224x224"


def request_of(
    study: Study,
    host: Host,
    *,
    models: Sequence[str],
    datasets: Sequence[str],
    input_shape: tuple[int, int, int] | None,
    classes: int | None,
    pruners: Sequence[str],
    compressions: Sequence[float],
    rounds: Sequence[int],
    schedules: Sequence[str],
    seeds: Sequence[int],
    suite: str,
    epochs: int | None,
    assignments: Sequence[str],
    threads: int,
    device: str,
    data: Path,
) -> Request:
    """The request; raises `HandledError` for what does not exist, fit or have an effect."""
    _refuse(study, models, datasets, input_shape, classes, compressions, rounds, schedules, epochs)
    everywhere = (*assignments, f"recipe.epochs={epochs}") if epochs else tuple(assignments)
    settings = _settings(suite, host, models, datasets, everywhere)
    specs = _pruners(host, pruners or study.pruners)

    from synflow_bench.studies._request import Request

    return Request(
        bench=_bench(host, data, device, threads),
        settings=settings,
        pruners=specs,
        compressions=compressions or study.compressions,
        rounds=rounds or study.rounds,
        schedules=schedules or study.schedules,
        seeds=tuple(dict.fromkeys(seeds)) or (0,),
        input_shape=input_shape,
        classes=classes or 10,
    )


def _refuse(
    study: Study,
    models: Sequence[str],
    datasets: Sequence[str],
    input_shape: tuple[int, int, int] | None,
    classes: int | None,
    compressions: Sequence[float],
    rounds: Sequence[int],
    schedules: Sequence[str],
    epochs: int | None,
) -> None:
    if not models:
        raise UsageError(f"name a network with --model, {EXAMPLE}")
    if not datasets and not input_shape:
        raise UsageError(f"name a data set with --dataset or a shape with --input-shape, {EXAMPLE}")
    if datasets and (input_shape or classes):
        raise UsageError("a data set has its own shape and classes; leave out --input-shape and --classes")
    if study.trains and not datasets:
        raise UsageError(f"{study.name} trains; name a data set with --dataset")
    if epochs and not study.trains:
        raise UsageError(f"{study.name} trains nothing; leave out --epochs")
    if study.trains and (compressions or rounds or schedules):
        raise UsageError(f"{study.name} prunes nothing; leave out --compression, --rounds and --schedule")
    for each in compressions:
        if not 1 <= each < inf:
            raise UsageError(f"compression {each:g} is not a number from 1 on; 10 keeps one weight in ten")


def _settings(
    suite: str, host: Host, models: Sequence[str], datasets: Sequence[str], assignments: Sequence[str]
) -> list[Setting]:
    from synflow_bench.cli._choice import find_suite
    from synflow_bench.suites import override

    for registry, names in ((host.datasets, datasets), (host.models, models)):
        for name in names:
            registry.entry(name)
    chosen = override(
        find_suite(suite, host), datasets=datasets or (NO_DATASET,), models=models, assignments=assignments
    )
    return list({setting.id: setting for setting in chosen.settings}.values())


def _pruners(host: Host, names: Sequence[str]) -> list[PrunerSpec]:
    from synflow_bench.execution import resolve_pruners
    from synflow_bench.suites import PrunerSpec, expand_pruners, validate

    specs = [validate(PrunerSpec, each, "pruner") for each in expand_pruners(list(names))]
    return resolve_pruners(specs, host)


def _bench(host: Host, data: Path, device: str, threads: int) -> Bench:
    from synflow_bench.protocols import Bench
    from synflow_bench.training import resolve_device, set_up_process

    where = resolve_device(device)
    set_up_process(where, threads)
    return Bench(host=host, data_root=data, device=where, threads=threads)
