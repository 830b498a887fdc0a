"""The options of `run`, and those that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from synflow_bench.cli.app import PLUGIN_FILES
from synflow_bench.data import DATA_VARIABLE, default_data_root
from synflow_bench.errors import UsageError
from synflow_bench.limits import parse_bytes, parse_seconds

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]

RESULTS_VARIABLE = "SYNFLOW_BENCH_RESULTS"
"""The environment variable that names the results folder."""


def default_results_root() -> Path:
    """Return the folder that `SYNFLOW_BENCH_RESULTS` names, else `results` in the working folder."""
    return Path(os.environ.get(RESULTS_VARIABLE) or "results")


def combined(*options: Decorator) -> Callable[[F], F]:
    """Return one decorator that adds several options, in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def repeatable(name: str, parameter: str, metavar: str, help: str, kind: Any = str) -> Decorator:
    """Return an option that may be given several times, and says so in its help."""
    help = f"{help.rstrip('.')}; repeatable."
    return click.option(name, parameter, metavar=metavar, type=kind, multiple=True, help=help)


def flag(name: str, parameter: str, help: str) -> Decorator:
    """Return an option without a value."""
    return click.option(name, parameter, is_flag=True, help=help)


def json_option(help: str) -> Decorator:
    """Return the flag `--json`, as the parameter `as_json`."""
    return flag("--json", "as_json", help)


def _count(name: str, help: str, least: int = 1, default: int | None = None) -> Decorator:
    kind, shown = click.IntRange(min=least), default is not None
    return click.option(name, metavar="N", type=kind, default=default, show_default=shown, help=help)


