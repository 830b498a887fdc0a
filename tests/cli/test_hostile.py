"""Plugins, records and folders that do harm: nothing is lost without a word, and no terminal obeys them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from synflow_bench.records import Failure, Record, Store

Run = Callable[..., Any]
ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"

PRUNERS = """
    import os, shutil
    from pathlib import Path
    from synflow_bench import Pruner, hookimpl

    class Thief(Pruner):
        '''Removes the results.'''

        needs_data = False

        def score(self, problem):
            shutil.rmtree(os.environ["LAB_RESULTS"], ignore_errors=True)
            return {name: weight.abs() for name, weight in problem.parameters.items()}

    class Shouting(Pruner):
        '''ESCAPES'''

        needs_data = False

        def score(self, problem):
            raise ValueError("ESCAPES")

    class Unreadable(Exception):
        def __str__(self):
            raise ValueError("ESCAPES")

    class Silent(Pruner):
        '''Its error has no message.'''

        needs_data = False

        def score(self, problem):
            raise Unreadable

    class Half(Pruner):
        '''Its message is no text.'''

        needs_data = False

        def score(self, problem):
            raise ValueError("\\\\udcff" + 5_000_000 * "a")

    class Turning(Pruner):
        '''Good once, then never again.'''

        needs_data = False

        def score(self, problem):
            marker = Path(os.environ["LAB_RESULTS"]).with_name("turned")
            if marker.exists():
                raise ValueError("turned")
            return {name: weight.abs() for name, weight in problem.parameters.items()}

    @hookimpl
    def synflow_bench_pruners():
        named = {"thief": Thief, "shouting": Shouting, "silent": Silent, "half": Half, "turning": Turning}
        return named
"""

SIGNS = """
    from synflow_bench import Pruner, hookimpl

    class Signs(Pruner):
        '''Prunes → 漢, ± ü.'''

        needs_data = False

        def score(self, problem):
            raise ValueError("→ 漢 ± ü \\U0001f600")

    @hookimpl
    def synflow_bench_pruners():
        return {"signs": Signs}
