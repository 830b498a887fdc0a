"""The report on a device: parts with time limits, and the folder with which it runs without a network."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bundle import boards, build, cells, parts, processes, run
from bundle.cells import CellWork
from bundle.cifar10_jpeg import ARCHIVE, Cifar10Jpeg, decode
from bundle.measuring import Line
from bundle.parts import SIZES, TEST
from bundle.run import Part, Report
from conventional import grasp_masks, snip_masks
from packaging.requirements import Requirement
from PIL import Image

from synflow_bench import prune
from synflow_bench.host import Host

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was: None, one_thread: None) -> None:
    """Parts compute in this process."""


@pytest.fixture
def report(tmp_path: Path) -> Report:
    given = argparse.Namespace(minutes=9.0, device="cpu", size="full")
    (tmp_path / "output").mkdir()
    (tmp_path / "work").mkdir()
    return Report(given, tmp_path / "output", tmp_path / "work", time.monotonic() + 540)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


# The formulas of the baseline


@pytest.mark.parametrize(("name", "formula"), [("snip", snip_masks), ("grasp", grasp_masks)])
def test_the_formulas_keep_what_the_harness_keeps(name: str, formula: object) -> None:
    torch.manual_seed(0)
    model = Host.load().models.get("fc")((1, 8, 8), 10)
    names = [name for name, p in model.named_parameters() if p.dim() > 1]
    data = torch.randn(50, 1, 8, 8), torch.arange(50) % 10
    theirs = formula(model, names, *data, 10)  # type: ignore[operator]
    ours = prune(model, name, compression=10, input_shape=(1, 8, 8), data=data)
    differing = sum(int((ours[each] != theirs[each].bool()).sum()) for each in names)
    assert differing <= 0.01 * ours.kept


# Measurements


@pytest.mark.parametrize(("name", "count"), [("pruning", 4), ("steps", 6)])
def test_a_part_measures_both_ways_on_the_device_that_is_named(name: str, count: int) -> None:
    lines: list[Line] = []
    parts.PARTS[name](TEST, CPU, lines.append)
    last = {line.what: line for line in lines}.values()
    assert len(last) == count
    assert all((line.here or 0) > 0 and (line.conventional or 0) > 0 for line in last)


def test_compiled_steps_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """To compile may take all the time of the part."""
    monkeypatch.setattr(parts, "seconds", lambda *_, **__: 1.0)
    monkeypatch.setattr(parts, "harness_step", lambda *_, **__: None)
    monkeypatch.setattr(parts, "batched_step", lambda line, *_: line)
    lines: list[Line] = []
    size = replace(TEST, ways=("compiled", "fp32"))
    parts.PARTS["steps"](size, CPU, lines.append)
    assert [line.what.rpartition(", ")[2] for line in lines] == [
        "fp32",
        "compression 100",
        "compression 1000",
        *("in a batch of 8" for _ in TEST.batches),
        "compiled",
    ]


def test_a_network_and_its_batch_take_steps_of_the_engines_that_a_training_has() -> None:
    lines: list[Line] = []
    parts.batched_steps(TEST, CPU, lines.append)
    assert [line.note.rpartition("'s, ")[2] for line in lines] == ["eager and stacked", "eager and vmapped"]


def test_the_baseline_of_a_network_follows_its_first_cells_and_is_timed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def run_cells(work: CellWork, _: torch.device) -> tuple[float, str]:
        done.append(work.title)
        return 1.0, ""

    def conventional_cell(work: CellWork, _: torch.device, data_workers: int = 0) -> float:
        done.append(f"{work.model} with {data_workers}")
        return 10.0 + data_workers

    monkeypatch.setattr(cells, "usable_cores", lambda: 8)
    monkeypatch.setattr(cells, "run_cells", run_cells)
    monkeypatch.setattr(cells, "conventional_cell", conventional_cell)
    lines: list[Line] = []
    parts.PARTS["cells conv"](SIZES["full"], CPU, lines.append)
    first, second = "cell, conv, bf16, 1 epoch", "cell, conv, 1 epoch"
    assert done == [first, "conv with 0", "conv with 4", second]
    assert {line.what: line.conventional for line in lines} == {
        first: 10.0,
        f"{first}, baseline with 4 data workers": 14.0,
        second: 10.0,
        f"{second}, baseline with 4 data workers": 14.0,
    }


@pytest.mark.slow
def test_a_batch_of_cells_is_timed_whole() -> None:
    """On a GPU a batch always has the same size: fewer cells would take as long."""
    (work,) = (work for work in TEST.cells if work.model == "fc")
    assert work.cells < 8
    _, note = cells.run_cells(work, CPU)
    assert note == "8 cells, made-up-small; engine stacked"


def test_cells_and_their_baseline_train_on_all_examples() -> None:
    assert {work.recipe["validation_fraction"] for size in SIZES.values() for work in size.cells} == {0.0}


def test_all_networks_have_a_part_of_the_report() -> None:
    for size in SIZES.values():
        assert {work.model.rpartition("/")[2] for work in size.cells} == set(run.CELLS)
    assert {f"cells {name}" for name in run.CELLS} <= set(parts.PARTS)


def test_without_a_cuda_device_a_part_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert parts.main(["pruning", "--lines", str(tmp_path / "lines")]) == 2
    assert capsys.readouterr().out.startswith("torch finds no CUDA device here")


@pytest.mark.parametrize(
    ("line", "reached"),
    [
        (Line("a", 1.0, 50.0, least_ratio=50), True),
        (Line("a", 1.1, 50.0, least_ratio=50), False),
        (Line("a", 1.0, least_ratio=50), None),
        (Line("a", None, 50.0, least_ratio=50), None),
        (Line("a", 1.4, most_seconds=1.5), True),
        (Line("a", 1.6, 999.0, most_seconds=1.5), False),
        (Line("a", 1.0, 50.0), None),
    ],
)
def test_a_figure_is_reached_or_not_or_not_measured(line: Line, reached: bool | None) -> None:
    assert line.reached is reached


def test_the_figures_to_reach_are_those_of_the_full_size() -> None:
    full = SIZES["full"]
    ratios = {work.model: work.ratio for work in full.cells if work.ratio}
    assert ratios == {"fc": 50, "conv": 20, "lottery/resnet20": 8}
    assert {each.name: limit for each, limit, _ in full.synflow} == {
        "lottery/vgg16-bn": 1.5,
        "imagenet/vgg19": 4.0,
    }


# Limits


def test_a_part_that_is_done_has_its_lines(report: Report) -> None:
    lines = report.work / "lines"
    code = (
        f'open({str(lines)!r}, \'w\').write(\'{{"what": "a", "here": 1}}\\n{{"what": "a", "here": 2}}\\n{{\')'
    )
    part = Part("quick", 100, file=lines)
    report.run(part, python(code))
    assert (part.state, part.lines) == ("done", [{"what": "a", "here": 2}])
    assert json.loads((report.output / "report.json").read_text("utf-8"))["parts"][0]["state"] == "done"


def test_a_part_that_fails_is_a_problem(report: Report) -> None:
    report.run(Part("broken", 100), python("raise SystemExit(3)"))
    assert report.problems == ["part 'broken' ended with an error; see log.txt"]


def lives(pid: str) -> bool:
    """Return True if a process still runs; one that no parent has waited for does not."""
    try:
        return ") Z " not in Path("/proc", pid, "stat").read_text()
    except OSError:
        return False


def test_a_part_is_killed_at_its_end_with_all_that_it_started(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its child has a session of its own, and both ignore SIGTERM."""
    monkeypatch.setattr(processes, "GRACE", 0.5)
    pids = report.work / "pids"
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "code = 'import time; time.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', code], start_new_session=True)\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n"
    )
    part = Part("endless", 3)
    started = time.monotonic()
    report.run(part, python(code))
    assert part.state == "cut off"
    assert time.monotonic() - started < 60
    deadline = time.monotonic() + 30
    while any(map(lives, pids.read_text().split())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_that_cannot_be_killed_does_not_hold_up_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs:
        """A process in a driver, which no signal reaches."""

        pid, returncode = 2**22 + 1, None  # above the largest process id

        def __init__(self, *_: object, **__: object) -> None:
            pass

        def wait(self, timeout: float) -> int:
            raise subprocess.TimeoutExpired("driver", timeout)

    monkeypatch.setattr(subprocess, "Popen", Hangs)
    assert processes.run_limited(["driver"], {}, 1, subprocess.DEVNULL, "none") is None


def test_a_part_that_runs_at_the_end_is_in_the_report(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []

    def hang(*_: object) -> None:
        part.file.write_text('{"what": "a", "here": 1}\n')
        report.ends_at = time.monotonic()
        run._end_at_the_latest(report, ended.append)
        deadline = time.monotonic() + 30
        while not ended:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        raise KeyboardInterrupt

    part = Part("hangs", 100, file=report.work / "lines")
    monkeypatch.setattr(run, "run_limited", hang)
    with pytest.raises(KeyboardInterrupt):
        report.run(part, python("pass"))
    (found,) = json.loads((report.output / "report.json").read_text("utf-8"))["parts"]
    assert ended == [1]
    assert (found["state"], found["lines"]) == ("cut off", [{"what": "a", "here": 1}])


def test_no_part_begins_when_the_time_is_over(report: Report) -> None:
    report.ends_at = time.monotonic() + run.RESERVE
    part = Part("late", 100)
    report.run(part, python("raise SystemExit(3)"))
    assert (part.state, part.spent) == ("not started", 0.0)


@pytest.mark.parametrize("size", ["full", "test"])
def test_the_images_of_the_board_are_decoded_once_before_it(
    size: str, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: dict[str, Sequence[str]] = {}

    def run_part(self: Report, part: Part, command: Sequence[str], leave: float = 0.0) -> None:
        self.parts.append(part)
        commands[part.name] = command
        part.state, part.spent = "done", 1.0
        part.lines = [{"device": "a device"}] if part.name == "environment" else []

    monkeypatch.setattr(Report, "run", run_part)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ARCHIVE).touch()
    report.given.size = size
    run.make(report)
    names = [*commands]
    assert names[-2:] == (["CIFAR images", "CIFAR board"] if size == "full" else ["steps", "CIFAR board"])
    assert names.index("fc board") > max(names.index(f"cells {name}") for name in run.CELLS)
    places = {
        name: command[list(command).index("--data") + 1]
        for name, command in commands.items()
        if "board" in name
    }
    decoded = report.work / "data" if size == "full" else tmp_path / "data"
    assert places == {"fc board": str(tmp_path / "data"), "CIFAR board": str(decoded)}


def test_limits_change_with_the_minutes(report: Report) -> None:
    report.given.minutes = 4.5
    part = Part("half", 100)
    report.run(part, python("pass"))
    assert part.allowed == 50


@pytest.mark.parametrize("state", ["cut off", "not started"])
def test_checks_that_are_missing_are_a_problem(report: Report, state: str) -> None:
    report.parts.append(Part("checks of masks", 100, state, lines=[{"test": "t", "outcome": "passed"}]))
    assert report.problems == [f"the checks of masks were {state}: some are missing"]


def test_a_cut_off_measurement_is_named_and_no_problem(report: Report) -> None:
    report.parts.append(Part("checks", 100, "done", lines=[{"test": "t", "outcome": "passed"}]))
    report.parts.append(Part("cells", 90, "cut off", 90, 90))
    assert report.problems == []
    assert "| cells | cut off | 90 | 90 |" in report.as_markdown()


def test_a_failed_check_is_named(report: Report) -> None:
    report.parts.append(Part("checks", 100, "done", lines=[{"test": "t", "outcome": "failed"}]))
    assert report.problems == ["check failed: t"]


def test_the_command_ends_with_2_if_nothing_can_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run.main(["--output", str(tmp_path / "file" / "folder")]) == 2
    assert "pass --output DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "cells", "per_epoch", "epochs"), [(200, 100, 0.1, 10), (200, 100, None, 1), (1, 100, 9, 1)]
)
def test_a_board_has_as_many_epochs_as_fit(
    seconds: float, cells: int, per_epoch: float | None, epochs: int
) -> None:
    assert boards.epochs_that_fit(seconds, cells, per_epoch) == epochs


def test_the_boards_are_those_that_are_to_be_measured() -> None:
    first = boards.board_of("fc board", "full", 100, [])
    second = boards.board_of("CIFAR board", "full", 100, [])
    options = list(first.options)
    cells = (
        options.count("--pruner")
        * options.count("--compression")
        * int(options[options.index("--seeds") + 1])
    )
    assert (cells, options[options.index("--epochs") + 1]) == (575, "10")
    assert set(boards.FC_PRUNERS) | set(boards.BOARD_PRUNERS) <= set(Host.load().pruners.names())
    assert (second.options.count("--pruner"), second.options.count("--compression")) == (8, 4)
    assert second.options[list(second.options).index("--seeds") + 1] == "3"


def test_the_small_size_has_time_for_a_busy_machine(report: Report) -> None:
    report.given.size = "test"
    part = Part("slow", 100)
    report.run(part, python("pass"))
    assert part.allowed == 200


# Images from an archive


def test_images_of_an_archive_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar10-jpeg.tar.gz", "w:gz") as archive:
        for name in ("train/b/1.jpg", "train/a/0.jpg", "test/b/0.jpg", "train/b/0.jpg", "test/a/0.jpg"):
            file = io.BytesIO()
            shade = 50 * (1 + len(name) % 2 + name.count("b"))
            Image.new("RGB", (32, 32), (shade, 0, 0)).save(file, "JPEG")
            member = tarfile.TarInfo(name)
            member.size = len(file.getvalue())
            archive.addfile(member, io.BytesIO(file.getvalue()))
    dataset = Cifar10Jpeg()
    assert dataset.present(tmp_path)
    splits = dataset.load(tmp_path)
    decode(tmp_path, tmp_path / "decoded")
    decoded = dataset.load(tmp_path / "decoded")
    assert dataset.present(tmp_path / "decoded")
    assert boards.ARCHIVE == ARCHIVE
    for one, other in ((splits.train, decoded.train), (splits.test, decoded.test)):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert (splits.train.labels.tolist(), splits.test.labels.tolist()) == ([0, 1, 1], [0, 1])
    assert splits.train.images.shape == (3, 3, 32, 32)
    assert splits.train.images[0, 0].float().mean() < splits.train.images[1, 0].float().mean()


# The bundle


def test_wheels_are_downloaded_for_the_other_python_without_torch() -> None:
    command = build.download_command(Path("wheels"), "3.13", "aarch64", complete=False)
    assert "cp313" in command
    assert "manylinux_2_28_aarch64" in command
    names = {Requirement(text).name for text in build.requirements(complete=False)}
    assert {"pydantic", "click", "pytest", "pip"} <= names
    assert not names & {"torch", "torchvision", "numpy", "scikit-learn"}
    everything = {Requirement(text).name for text in build.requirements(complete=True)}
    assert {"scikit-learn", "altair", "vl-convert-python"} == everything - names - {"numpy"}
    assert "torch" not in everything


def bare_python(folder: Path) -> Path:
    """Make a Python that has torch, torchvision and what they need, and nothing else of this one."""
    needed = (
        "torch torchvision torchgen functorch numpy numpy.libs PIL pillow.libs filelock typing_extensions.py"
    )
    needed += " sympy mpmath networkx jinja2 markupsafe fsspec setuptools nvidia triton cuda"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "bare")], check=True)
    installed, only = Path(torch.__file__).parents[1], folder / "only"
    only.mkdir()
    for name in needed.split():
        if (installed / name).exists():
            (only / name).symlink_to(installed / name)
    (site,) = (folder / "bare").glob("lib/python*/site-packages")
    (site / "only.pth").write_text(f"{only}\n")
    return folder / "bare" / "bin" / "python"