def _reader(read: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a callback that reads the text of an option.

    Raises:
        BadParameter: If `read` raises a usage error.
    """

    def callback(_ctx: click.Context, _option: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else read(text)
        except UsageError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def _folder(name: str, default: Callable[[], Path], shown: str, help: str) -> Decorator:
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option(name, metavar="DIR", type=kind, default=default, show_default=shown, help=help)


def _read_plugin_files(ctx: click.Context, _parameter: click.Parameter, paths: tuple[Path, ...]) -> None:
    from synflow_bench.host import PluginFile

    ctx.meta[PLUGIN_FILES] = tuple(PluginFile.read(path) for path in paths)


def _read_per_cell(_ctx: click.Context, _option: click.Parameter, text: str | None) -> dict[str, str]:
    """Read `--per-cell`: `cpus`, `gpus` and `memory`, such as `cpus=2,gpus=0.5`."""
    if text is None:
        return {}
    pairs = [part.partition("=")[::2] for part in text.split(",")]
    found = {name.strip(): value.strip() for name, value in pairs}
    if len(found) < len(pairs) or not found.keys() <= {"cpus", "gpus", "memory"} or not all(found.values()):
        raise click.BadParameter(f"{text!r} is not such as cpus=1,gpus=0.5,memory=4G")
    return found


def _read_slurm(_ctx: click.Context, _option: click.Parameter, text: str | None) -> dict[str, str]:
    """Read `--slurm`: names and values between commas."""
    pairs = [part.partition("=")[::2] for part in (text or "").split(",") if part]
    found = {name.strip(): value.strip() for name, value in pairs}
    if len(found) < len(pairs) or not all(name and value for name, value in found.items()):
        raise click.BadParameter(f"{text!r} is not such as partition=P,time=4:00:00,gpus=1")
    return found


def _read_protocol(
    _ctx: click.Context, _option: click.Parameter, text: str | None
) -> dict[str, str | int | float | bool]:
    """Read `--protocol`: a name, with fields in brackets or in options of their own.

    Raises:
        BadParameter: If the text is no protocol.
    """
    if text is None:
        return {}
    from synflow_bench.errors import SuiteError
    from synflow_bench.suites import PROTOCOL_NAMES, parse_pruner

    try:
        table = parse_pruner(text)
    except SuiteError as error:
        raise click.BadParameter(f"{text!r} is none; write it as finetune[epochs=5]") from error
    if table["name"] not in PROTOCOL_NAMES:
        raise click.BadParameter(f"{table['name']!r} is none of {', '.join(PROTOCOL_NAMES)}")
    return {"name": table["name"], **table["parameters"]}


def _read_seeds(_ctx: click.Context, _option: click.Parameter, text: str | None) -> int | list[int] | None:
    """Read `--seeds`: a number of repetitions, such as `3`, or a list of seeds, such as `0,4,7` or `4,`.

    Raises:
        BadParameter: If the text is neither.
    """
    if text is None:
        return None
    try:
        seeds = [int(part) for part in text.removesuffix(",").split(",")]
    except ValueError:
        seeds = []
    is_list = "," in text
    if not seeds or min(seeds) < (0 if is_list else 1):
        raise click.BadParameter(f"{text!r} is not a number of seeds, such as 3, or a list, such as 0,1,2")
    from synflow_bench.suites import MOST_REPETITIONS

    if not is_list and seeds[0] > MOST_REPETITIONS:
        raise click.BadParameter(
            f"{seeds[0]} repetitions are more than {MOST_REPETITIONS}; "
            f"for that one seed write `--seeds {seeds[0]},`"
        )
    return seeds if is_list else seeds[0]


results_option = _folder(
    "--results", default_results_root, f"${RESULTS_VARIABLE} or ./results", "The results folder."
)
data_option = _folder(
    "--data", default_data_root, f"${DATA_VARIABLE} or a folder of the user's own", "The data folder."
)
plugin_option = click.option(
    "--plugin",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    expose_value=False,
    callback=_read_plugin_files,
    help="A .py file that is a plugin for this command; repeatable.",
)
"""`load_host` loads the files: a command that has this option takes no argument for it."""
executor_option = click.option(
    "--executor", metavar="E", default="local", show_default=True, help="The executor that runs the cells."
)
workers_option = _count("--workers", "Cells that run at the same time; by default as many as fit.")
threads_option = _count("--threads", "CPU threads per worker.", default=1)
device_option = click.option(
    "--device",
    metavar="D",
    default="auto",
    show_default=True,
    help="The device: auto, cpu, cuda, cuda:1 or mps.",
)
compression_options = combined(
    repeatable(
        "--compression",
        "compressions",
        "C",
        "A compression ratio, prunable weights over kept ones: 10 keeps one weight in ten.",
        float,
    ),
    repeatable(
        "--sparsity",
        "sparsities",
        "S",
        "The same as the share of removed weights: 0.9 is compression 10.",
        float,
    ),
)

cell_options = combined(
    flag("--all", "all_pruners", "Run every installed pruner, whatever the suite names."),
    click.option(
        "--suite", metavar="NAME|FILE", default="quick", show_default=True, help="A suite, or its TOML file."
    ),
    repeatable(
        "--pruner",
        "pruners",
        "P",
        "A pruner, such as 'synflow[rounds=10]', or with a protocol 'magnitude@finetune[epochs=5]'.",
    ),
    repeatable("--dataset", "datasets", "D", "A dataset instead of those of the suite."),
    repeatable("--model", "models", "M", "A model instead of those of the suite."),
    compression_options,
    repeatable(
        "--ablation",
        "ablations",
        "A",
        "An ablation: none, shuffle, reinit, invert, random-labels or random-inputs.",
    ),
    click.option(
        "--seeds",
        metavar="N|LIST",
        callback=_read_seeds,
        help="The number of seeds, or a list of them: 3, or 0,1,2, or 7, for one seed.",
    ),
    _count("--epochs", "The epochs of every recipe.", least=0),
    click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="The precision of every recipe."),
    click.option(
        "--protocol",
        metavar="P",
        callback=_read_protocol,
        help="singleshot (one-shot), multishot (iterative), or pruning after training: finetune[epochs=5].",
    ),
    _count("--levels", "The levels of multishot; each trains, prunes and rewinds the weights."),
    click.option(
        "--rewind",
        metavar="init|STEP|lr",
        help="What multishot rewinds the weights to: the initialization, the weights after an optimizer "
        "step, or nothing (lr: only the learning rate).",
    ),
    repeatable("--set", "assignments", "PATH=VALUE", "A change of every setting, such as recipe.lr=0.01."),
    click.option(
        "--tune",
        metavar="FIELD=V|V|...",
        help="Train with each value, such as lr=0.001|0.003|0.01; every pruner has its best by validation "
        "accuracy.",
    ),
)
"""The options of `run` that choose its cells."""
shard_option = click.option(
    "--shard",
    metavar="I/N",
    help="Only the I-th of N parts of the cells, for machines that share no results folder.",
)
place_options = combined(
    shard_option,
    executor_option,
    click.option(
        "--address", metavar="A", help="The address of the executor's cluster; Ray starts one without it."
    ),
    click.option(
        "--slurm",
        metavar="NAME=V,...",
        callback=_read_slurm,
        help="Options of Slurm jobs, such as partition=P,time=4:00:00,gpus=1,jobs=8.",
    ),
    flag("--detach", "detach", "With Slurm, end as soon as the jobs are submitted."),
    click.option(
        "--per-cell",
        metavar="NAME=N,...",
        callback=_read_per_cell,
        help="What a cluster reserves for each cell: cpus=1,gpus=0.5,memory=4G.",
    ),
    workers_option,
    _count(
        "--cells-per-gpu",
        "The most cells at a time on each GPU; by default as many as its memory and the cores allow.",
    ),
    threads_option,
    device_option,
    results_option,
    data_option,
)
"""The options of `run` that say where its cells run."""
limit_options = combined(
    click.option(
        "--cell-timeout",
        metavar="TIME",
        callback=_reader(parse_seconds),
        help="The most time of a cell, such as 30m or 2h; one that takes longer fails.",
    ),
    _count("--max-failures", "End the run when so many cells have failed."),
    click.option(
        "--memory-limit",
        metavar="SIZE",
        callback=_reader(parse_bytes),
        help="The most memory of a worker, such as 4G; a cell that uses more fails.",
    ),
    _count("--recycle-after", "Replace a worker by a new one after so many cells."),
)
"""The options of `run` that limit what a cell or a plugin may cost."""
run_options = combined(
    click.option(
        "--checkpoint-minutes",
        metavar="M",
        type=click.FloatRange(min=0),
        default=10,
        show_default=True,
        help="Save running cells after so many minutes, to continue from there; 0 for no limit of time.",
    ),
    _count("--checkpoint-epochs", "Save running cells after so many epochs.", least=0, default=0),
    click.option(
        "--retry-failed/--no-retry-failed", default=True, show_default=True, help="Run failed cells again."
    ),
    flag("--force", "force", "Run recorded cells again; their old records are kept in replaced/."),
    click.option(
        "--keep",
        metavar="masks,weights",
        help="Keep the masks, the weights or both of the cells that run, beside their records.",
    ),
    flag("--dry-run", "dry_run", "Only list the cells that would run, and estimate the time."),
    repeatable(
        "--log", "logs", "NAME[=TARGET]", "A logger: csv=DIR, tensorboard=DIR, wandb=PROJECT, or a plugin's."
    ),
    click.option(
        "--log-json",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="A file to which every event of the run is appended, one JSON object per line.",
    ),
    flag("--details", "details", "Print all compressions, costs, layers and definitions of the leaderboard."),
    json_option("Print the outcome as JSON instead of a leaderboard."),
)
"""The options of `run` that say what else happens."""


def refuse(ctx: click.Context, names: Iterable[str], reason: str, way_out: str = "") -> None:
    """Refuse options that have no effect.

    Args:
        ctx: The context of the command.
        names: The parameters that have no effect.
        reason: The reason, such as "--dry-run runs nothing".
        way_out: The alternative to leaving them out, such as ", or --dry-run".

    Raises:
        UsageError: If any of them was given.
    """
    options = {str(parameter.name): parameter.opts[0] for parameter in ctx.command.params}
    given = [options[name] for name in names if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        has, them = ("has", "it") if len(given) == 1 else ("have", "them")
        listed = " and ".join(filter(None, (", ".join(given[:-1]), given[-1])))
        raise UsageError(f"{reason}, so {listed} {has} no effect; leave {them} out{way_out}")