"""


@pytest.fixture
def plugin(tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LAB_RESULTS", str(results))
    path = tmp_path / "lab_hostile.py"
    path.write_text(dedent(PRUNERS).replace("ESCAPES", ESCAPES.encode("unicode_escape").decode()))
    return str(path)


def is_harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_a_run_whose_records_are_removed_does_not_end_well(run: Run, plugin: str, results: Path) -> None:
    outcome = run("--plugin", plugin, "--pruner", "thief", "--compression", "10", "--json")
    assert outcome.code == 1
    cells = json.loads(outcome.out)["cells"]
    lost = [cell for cell in cells if cell["status"] is None]
    assert 0 < len(lost) < len(cells) or "cannot" in outcome.err
    assert "is missing; run the cell again" in outcome.err
    again = run("--plugin", plugin, "--pruner", "random", "--compression", "10")
    assert again.code == 0


@pytest.mark.parametrize("pruner", ["shouting", "silent", "half"])
@pytest.mark.parametrize("executor", ["serial", "local"])
def test_any_message_of_a_failure_is_recorded_and_printed_harmlessly(
    run: Run, invoke: Run, plugin: str, results: Path, pruner: str, executor: str
) -> None:
    outcome = run("--plugin", plugin, "--pruner", pruner, "--compression", "10", executor=executor)
    assert outcome.code == 1
    assert is_harmless(outcome.err)
    assert len(outcome.err) < 100_000
    (failed,) = (record for record in Store(results) if record.status == "failed")
    assert failed.error is not None
    assert failed.error.kind == ("Unreadable" if pruner == "silent" else "ValueError")
    for words in (["show", failed.key], ["results", "list"], ["leaderboard"], ["leaderboard", "--details"]):
        shown = invoke(*words, "--results", str(results))
        assert shown.code == 0
        assert is_harmless(shown.out + shown.err)


def test_a_failure_after_force_keeps_the_good_record(run: Run, plugin: str, results: Path) -> None:
    cells = ("--plugin", plugin, "--pruner", "turning", "--compression", "10")
    assert run(*cells).code == 0
    before = {record.key: record.metrics for record in Store(results)}
    results.with_name("turned").touch()
    outcome = run(*cells, "--force")
    assert outcome.code == 1
    assert {record.key: record.metrics for record in Store(results)} == before
    kept = [json.loads(path.read_text())["status"] for path in (results / "replaced").rglob("*.json")]
    assert "failed" in kept


def test_commands_about_plugins_print_no_codes_of_theirs(invoke: Run, plugin: str) -> None:
    for words in (["list", "pruners"], ["show", "shouting"], ["check", "shouting"], ["plugins"]):
        outcome = invoke(*words, "--plugin", plugin)
        assert is_harmless(outcome.out + outcome.err), words


@pytest.mark.parametrize("words", [("list", "pruners"), ("plugins",), ("--debug", "list", "pruners")])
def test_a_plugin_that_cannot_be_imported_cannot_shout(invoke: Run, tmp_path: Path, words: Any) -> None:
    path = tmp_path / "lab_shouting.py"
    path.write_text(f"raise ImportError({ESCAPES!r})")
    outcome = invoke(*words, "--plugin", str(path))
    assert is_harmless(outcome.out + outcome.err)
    assert "lab_shouting" in outcome.out + outcome.err


def test_a_quarantined_plugin_cannot_shout(invoke: Run, distribution: Any) -> None:
    distribution("lab-quarantined", f"raise ValueError({ESCAPES!r})")
    outcome = invoke("plugins")
    assert "quarantined" in outcome.err
    assert is_harmless(outcome.out + outcome.err)


def test_a_record_from_elsewhere_cannot_shout(invoke: Run, results: Path, make_record: Any) -> None:
    failure = Failure(kind=ESCAPES, message=f"=HYPERLINK(0) {ESCAPES}", traceback=ESCAPES)
    record = make_record(status="failed", label=f"dense {ESCAPES}", parameters={"note": ESCAPES})
    provenance = record.provenance.model_copy(update={"device": ESCAPES, "warnings": (ESCAPES,)})
    store = Store(results)
    store.put(record.model_copy(update={"error": failure, "provenance": provenance}))
    store.put(make_record(collapsed_layers=(ESCAPES,), not_followed=ESCAPES))
    place = ("--results", str(results))
    for words in (
        ["results", "list"],
        ["results", "verify"],
        ["show", record.key],
        *(["leaderboard", "--format", form] for form in ("table", "markdown", "latex", "csv")),
        ["leaderboard", "--details"],
    ):
        outcome = invoke(*words, *place)
        assert outcome.code == 0, outcome.err
        assert is_harmless(outcome.out + outcome.err), words


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_commands_end_well_on_a_terminal_of_any_encoding(
    results: Path, tmp_path: Path, encoding: str, make_record: Any
) -> None:
    """A run with a failure whose message no such terminal can print, and all that shows its records."""
    plugin = tmp_path / "lab_signs.py"
    plugin.write_text(dedent(SIGNS), encoding="utf-8")

    def launch(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "synflow_bench", *words, "--results", str(results)],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            timeout=300,
        )
        text = done.stdout.decode(encoding) + done.stderr.decode(encoding)
        assert "Traceback" not in text, (words, text)
        return done.returncode, text

    small = ["--compression", "10", "--seeds", "1", "--epochs", "1", "--executor", "serial"]
    assert launch("status")[0] == 2
    code, text = launch("run", "--pruner", "random", *small)
    assert (code, "random" in text) == (0, True)
    code, text = launch("run", "--plugin", str(plugin), "--pruner", "signs", *small)
    assert code == 1
    assert "\\u6f22" in text
    Store(results).put(make_record("magnitude"))
    assert launch("status")[0] == 0
    assert launch("leaderboard")[0] == 0
    assert launch("leaderboard", "--details")[0] == 0
    assert launch("results", "list")[0] == 0


def test_an_output_that_is_a_device_stays_one(invoke: Run, results: Path, make_record: Any) -> None:
    Store(results).put(make_record())
    for form in ("markdown", "csv", "json"):
        words = ("leaderboard", "--format", form, "--output", "/dev/null", "--force")
        assert invoke(*words, "--results", str(results)).code == 0
        assert Path("/dev/null").is_char_device()
    assert invoke("results", "export", "/dev/null", "--force", "--results", str(results)).code == 0
    assert Path("/dev/null").is_char_device()


def test_an_output_that_is_a_link_is_followed(
    invoke: Run, results: Path, tmp_path: Path, make_record: Any
) -> None:
    Store(results).put(make_record())
    link = tmp_path / "board.md"
    link.symlink_to(tmp_path / "elsewhere.md")
    (tmp_path / "elsewhere.md").write_text("old")
    assert invoke("leaderboard", "--output", str(link), "--force", "--results", str(results)).code == 0
    assert link.is_symlink()
    assert "snip" in (tmp_path / "elsewhere.md").read_text()


@pytest.fixture
def third_party(distribution: Any, tmp_path: Path) -> Path:
    """An installed plugin that leaves a file where it was imported."""
    marker = tmp_path / "imported"
    distribution(
        "lab-third",
        f"""
        from pathlib import Path
        Path({str(marker)!r}).touch()
        from synflow_bench import Pruner, hookimpl

        @hookimpl
        def synflow_bench_pruners():
            return {{"third": Pruner}}
        """,
    )
    return marker


@pytest.mark.parametrize("place", ["before", "after", "variable"])
def test_only_first_party_plugins_are_imported_if_that_is_wished(
    invoke: Run, third_party: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    words = ["list", "pruners", "--json"]
    if place == "variable":
        monkeypatch.setenv("SYNFLOW_BENCH_FIRST_PARTY_ONLY", "1")
    else:
        words.insert(0 if place == "before" else 2, "--first-party-only")
    outcome = invoke(*words)
    names = [entry["name"] for entry in json.loads(outcome.out)]
    assert ("synflow" in names, "third" in names, third_party.exists()) == (True, False, False)


def test_the_next_command_loads_all_plugins_again(invoke: Run, third_party: Path) -> None:
    listed = json.loads(invoke("--first-party-only", "plugins", "--json").out)
    (third,) = (plugin for plugin in listed if plugin["distribution"] == "lab-third")
    assert (third["status"], third["cause"]) == ("blocked", "by --first-party-only")
    assert not third_party.exists()
    invoke("plugins")
    assert third_party.exists()


def test_workers_load_only_first_party_plugins_too(run: Run, third_party: Path) -> None:
    cells = ("--pruner", "random", "--compression", "10")
    assert run(*cells, "--first-party-only", executor="local").code == 0
    assert not third_party.exists()
    run("--pruner", "third", "--first-party-only").assert_refused("'third'")


def test_a_plugin_file_beside_first_party_only_is_refused(invoke: Run, plugin: str) -> None:
    invoke("list", "pruners", "--plugin", plugin, "--first-party-only").assert_refused(
        "--first-party-only", repr(plugin)
    )


def test_a_csv_has_no_formula(invoke: Run, results: Path, make_record: Any, tmp_path: Path) -> None:
    from synflow_bench_loggers.csv import CsvTable

    table = CsvTable(tmp_path / "cells.csv", ["error", "loss"])
    table.append({"error": "=HYPERLINK(0)", "loss": -1.5})
    assert (tmp_path / "cells.csv").read_text() == "error,loss\n'=HYPERLINK(0),-1.5\n"


def test_import_never_puts_a_failure_in_the_place_of_a_good_record(
    invoke: Run, results: Path, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    ours, theirs = Store(results), Store(tmp_path / "theirs")
    ours.put(make_record())
    theirs.put(make_record(status="failed"))
    outcome = invoke("results", "import", str(theirs.root), "--force", "--results", str(results))
    assert list(ours) == [make_record()]
    assert (outcome.code, outcome.out.strip()) == (1, "0 imported, 0 replaced, 1 in conflict")
    assert "it failed and the local one did not" in outcome.err
