"""Check and measure synflow-bench on a device in a given number of minutes, without a network.

It writes `report.json`, `report.md` and `log.txt`, the most important results first. Every part has a time
limit of its own, after which it is killed with all that it has started, and is named in the report. The exit
code is 0 if every check has passed, 1 if not, and 2 if nothing could be run.

Beside a folder `wheels`, the wheels are installed into a temporary folder first; without one, as in a
checkout, the packages of this Python are used.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from bundle.boards import ARCHIVE, board_of  # noqa: E402
from bundle.processes import MARK, end_all, run_limited  # noqa: E402

BUNDLED = (ROOT / "wheels").is_dir()
"""True in a bundle, from which the packages are installed, and False in a checkout."""
CODE = ("benchmarks", "tests/gpu")
"""What the parts run; it is copied from a bundle, because Python writes beside what it runs."""
RESERVE = 10.0
"""Seconds at the end in which nothing runs but the writing of the report."""
WRITING = 20.0
"""Seconds in which the table and the archive of a board are written."""
SLACK = 2.0
"""The factor of the limits in the size `test`, which is for machines that do other work too."""
FULL_MINUTES = 9.0
"""The minutes for which the limits of the parts are stated; with others they change in proportion."""
CELLS = {"fc": 30, "resnet20": 45, "conv": 40}
"""The networks whose cells are timed, each in a part of its own, with its limit."""
BASELINE = (
    "Conventional code computes in float32 with torch's defaults (convolutions in TF32, algorithms that need "
    "not be repeatable) and decodes images one by one in its own process; ours is repeatable, without TF32."
)
REST = 1e6
"""More seconds than there are: the part takes what is left."""


@dataclass
class Part:
    """A part of the report.

    Attributes:
        name: Its name.
        seconds: Its limit in a report of nine minutes.
        state: How it ended: `done`, `cut off`, `failed` or `not started`.
        spent: The seconds that it took.
        allowed: The seconds that it had.
        lines: What it measured.
        file: The file that it appends its measurements to, if it does.
    """

    name: str
    seconds: float
    state: str = "not started"
    spent: float = 0.0
    allowed: float = 0.0
    lines: list[dict[str, Any]] = field(default_factory=list)
    file: Path | None = None

    @property
    def runs(self) -> bool:
        """True while it runs: it counts as cut off until it has ended."""
        return self.state == "cut off" and not self.spent

    def read(self) -> None:
        """Read what it has measured until now."""
        if self.file is not None:
            self.lines = read_lines(self.file)


@dataclass
class Report:
    """A report in progress.

    Attributes:
        given: The options of the command.
        output: The folder of the results.
        work: A temporary folder.
        ends_at: The time on the monotonic clock at which everything has ended.
        parts: The parts so far.
        machine: The description of the device and its software.
        fault: The reason why nothing more could be run, if there is one.
        exit_code: The exit code of the command, if it ended now.
        token: The value of `MARK` in the environment of all parts.
        started: The date and time of the start.
    """

    given: argparse.Namespace
    output: Path
    work: Path
    ends_at: float
    parts: list[Part] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    exit_code: int = 1
    token: str = field(default_factory=lambda: f"{os.getpid()}-{time.monotonic_ns()}")
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def left(self) -> float:
        """The seconds in which parts may run."""
        return self.ends_at - RESERVE - time.monotonic()

    @property
    def code(self) -> Path:
        """The folder of `CODE`."""
        return self.work / "code" if BUNDLED else ROOT

    @property
    def results(self) -> Path:
        """The folder of the records of both boards."""
        return self.work / "results"

    def environment(self, lines: Path | None = None) -> dict[str, str]:
        """Return the environment of the parts; tests append their outcomes to the file `lines`."""
        paths = [self.work / "packages"] if BUNDLED else [ROOT, ROOT / "plugins"]
        paths += [self.code / "benchmarks"]
        kept = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*map(str, paths), *kept]),
            "TORCHINDUCTOR_CACHE_DIR": str(self.work / "compiled"),
            "TRITON_CACHE_DIR": str(self.work / "triton"),
            "SYNFLOW_BENCH_TEST_LINES": str(lines or ""),
            "OMP_NUM_THREADS": "1",
            MARK: self.token,
        }

    def run(self, part: Part, command: Sequence[str], leave: float = 0.0) -> None:
        """Run a part within its limit, and read what it has measured, even if it was cut off.

        Args:
            part: The part, which gets its state.
            command: What it runs.
            leave: Seconds to leave for what comes after it.
        """
        share = self.given.minutes / FULL_MINUTES * (SLACK if self.given.size == "test" else 1)
        part.allowed = max(0.0, min(part.seconds * share, self.left - leave))
        self.parts.append(part)
        if part.allowed < 1:
            return
        print(f"{part.name}: at most {part.allowed:.0f} s ...", end=" ", flush=True)
        started, part.state, code = time.monotonic(), "cut off", None
        try:
            with (self.output / "log.txt").open("a", encoding="utf-8") as log:
                print(f"\n==== {part.name}: {' '.join(command)}\n", file=log, flush=True)
                code = run_limited(command, self.environment(part.file), part.allowed, log, self.token)
        finally:
            part.spent = time.monotonic() - started
            part.read()
        part.state = {None: "cut off", 0: "done"}.get(code, "failed")
        print(f"{part.state} after {part.spent:.0f} s", flush=True)
        self.write()

    def write(self) -> None:
        """Write the results so far, each file whole or not at all."""
        for name, text in (("report.json", self.as_json()), ("report.md", self.as_markdown())):
            new = self.output / f".{name}.{threading.get_ident()}"  # the timer writes at the end, too
            new.write_text(text, encoding="utf-8")
            new.replace(self.output / name)

    @property
    def checks(self) -> dict[str, list[str]]:
        """The tests that passed, failed and were skipped."""
        found: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
        for part in self.parts:
            for line in part.lines:
                if "outcome" in line:
                    found[line["outcome"]].append(line["test"])
        return found

    @property
    def problems(self) -> list[str]:
        """The reasons why the checks have not passed, a line each."""
        problems = [self.fault] if self.fault else []
        problems += [f"check failed: {test}" for test in self.checks["failed"]]
        for part in self.parts:
            if part.name.startswith("checks") and part.state in ("cut off", "not started"):
                problems.append(f"the {part.name} were {part.state}: some are missing")
            elif part.state == "failed":
                problems.append(f"part {part.name!r} ended with an error; see log.txt")
        if not self.checks["passed"] and not problems:
            problems.append("no check has run")
        return problems

    def as_json(self) -> str:
        """Return everything as JSON."""
        whole = {
            "started": self.started,
            "minutes": self.given.minutes,
            "size": self.given.size,
            "machine": self.machine,
            "problems": self.problems,
            "checks": self.checks,
            "parts": [
                {
                    "name": part.name,
                    "state": part.state,
                    "seconds": round(part.spent, 1),
                    "limit": round(part.allowed, 1),
                    "lines": [line for line in part.lines if "outcome" not in line],
                }
                for part in self.parts
            ],
        }
        return json.dumps(whole, indent=1) + "\n"

    def as_markdown(self) -> str:
        """Return the tables for readers."""
        device = self.machine.get("device", "not known")
        checks = {outcome: len(tests) for outcome, tests in self.checks.items()}
        text = [
            f"# synflow-bench on {device}",
            "",
            f"{self.started}, torch {self.machine.get('torch', '?')}, size {self.given.size}, "
            f"{self.given.minutes:g} minutes.",
            "",
            ", ".join(f"{count} {outcome}" for outcome, count in checks.items()) + " checks.",
            *(f"- {problem}" for problem in self.problems),
            "",
            "| part | state | seconds | limit |",
            "| --- | --- | --- | --- |",
            *(f"| {p.name} | {p.state} | {p.spent:.0f} | {p.allowed:.0f} |" for p in self.parts),
            "",
            BASELINE,
            "",
            "| work | conventional | here | ratio | to reach | reached | notes |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        text += [row(line) for part in self.parts for line in part.lines if "what" in line]
        return "\n".join(text) + "\n"


def row(line: Mapping[str, Any]) -> str:
    """Return a measurement as a row of the table."""
    here, conventional = line["here"], line.get("conventional")
    ratio = f"{conventional / here:.1f}" if here and conventional else ""
    ratio_to, seconds_to = line.get("least_ratio"), line.get("most_seconds")
    goal = f"{ratio_to:g} x" if ratio_to else f"{seconds_to:g} s" if seconds_to else ""
    reached = {True: "yes", False: "no", None: "not measured" if goal else ""}[line.get("reached")]
    both = [f"{value:.4g} s" if value is not None else "" for value in (conventional, here)]
    return f"| {' | '.join([line['what'], *both, ratio, goal, reached, line.get('note', '')])} |"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file of JSON lines; of measurements of the same work, the last."""
    found: dict[str, dict[str, Any]] = {}
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for number, line in enumerate(text.splitlines()):
        with suppress(ValueError):  # the last one may be cut off
            fields = json.loads(line)
            found[str(fields.get("what", number))] = fields
    return list(found.values())


