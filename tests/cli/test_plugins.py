"""`synflow-bench list`, `plugins`, `check` and `new-plugin`."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.cli import print_table
from synflow_bench.host import KINDS
from synflow_bench.scaffold import KINDS as SCAFFOLDS

Run = Callable[..., Any]

# `list`


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_listed_as_json(distribution: Any, invoke: Run, kind: str) -> None:
    distribution("third", f"@hookimpl\ndef {KINDS[kind]}(): return {{'mine': 'some.module:Thing'}}")
    outcome = invoke("list", f"{kind}s", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    mine = {
        "name": "mine",
        "description": "",
        "parameters": {},
        "distribution": "third",
        "version": "1.0",
        "plugin": "third",
        "reference": "some.module:Thing",
    }
    assert mine in json.loads(outcome.out)


@pytest.mark.parametrize("kind", KINDS)
def test_every_first_party_name_has_a_description_within_80_columns(invoke: Run, kind: str) -> None:
    entries = json.loads(invoke("list", f"{kind}s", "--json").out)
    assert all(entry["description"] for entry in entries)
    lines = invoke("list", f"{kind}s").out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert {line.split()[0] for line in lines} >= {entry["name"] for entry in entries}


def test_a_name_is_listed_with_its_line_its_parameters_and_its_distribution(invoke: Run, mine: Path) -> None:
    lines = invoke("list", "pruners", "--plugin", str(mine)).out.splitlines()
    (row,) = (index for index, line in enumerate(lines) if line.startswith("mine "))
    digits = sha256(mine.read_bytes()).hexdigest()
    assert lines[row].split(maxsplit=1)[1] == f"Mine: keep large weights (lab_mine.py sha256:{digits[:12]})"
    assert lines[row + 1].split() == ["power=1"]
    (synflow,) = (index for index, line in enumerate(lines) if line.startswith("synflow "))
    assert "synaptic flow" in lines[synflow]
    assert "synflow-bench" not in lines[synflow]
    assert lines[synflow + 1].split() == ["rounds=100"]


def test_long_descriptions_and_parameters_are_wrapped(distribution: Any, invoke: Run) -> None:
    parameters = "\n".join(f"    parameter_{number}: int = {number}" for number in range(9))
    code = f"class Long:\n    '''{'many words ' * 20}'''\n{parameters}\n"
    distribution("third", code + "@hookimpl\ndef synflow_bench_pruners(): return {'long': 'third:Long'}")
    lines = invoke("list", "pruners").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "parameter_8=8" in " ".join(lines).split()


def test_of_a_plugin_file_the_hash_is_the_version(invoke: Run, mine: Path) -> None:
    entries = json.loads(invoke("list", "pruners", "--json", "--plugin", str(mine)).out)
    (entry,) = (entry for entry in entries if entry["name"] == "mine")
    digits = sha256(mine.read_bytes()).hexdigest()
    assert (entry["distribution"], entry["version"]) == ("lab_mine.py", f"sha256:{digits}")
    assert entry["parameters"] == {"power": "1"}
    assert "mine" not in invoke("list", "pruners").out.split()


def test_several_plugin_files_may_be_named(invoke: Run, mine: Path) -> None:
    other = mine.with_name("lab_other.py")
    other.write_text(mine.read_text().replace('"mine"', '"other"').replace("lab_mine", "lab_other"))
    out = invoke("list", "pruners", "--plugin", str(mine), "--plugin", str(other)).out
    assert {"mine", "other"} <= {line.split()[0] for line in out.splitlines()}


@pytest.mark.parametrize("command", [["run"], ["list", "pruners"]], ids=" ".join)
@pytest.mark.parametrize(
    ("code", "facts"),
    [
        (None, ["'lab/lab_broken.py'", ".py file"]),
        ("import absent_module", ["'lab/lab_broken.py'", "ModuleNotFoundError: ", "'absent_module'"]),
        ("x = 1", ["'lab/lab_broken.py'", "synflow_bench_pruners"]),
    ],
)
def test_a_plugin_file_that_cannot_be_used_is_one_line(
    invoke: Run, mine: Path, command: list[str], code: str | None, facts: list[str]
) -> None:
    broken = mine.with_name("lab_broken.py")
    if code is not None:
        broken.write_text(code)
    invoke(*command, "--plugin", str(mine), "--plugin", str(broken)).assert_refused(*facts)


@pytest.mark.parametrize(
    "command", [["run", "--pruner", "mine", "--dry-run"], ["run", "--pruner", "mine"]], ids=" ".join
)
def test_a_pruner_without_its_method_is_refused_before_anything_runs(
    invoke: Run, mine: Path, tmp_path: Path, command: list[str]
) -> None:
    mine.write_text(mine.read_text().replace("def score(", "def scores("))
    options = ["--plugin", str(mine), "--results", str(tmp_path / "results")]
    invoke(*command, *options).assert_refused("'mine' of lab_mine.py", "'score'", "'scores'")
    assert not (tmp_path / "results").exists()


def test_the_check_of_a_pruner_without_its_method_names_it_and_nothing_else(invoke: Run, mine: Path) -> None:
    mine.write_text(mine.read_text().replace("def score(", "def scores("))
    outcome = invoke("check", "mine", "--plugin", str(mine), "--json")
    (report,) = json.loads(outcome.out)
    first, *others = report["findings"]
    assert (outcome.code, first["rule"], first["verdict"]) == (1, "contract", "fail")
    assert "'score' by 'scores'" in first["reason"]
    assert {finding["reason"] for finding in others} == {"not checked: contract failed"}


def test_a_wrong_kind_is_one_line(invoke: Run) -> None:
    invoke("list", "pruner").assert_refused("'pruner'", "'pruners'", "`synflow-bench list --help`")


def test_a_misspelled_hook_stops_it(distribution: Any, invoke: Run) -> None:
    distribution("faulty", "@hookimpl\ndef synflow_bench_pruner(): ...")
    facts = ("'faulty' of faulty 1.0", "'synflow_bench_pruner'", "'synflow_bench_pruners'")
    invoke("list", "pruners").assert_refused(*facts, "SYNFLOW_BENCH_DISABLE")


def test_a_broken_plugin_costs_one_warning(distribution: Any, invoke: Run) -> None:
    distribution("broken", "raise RuntimeError('on import')")
    outcome = invoke("list", "suites", "--json")
    assert outcome.code == 0
    assert "quick" in {entry["name"] for entry in json.loads(outcome.out)}
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("warning: plugin 'broken' of broken 1.0")
    assert "RuntimeError: on import" in outcome.err


def test_listing_calls_no_hook_for_commands(distribution: Any, invoke: Run) -> None:
    distribution("third", "@hookimpl\ndef synflow_bench_commands(group): 1 / 0")
    outcome = invoke("list", "suites")
    assert (outcome.code, outcome.err) == (0, "")
    assert "third" in sys.modules


# `plugins`

GOOD = """
    import click
    @hookimpl
    def synflow_bench_pruners(): return {'good': object()}
    @hookimpl
    def synflow_bench_commands(group): group.add_command(click.Command('greet'))
