"""Shared fixtures: records made without training, distributions of third parties, and the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import settings

from synflow_bench.data import DATA_VARIABLE
from synflow_bench.records import Cost, Epoch, Failure, Layer, Metrics, Provenance, Record, Timing, key_of
from synflow_bench.suites import DENSE, Cell, ModelSpec, PrunerSpec, Recipe, Revisions, Setting, label_of

MakeRecord = Callable[..., Record]


def pytest_configure() -> None:
    """Handle the signals of a terminal, which a shell tells processes in the background to ignore.

    Hypothesis has no deadlines.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    settings.register_profile("any time", deadline=None)  # a busy machine is no failure
    settings.load_profile("any time")


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty data folder for this process and those that it starts; the user's own stays as it is."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """A factory of plausible records: `make_record("snip", 10, seed=0, top1=0.8)`."""
    return _record


def _record(
    pruner: str = "snip",
    compression: float = 10.0,
    seed: int = 0,
    top1: float = 0.8,
    *,
    status: str = "ok",
    setting: Setting | None = None,
    ablation: str = "none",
    label: str | None = None,
    parameters: dict[str, Any] | None = None,
    revisions: Revisions | None = None,
    message: str = "scores of 'fc1' are constant",
    prune_seconds: float = 0.5,
    cost: float | None = None,
    **metrics: Any,
) -> Record:
    name = pruner.partition("[")[0]
    spec = PrunerSpec.model_validate(pruner)
    if parameters is not None:
        spec = PrunerSpec(name=name, parameters=parameters)
        label = label_of(name, parameters) if label is None else label
    spec = spec.model_copy(update={"label": pruner if label is None else label})
    cell = Cell(
        setting=setting or digits(),
        pruner=spec,
        compression=1.0 if name == DENSE else compression,
        seed=seed,
        ablation=ablation,
        revisions=revisions or Revisions(),
    )
    ok = status == "ok"
    layer = pruned_layer(cell.density, metrics.get("effective_compression"))
    return Record(
        key=key_of(cell),
        status=status,
        cell=cell,
        metrics=measured(layer, top1, **metrics) if ok else None,
        layers=(layer,) if ok else (),
        curve=(curve_point(0, 0.1), curve_point(1, top1)) if ok else (),
        timing=Timing(prune_seconds=prune_seconds, train_seconds=1.0, total_seconds=1.5) if ok else None,
        cost=cost_of_training(cost) if ok and cost is not None else None,
        provenance=provenance(),
        error=None if ok else Failure(kind="ScoreError", message=message),
    ).sealed()


def cost_of_training(total: float) -> Cost:
    return Cost(training=total, pruning=0.0, total=total, dense_macs=1000, examples=500)


def digits(**recipe: Any) -> Setting:
    return Setting(
        dataset="digits",
        model=ModelSpec(name="fc"),
        recipe=Recipe(**{"epochs": 5, "optimizer": "adam", **recipe}),
    )


def pruned_layer(density: float, effective_compression: float | None) -> Layer:
    """A layer that keeps exactly this density; its size divides by the compressions of the tests."""
    size = 1100 * 780
    while not round(density * size):
        size *= 1000
    effective = round(size / effective_compression) if effective_compression else None
    kept = round(density * size)
    return Layer(
        name="fc1", shape=(size // 780, 780), size=size, kept=kept, effective_kept=effective, macs=size
    )


def measured(layer: Layer, top1: float, **changes: Any) -> Metrics:
    compression = layer.size / layer.kept
    values = {
        "test_top1": top1,
        "test_top5": 0.99,
        "test_loss": 0.5,
        "val_top1": top1,
        "max_test_top1": top1,
        "init_top1": 0.1,
        "density": layer.kept / layer.size,
        "compression": compression,
        "compression_all": compression,
        "theoretical_speedup": compression,
    }
    return Metrics.model_validate({**values, **changes})


def curve_point(epoch: int, top1: float) -> Epoch:
    return Epoch(epoch=epoch, lr=1e-3, train_loss=1.0, val_top1=top1, test_top1=top1, test_loss=1.0)


def provenance() -> Provenance:
    return Provenance(
        created="2000-01-01T00:00:00Z",
        synflow_bench="0.1.0",
        torch="2.9.0",
        python="3.11.0",
        platform="Linux",
        device="cpu",
        threads=1,
    )


class Distributions:
    """Temporary distributions in a folder on the path: `distribution("my-pruners", code)`."""

    def __init__(self, site: Path) -> None:
        self.site = site

    def __call__(
        self,
        name: str,
        code: str,
        *,
        version: str = "1.0",
        plugin: str | None = None,
        module: str | None = None,
        reference: str | None = None,
        requires: str = "synflow-bench",
    ) -> Path:
        """Install a module of `code` with an entry point for it, or for `reference`; return its file."""
        module = module or name.replace("-", "_")
        folder = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {requires}\n"
        )
        (folder / "entry_points.txt").write_text(
            f"[synflow_bench]\n{plugin or module} = {reference or module}\n"
        )
        source = self.site / f"{module}.py"
        source.write_text(f"from synflow_bench import hookimpl\n{dedent(code)}")
        return source

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment in which a new process finds these distributions."""
        path = os.pathsep.join(filter(None, [str(self.site), os.environ.get("PYTHONPATH")]))
        return {**os.environ, "PYTHONPATH": path, **variables}


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    """Temporary distributions for one test, in this process and in those that it starts."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    yield Distributions(site)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(site)):
            del sys.modules[name]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread; whatever number a test sets is restored after it."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def subnormal_numbers() -> Iterator[None]:
    """Keep subnormal numbers for the next test: running cells in this process flushes them to zero."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    """Restore what running cells in this process changes: threads, and the flushing of subnormal numbers."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@dataclass(frozen=True)
class Outcome:
    """The exit code, stdout and stderr of a command."""

    code: int
    out: str
    err: str

    def assert_refused(self, *facts: str) -> None:
        """Check for a usage error: exit code 2, and only one line, on stderr, which has these facts."""
        assert (self.code, self.out) == (2, "")
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        assert [fact for fact in facts if fact not in self.err] == [], self.err


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder that does not exist yet."""
    return tmp_path / "results"


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process: `invoke("list", "pruners")`."""
    from synflow_bench.cli import main

    def invoke(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = main(arguments)
        return Outcome(code, *capsys.readouterr())

    return invoke


@pytest.fixture
def launch() -> Callable[..., Outcome]:
    """Run a command in a new process, in the environment `env`."""

    def launch(*arguments: str, env: dict[str, str] | None = None, code: str = "") -> Outcome:
        start = ["-c", code] if code else ["-m", "synflow_bench"]
        done = subprocess.run(
            [sys.executable, *start, *arguments], env=env, capture_output=True, text=True, timeout=300
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return launch