# The parts


def make(report: Report) -> None:
    """Run all parts, the most important ones first."""
    python, given = sys.executable, report.given
    work = report.work
    if BUNDLED:
        for path in (path for folder in CODE for path in (ROOT / folder).rglob("*.py")):
            copy = work / "code" / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        part = Part("installation", 120)
        report.run(part, install_command(work / "packages"))
        if part.state != "done":
            reason = "took too long" if part.state == "cut off" else "failed: another Python or platform?"
            report.fault = f"the installation {reason}; see log.txt"
            return
    options = ["--device", given.device, "--size", given.size]

    def measure(name: str, seconds: float) -> Part:
        part = Part(name, seconds, file=work / f"{name}.jsonl")
        parts = report.code / "benchmarks" / "bundle" / "parts.py"
        report.run(part, [python, str(parts), name, *options, "--lines", str(part.file)])
        return part

    machine = measure("environment", 120)
    if machine.state != "done" or not machine.lines:
        report.fault = f"torch cannot compute on device {given.device!r} here; see log.txt"
        return
    report.machine = machine.lines.pop()
    for name, seconds in (("training", 40), ("cells", 40), ("masks", 60)):
        part = Part(f"checks of {name}", seconds, file=work / f"checks of {name}.jsonl")
        tests = report.code / "tests" / "gpu" / f"test_{name}.py"
        report.run(part, check_command(tests, work, given.device))
    measure("pruning", 60)
    lines = [line for name, seconds in CELLS.items() for line in measure(f"cells {name}", seconds).lines]
    run_board(report, Part("fc board", 190), ROOT / "data", lines)
    measure("steps", 40)
    run_board(report, Part("CIFAR board", REST), decoded(report), lines)