"""


@pytest.fixture
def all_sorts(distribution: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One plugin of every status."""
    distribution("a-good", GOOD, version="2.1", plugin="door")
    distribution("b-broken", "raise RuntimeError('on import')")
    distribution("c-blocked", "raise RuntimeError('never seen')")
    distribution("d-faulty", "@hookimpl\ndef synflow_bench_pruner(): ...")
    distribution("e-loud", "@hookimpl\ndef synflow_bench_commands(group): 1 / 0")
    monkeypatch.setenv("SYNFLOW_BENCH_DISABLE", "c-blocked")


@pytest.mark.usefixtures("all_sorts")
def test_every_status_has_its_cause(invoke: Run) -> None:
    outcome = invoke("plugins", "--json")
    assert outcome.code == 0
    plugins = {plugin["distribution"]: plugin for plugin in json.loads(outcome.out)}
    expected = {
        "b-broken": ("quarantined", "RuntimeError: on import"),
        "c-blocked": ("blocked", "SYNFLOW_BENCH_DISABLE"),
        "d-faulty": ("invalid", "'synflow_bench_pruner'"),
        "e-loud": ("quarantined", "ZeroDivisionError: division by zero"),
    }
    for name, (status, cause) in expected.items():
        assert plugins[name]["status"] == status
        assert cause in plugins[name]["cause"]
    assert plugins["a-good"] == {
        "distribution": "a-good",
        "version": "2.1",
        "plugin": "door",
        "reference": "a_good",
        "status": "ok",
        "cause": None,
        "provides": {"pruner": ["good"], "command": ["greet"]},
    }


