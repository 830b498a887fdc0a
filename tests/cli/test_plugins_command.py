"""`plugins` shows every plugin with its status and the cause, whatever is wrong with them."""

from __future__ import annotations

import json

import pytest

GOOD = """
    import click
    @hookimpl
    def synflow_bench_pruners(): return {'good': object()}
    @hookimpl
    def synflow_bench_commands(group): group.add_command(click.Command('greet'))
"""
STRICT = (
    "plugin 'broken' of broken 1.0: RuntimeError: on import; mend it, or name it in SYNFLOW_BENCH_DISABLE"
)


@pytest.fixture
def all_sorts(distribution, monkeypatch):
    distribution("a-good", GOOD, version="2.1", plugin="door")
    distribution("b-broken", "raise RuntimeError('on import')")
    distribution("c-blocked", "raise RuntimeError('never seen')")
    distribution("d-faulty", "@hookimpl\ndef synflow_bench_pruner(): ...")
    distribution("e-loud", "@hookimpl\ndef synflow_bench_commands(group): 1 / 0")
    monkeypatch.setenv("SYNFLOW_BENCH_DISABLE", "c-blocked")


@pytest.mark.usefixtures("all_sorts")
def test_every_status_is_shown_with_its_cause(invoke):
    outcome = invoke("plugins", "--json")
    assert outcome.code == 0
    plugins = {plugin["distribution"]: plugin for plugin in json.loads(outcome.out)}
    told = {name: (plugin["status"], plugin["cause"]) for name, plugin in plugins.items() if name[1] == "-"}
    assert told == {
        "a-good": ("ok", None),
        "b-broken": ("quarantined", "RuntimeError: on import"),
        "c-blocked": ("blocked", "by SYNFLOW_BENCH_DISABLE"),
        "d-faulty": (
            "fault",
            "unknown hook 'synflow_bench_pruner'; did you mean 'synflow_bench_pruners'?",
        ),
        "e-loud": ("quarantined", "ZeroDivisionError: division by zero"),
    }
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
def test_in_a_pipe_it_is_a_line_for_each(invoke):
    lines = [line.split(maxsplit=4) for line in invoke("plugins").out.splitlines()]
    assert lines[0] == ["plugin", "distribution", "version", "status", "provides"]
    assert ["door", "a-good", "2.1", "ok", "pruners: good; commands: greet"] in lines
    assert ["b_broken", "b-broken", "1.0", "quarantined", "RuntimeError: on import"] in lines


def test_many_names_are_counted(distribution, invoke):
    names = {f"net{number}": "module:net" for number in range(7)}
    distribution("zoo", f"@hookimpl\ndef synflow_bench_models(): return {names}")
    assert "7 models" in invoke("plugins").out


def test_two_that_claim_one_name_are_both_shown(distribution, invoke):
    for name in ("alpha", "beta"):
        distribution(name, "@hookimpl\ndef synflow_bench_pruners(): return {'mine': object()}")
    outcome = invoke("plugins")
    assert outcome.code == 0
    assert "pruner 'mine' is also claimed by plugin 'beta' of beta 1.0" in outcome.out
    assert "pruner 'mine' is also claimed by plugin 'alpha' of alpha 1.0" in outcome.out


def test_strict_stops_even_this(distribution, invoke, monkeypatch):
    distribution("broken", "raise RuntimeError('on import')")
    monkeypatch.setenv("SYNFLOW_BENCH_STRICT", "1")
    outcome = invoke("plugins")
    assert outcome.code == 2
    assert outcome.err == f"error: {STRICT}\n"


def test_with_debug_strict_shows_where(distribution, invoke, monkeypatch):
    source = distribution("broken", "raise RuntimeError('on import')")
    monkeypatch.setenv("SYNFLOW_BENCH_STRICT", "1")
    outcome = invoke("plugins", "--debug")
    assert outcome.code == 2
    assert f'File "{source}"' in outcome.err
    assert outcome.err.endswith(f"error: {STRICT}\n")