def decoded(report: Report) -> Path:
    """Decode the images of the CIFAR board once, not in every worker; return the data folder with them."""
    data = ROOT / "data"
    if report.given.size == "test" or not (data / ARCHIVE).is_file():
        return data
    part, target = Part("CIFAR images", 40), report.work / "data"
    file = report.code / "benchmarks" / "bundle" / "cifar10_jpeg.py"
    report.run(part, [sys.executable, str(file), str(data), str(target)], leave=WRITING)
    return target if part.state == "done" else data


def install_command(target: Path) -> list[str]:
    """Return the command that installs all wheels with the pip among them, for this Python alone."""
    wheels = ROOT / "wheels"
    (pip,) = wheels.glob("pip-*.whl")
    others = [str(wheel) for wheel in sorted(wheels.glob("*.whl")) if wheel != pip]
    quiet = ["--quiet", "--no-cache-dir", "--no-compile", "--disable-pip-version-check"]
    options = ["--no-index", "--no-deps", "--target", str(target)]
    return [sys.executable, str(pip / "pip"), "install", *quiet, *options, *others]


def check_command(tests: Path, work: Path, device: str) -> list[str]:
    """Return the command that runs the tests in a file that are for this device."""
    settings = work / "pytest.ini"
    settings.write_text("[pytest]\nmarkers =\n    gpu\n    slow\n", encoding="utf-8")
    chosen = "gpu" if device.startswith("cuda") else "not gpu"
    options = ["-c", str(settings), "--rootdir", str(tests.parent), "--confcutdir", str(tests.parent)]
    options += ["-p", "no:cacheprovider", "--import-mode=importlib", "-q", "-rs", "-m", chosen]
    return [sys.executable, "-m", "pytest", *options, str(tests)]


