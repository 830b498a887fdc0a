"""`list` shows what is installed, and where each name is from."""

from __future__ import annotations

import json
import sys

import pytest

PRUNER = "@hookimpl\ndef synflow_bench_pruners(): return {'mine': 'absent_module:Mine'}"


@pytest.mark.parametrize("kind", ["pruners", "models", "datasets", "suites", "executors"])
def test_every_kind_is_listed_as_json(distribution, invoke, kind):
    distribution("third", f"@hookimpl\ndef synflow_bench_{kind}(): return {{'mine': 'some.module:Thing'}}")
    outcome = invoke("list", kind, "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    mine = {
        "name": "mine",
        "distribution": "third",
        "version": "1.0",
        "plugin": "third",
        "reference": "some.module:Thing",
    }
    assert mine in json.loads(outcome.out)


def test_in_a_pipe_it_is_plain_lines(distribution, invoke):
    distribution("third-party", PRUNER, version="2.0")
    lines = invoke("list", "pruners").out.splitlines()
    assert lines[0].split() == ["name", "distribution", "version", "reference"]
    assert ["mine", "third-party", "2.0", "absent_module:Mine"] in [line.split() for line in lines]
    assert len({line.index(word) for line, word in zip(lines, ["distribution"], strict=False)}) == 1


def test_on_a_terminal_it_is_a_table_that_takes_names_as_they_are(invoke, monkeypatch, capsys):
    monkeypatch.setattr("synflow_bench.cli._tables._is_terminal", lambda: True)
    out = invoke("list", "suites").out
    assert "─" in out
    assert "quick" in out


def test_a_kind_that_there_is_not_is_one_line(invoke):
    outcome = invoke("list", "pruner")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: invalid value for 'KIND': 'pruner' is not one of 'pruners', ")
    assert outcome.err.endswith("; see `synflow-bench list --help`\n")
    assert outcome.err.count("\n") == 1


def test_a_misspelt_hook_stops_it(distribution, invoke):
    distribution("faulty", "@hookimpl\ndef synflow_bench_pruner(): ...")
    outcome = invoke("list", "pruners")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err == (
        "error: plugin 'faulty' of faulty 1.0: unknown hook 'synflow_bench_pruner'; "
        "did you mean 'synflow_bench_pruners'? mend it, or name it in SYNFLOW_BENCH_DISABLE\n"
    )


def test_a_broken_plugin_costs_one_warning_line(distribution, invoke):
    distribution("broken", "raise RuntimeError('on import')")
    outcome = invoke("list", "suites", "--json")
    assert outcome.code == 0
    assert "quick" in {entry["name"] for entry in json.loads(outcome.out)}
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("warning: plugin 'broken' of broken 1.0 is quarantined: RuntimeError")


def test_it_asks_nobody_for_commands(distribution, invoke):
    distribution("third", "@hookimpl\ndef synflow_bench_commands(group): 1 / 0")
    outcome = invoke("list", "suites")
    assert (outcome.code, outcome.err) == (0, "")
    assert "third" in sys.modules