def without_a_network() -> list[str]:
    """Return a prefix for commands that have no network, where the system lets a user make one."""
    alone = ["unshare", "--map-root-user", "--net"]
    try:
        works = subprocess.run([*alone, "true"], capture_output=True).returncode == 0
    except OSError:
        works = False
    return alone if works else []


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    target = tmp_path / "a bundle"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        size = build.build(target, version, "x86_64")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the package index cannot be reached: {error.cmd[:4]}")
    assert size <= build.LARGEST
    return target


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the wheels are for x86_64")
def test_the_bundle_runs_on_a_bare_machine(
    bundle: Path, tmp_path: Path, launched: Callable[..., int]
) -> None:
    python_there = bare_python(tmp_path)
    output = tmp_path / "a report"
    before = {path: path.stat().st_mtime_ns for path in bundle.rglob("*")}
    code = launched(
        [*without_a_network(), "bash", str(bundle / "run.sh")],
        ["--device", "cpu", "--size", "test", "--minutes", "9", "--output", str(output)],
        {"PATH": os.defpath, "PYTHON": str(python_there)},
    )
    found = json.loads((output / "report.json").read_text("utf-8"))
    assert (code, found["problems"]) == (0, [])
    assert {part["name"]: part["state"] for part in found["parts"]} == dict.fromkeys(
        [
            "installation",
            "environment",
            *(f"checks of {name}" for name in ("training", "cells", "masks")),
            "pruning",
            *(f"cells {name}" for name in run.CELLS),
            "fc board",
            "steps",
            "CIFAR board",
        ],
        "done",
    )
    assert len(found["checks"]["passed"]) > 30
    assert found["checks"]["failed"] == []
    assert "| fc board: 5 cells of 1 epoch |" in (output / "report.md").read_text("utf-8")
    assert {path: path.stat().st_mtime_ns for path in bundle.rglob("*")} == before


@pytest.fixture
def launched(tmp_path: Path) -> Callable[..., int]:
    def launched(command: list[str], options: list[str], environment: dict[str, str]) -> int:
        done = subprocess.run([*command, *options], env=environment, cwd=tmp_path, timeout=600)
        return done.returncode

    return launched