@pytest.mark.usefixtures("all_sorts")
def test_in_a_pipe_it_is_one_line_per_plugin(invoke: Run) -> None:
    lines = [line.split(maxsplit=4) for line in invoke("plugins").out.splitlines()]
    assert lines[0] == ["plugin", "distribution", "version", "status", "provides"]
    assert ["door", "a-good", "2.1", "ok", "pruners: good; commands: greet"] in lines
    assert ["b_broken", "b-broken", "1.0", "quarantined", "RuntimeError: on import"] in lines


def test_on_a_terminal_it_is_a_drawn_table_of_plain_text(
    invoke: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    out = invoke("plugins").out
    assert "─" in out
    assert "synflow-bench" in out
    print_table(["name"], [["[bold]plain[/bold]"]])
    assert "[bold]plain[/bold]" in capsys.readouterr().out


def test_many_names_are_counted(distribution: Any, invoke: Run) -> None:
    names = {f"net{number}": "module:net" for number in range(7)}
    distribution("zoo", f"@hookimpl\ndef synflow_bench_models(): return {names}")
    assert "7 models" in invoke("plugins").out


def test_two_plugins_that_claim_one_name_are_both_listed(distribution: Any, invoke: Run) -> None:
    for name in ("alpha", "beta"):
        distribution(name, "@hookimpl\ndef synflow_bench_pruners(): return {'mine': object()}")
    outcome = invoke("plugins")
    assert outcome.code == 0
    lines = {line.split()[0]: line for line in outcome.out.splitlines()}
    assert all(fact in lines["alpha"] for fact in ("'mine'", "'beta' of beta 1.0"))
    assert all(fact in lines["beta"] for fact in ("'mine'", "'alpha' of alpha 1.0"))


def test_a_plugin_file_is_listed(invoke: Run, mine: Path) -> None:
    digits = sha256(mine.read_bytes()).hexdigest()
    row = invoke("plugins", "--plugin", str(mine)).out.splitlines()[-1].split()
    assert row == ["lab_mine", "lab_mine.py", f"sha256:{digits[:12]}", "ok", "pruners:", "mine"]
    mine.write_text("import absent_module")
    outcome = invoke("plugins", "--json", "--plugin", str(mine))
    assert outcome.code == 0
    plugin = json.loads(outcome.out)[-1]
    assert (plugin["plugin"], plugin["status"], plugin["reference"]) == ("lab_mine", "invalid", str(mine))
    assert "'absent_module'" in plugin["cause"]


def test_strict_mode_stops_even_this(distribution: Any, invoke: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    source = distribution("broken", "raise RuntimeError('on import')")
    monkeypatch.setenv("SYNFLOW_BENCH_STRICT", "1")
    invoke("plugins").assert_refused("'broken' of broken 1.0", "RuntimeError: on import")
    debug = invoke("plugins", "--debug")
    assert debug.code == 2
    assert f'File "{source}"' in debug.err
    assert debug.err.splitlines()[-1] == invoke("plugins").err.strip()


# `check`

PRUNERS = """
from synflow_bench import Pruner

class Mine(Pruner):
    needs_data = False
    rounds: int = 2
    def score(self, problem):
        return {name: p.detach().abs() for name, p in problem.parameters.items()}

class Faulty(Mine):
    def score(self, problem):
        return {}

class Mistaken(Mine):
    def score(self, problem):
        import trch
        return super().score(problem)

@hookimpl
def synflow_bench_pruners():
    return {
        "ours": Mine, "faulty": Faulty, "both": Mine, "lazy": "ours_in_part:Lazy", "typo": "ours:None_",
        "mistaken": Mistaken, "function": synflow_bench_pruners,
    }
"""


@pytest.fixture
def ours(distribution: Any) -> None:
    """A distribution with a sound pruner, `ours`, and unsound ones."""
    extra = "A.Solver-nobody_has[fast]>=2; extra == 'solver'"
    source = distribution("ours", PRUNERS, requires=f"synflow-bench\nRequires-Dist: {extra}")
    source.with_name("ours_in_part.py").write_text("import a_solver_nobody_has")


@pytest.mark.usefixtures("ours")
class TestCheck:
    """`check` lists every rule with its verdict, and exits with 1 if one is broken."""

    def test_every_rule_is_listed(self, invoke: Run) -> None:
        outcome = invoke("check", "ours")
        lines = outcome.out.splitlines()
        assert outcome.code == 0
        assert lines[0] == "pruner ours"
        assert lines[1].split() == ["rule", "verdict", "reason"]
        assert ["exact-density", "pass"] in [line.split() for line in lines]
        assert lines[-2] == "21 passed, 1 skipped"

    def test_a_broken_rule_makes_the_exit_code_one(self, invoke: Run) -> None:
        outcome = invoke("check", "faulty", "digits")
        assert outcome.code == 1
        (line,) = (line for line in outcome.out.splitlines() if line.startswith("scores-fit "))
        assert line.split()[1] == "fail"
        assert "'classifier.weight'" in line
        assert "dataset digits" in outcome.out

    def test_json_is_alone_on_stdout(self, invoke: Run) -> None:
        outcome = invoke("check", "faulty", "--json")
        (report,) = json.loads(outcome.out)
        assert outcome.code == 1
        assert (report["kind"], report["name"], report["passed"]) == ("pruner", "faulty", False)
        findings = {finding["rule"]: finding for finding in report["findings"]}
        assert findings["contract"]["verdict"] == "pass"
        assert findings["scores-fit"]["verdict"] == "fail"
        assert findings["cost"]["verdict"] == "skip"
        assert "scores-fit" in findings["cost"]["reason"]

    def test_a_missing_module_that_is_not_declared_is_a_failure_with_its_line(self, invoke: Run) -> None:
        outcome = invoke("check", "mistaken", "--json")
        (report,) = json.loads(outcome.out)
        assert outcome.code == 1
        (broken,) = (finding for finding in report["findings"] if finding["verdict"] == "fail")
        assert broken["rule"] == "scores-fit"
        assert broken["reason"].startswith("ModuleNotFoundError: No module named 'trch' (ours.py:")

    def test_a_plugin_file_declares_no_module(self, invoke: Run, tmp_path: Path) -> None:
        file = tmp_path / "lab_lazy.py"
        lines = ("from synflow_bench import hookimpl", "@hookimpl", "def synflow_bench_pruners():")
        file.write_text("\n".join([*lines, "    return {'of-file': 'ours_in_part:Lazy'}"]))
        outcome = invoke("check", "of-file", "--plugin", str(file))
        assert outcome.code == 1
        assert "ModuleNotFoundError: No module named 'a_solver_nobody_has'" in outcome.out

    def test_a_function_is_no_pruner(self, invoke: Run) -> None:
        outcome = invoke("check", "function")
        assert outcome.code == 1
        assert "'synflow_bench_pruners'" in outcome.out
        assert "synflow_bench.Pruner" in outcome.out

    def test_a_missing_optional_dependency_is_a_skip(self, invoke: Run) -> None:
        outcome = invoke("check", "lazy", "--json")
        (report,) = json.loads(outcome.out)
        assert outcome.code == 0
        assert {finding["verdict"] for finding in report["findings"]} == {"skip"}
        assert all("'a_solver_nobody_has'" in finding["reason"] for finding in report["findings"])

    def test_a_reference_to_nothing_is_a_failure(self, invoke: Run) -> None:
        outcome = invoke("check", "typo")
        assert outcome.code == 1
        assert "'ours:None_'" in outcome.out

    def test_parameters_are_checked(self, invoke: Run, mine: Path) -> None:
        assert invoke("check", "ours[rounds=3]").code == 0
        outcome = invoke("check", "mine[power=2]", "--json", "--plugin", str(mine))
        (report,) = json.loads(outcome.out)
        assert outcome.code == 0
        assert (report["kind"], report["name"], report["passed"]) == ("pruner", "mine", True)

    @pytest.mark.parametrize(
        ("arguments", "facts"),
        [
            (["magntude"], ["'magntude'", "'magnitude'"]),
            (["nonesuch"], ["'nonesuch'", *(f"`synflow-bench list {kind}s`" for kind in SCAFFOLDS)]),
            (["fc", "--kind", "dataset"], ["dataset 'fc'", "`synflow-bench list datasets`"]),
            (["ours[round=3]"], ["'ours' of ours 1.0", "'round'", "'rounds'"]),
            (["ours[rounds=many]"], ["'ours' of ours 1.0", "rounds='many'"]),
            (["ours[rounds"], ["'ours[rounds'"]),
            (["fc[width=3]"], ["model 'fc'"]),
            ([], ["NAME"]),
            (["fc", "--kind", "suite"], ["--kind", "'suite'"]),
        ],
    )
    def test_a_wrong_name_is_one_line(self, invoke: Run, arguments: list[str], facts: list[str]) -> None:
        invoke("check", *arguments).assert_refused(*facts)

    def test_a_name_of_two_kinds_is_checked_as_both(self, distribution: Any, invoke: Run) -> None:
        distribution(
            "other", "from torch import nn\n@hookimpl\ndef synflow_bench_models(): return {'both': nn}"
        )
        outcome = invoke("check", "both", "--json")
        assert [(report["kind"], report["passed"]) for report in json.loads(outcome.out)] == [
            ("pruner", True),
            ("model", False),
        ]
        assert invoke("check", "both", "--kind", "pruner").code == 0


# `new-plugin`


@pytest.mark.parametrize("kind", SCAFFOLDS)
def test_a_new_plugin_has_every_file(kind: str, invoke: Run, tmp_path: Path) -> None:
    outcome = invoke("new-plugin", "mylab/fast-one", "--kind", kind, "--output", str(tmp_path / "new"))
    assert outcome.code == 0
    folder = tmp_path / "new" / "synflow-bench-mylab-fast-one"
    assert str(folder) in outcome.out
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    module = "synflow_bench_mylab_fast_one"
    assert files == {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        ".github/workflows/test.yml",
        f"{module}.py",
        f"tests/test_{module}.py",
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "synflow-bench-mylab-fast-one"
    assert project["entry-points"]["synflow_bench"] == {module: module}
    code = (folder / f"{module}.py").read_text()
    hooks = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    assert f"synflow_bench_{kind}s" in hooks
    assert '"mylab/fast-one"' in code
    workflow = (folder / ".github/workflows/test.yml").read_text()
    assert "python-version: ${{ matrix.python }}\n" in workflow
    for step in ("pytest", "synflow-bench check mylab/fast-one"):
        assert f"      - run: {step}\n" in workflow


@pytest.mark.parametrize("kind", SCAFFOLDS)
def test_the_code_of_a_new_plugin_passes_ruff(kind: str, invoke: Run, tmp_path: Path) -> None:
    invoke("new-plugin", "mine", "--kind", kind, "--output", str(tmp_path))
    for check in (["format", "--check"], ["check", "--select", "E,F,W,B,UP,N,SIM,RUF"]):
        command = [sys.executable, "-m", "ruff", *check, "--isolated", "--line-length", "110", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_an_existing_folder_is_not_changed(invoke: Run, tmp_path: Path) -> None:
    folder = tmp_path / "synflow-bench-mine"
    folder.mkdir()
    (folder / "work.py").write_text("precious")
    invoke("new-plugin", "mine", "--output", str(tmp_path)).assert_refused(str(folder))
    assert [path.name for path in tmp_path.rglob("*")] == ["synflow-bench-mine", "work.py"]


def test_an_interrupted_write_leaves_nothing(
    invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def full_disk(path: Path, text: str, **options: Any) -> int:
        if path.suffix == ".py":
            raise OSError(28, "No space left on device")
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full_disk)
    invoke("new-plugin", "mine", "--output", str(tmp_path)).assert_refused("No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["Gradnorm"], ["'Gradnorm'"]),
        (["../x"], ["'../x'"]),
        (["synflow-bench-"], ["'synflow-bench-'"]),
        (["x" * 65], [repr("x" * 65)]),
        (["dense"], ["'dense'"]),
        (["pruners"], ["'pruners'", "'synflow_bench_pruners'"]),
        (["synflow-bench-models"], ["'models'", "'synflow_bench_models'"]),
        (["snip"], ["pruner 'snip'", "synflow-bench "]),
        (["digits", "--kind", "dataset"], ["dataset 'digits'", "synflow-bench "]),
        (["mine", "--kind", "suite"], ["--kind", "'suite'"]),
        (["mine", "--output", __file__], ["--output"]),
    ],
)
def test_a_wrong_name_of_a_new_plugin_is_one_line(
    arguments: list[str], facts: list[str], invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    invoke("new-plugin", *arguments).assert_refused(*facts)
    assert list(tmp_path.iterdir()) == []