def run_board(report: Report, part: Part, data: Path, cells: Sequence[Mapping[str, Any]]) -> None:
    """Run a board as far as its time reaches, and write its table and its records beside the report."""
    name = part.name.replace(" ", "-")
    board, results = board_of(part.name, report.given.size, report.left, cells), report.results / name
    suite = report.work / f"{name}.toml"
    suite.write_text(board.suite, encoding="utf-8")
    harness = [sys.executable, "-m", "synflow_bench"]
    plugins = [
        word
        for file in ("made_up_data.py", "bundle/cifar10_jpeg.py")
        for word in ("--plugin", str(report.code / "benchmarks" / file))
    ]
    given = ["--device", report.given.device, "--data", str(data), "--results", str(results)]
    command = [*harness, "run", "--suite", str(suite), *given, *plugins, *board.options, "--json"]
    report.run(part, command, leave=WRITING)
    if part.state == "not started":
        return
    records = [path for path in results.glob("records/**/*.json") if not path.name.startswith(".")]
    ok = sum('"status": "ok"' in path.read_text(encoding="utf-8") for path in records)
    finished = part.state == "done"
    part.lines = [
        {
            "what": f"{part.name}: {ok} cells of {board.plan}",
            "here": part.spent,
            "most_seconds": board.most_seconds,
            "reached": finished and part.spent <= board.most_seconds if board.most_seconds else None,
            "note": f"{len(records) - ok} failed or skipped" + ("" if finished else "; not all cells"),
        }
    ]
    if ok:
        for last in (
            [
                "leaderboard",
                "--results",
                str(results),
                "--output",
                str(report.output / f"{name}.md"),
                "--force",
            ],
            [
                "results",
                "export",
                str(report.output / f"{name}.tar.gz"),
                "--results",
                str(results),
                "--force",
            ],
        ):
            with (report.output / "log.txt").open("a", encoding="utf-8") as log:
                run_limited(
                    [*harness, *last], report.environment(), min(WRITING / 2, report.left), log, report.token
                )
    report.write()


# The command


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the report; return the exit code."""
    started = time.monotonic()
    given = _arguments(arguments)
    output = given.output.resolve()
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "log.txt").write_text("", encoding="utf-8")
    except OSError as error:
        print(f"error: cannot write to {output}: {error}; pass --output DIR", file=sys.stderr)
        return 2
    work = Path(tempfile.mkdtemp(prefix="synflow-bench-"))
    report = Report(given, output, work, started + 60 * given.minutes)
    _end_at_the_latest(report)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        make(report)
    except KeyboardInterrupt:
        report.fault = "interrupted"
    except Exception as error:
        report.fault = f"{type(error).__name__}: {error}"
    report.write()
    report.exit_code = 2 if report.fault else int(bool(report.problems))
    print(report.as_markdown())
    print(f"written to {output}", flush=True)
    shutil.rmtree(work, ignore_errors=True)  # which may take long; the report is complete
    return report.exit_code


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end_at_the_latest(report: Report, exit_now: Callable[[int], object] = os._exit) -> None:
    """End everything when the time is over, whatever this process is doing then."""

    def end() -> None:
        with suppress(Exception):
            for part in (part for part in report.parts if part.runs):
                part.read()
                report.write()
        end_all(report.token)
        exit_now(report.exit_code)

    timer = threading.Timer(max(0.0, report.ends_at - time.monotonic()), end)
    timer.daemon = True
    timer.start()


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=FULL_MINUTES, help="when everything has ended")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument(
        "--size", choices=["full", "test"], default="full", help="test: tiny, to try the code"
    )
    parser.add_argument("--output", type=Path, default=Path("synflow-bench-report"), help="the new folder")
    given = parser.parse_args(arguments)
    if not 0.2 <= given.minutes <= 600:
        parser.error(f"--minutes is {given.minutes:g}; give a number from 0.2 to 600")
    return given


if __name__ == "__main__":
    sys.exit(main())
