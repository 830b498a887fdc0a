"""A plugin that breaks the contract is an error that names it; only whoever asks for the plugins goes on."""

from __future__ import annotations

import pytest

from synflow_bench.errors import PluginError
from synflow_bench.host import CONTRACT

REMEDY = "mend it, or name it in SYNFLOW_BENCH_DISABLE"


def pruners(value: str) -> str:
    return f"@hookimpl\ndef synflow_bench_pruners(): return {value}"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (
            "@hookimpl\ndef synflow_bench_pruner(): ...",
            "unknown hook 'synflow_bench_pruner'; did you mean 'synflow_bench_pruners'?",
        ),
        (
            "@hookimpl\ndef synflow_bench_cell_finished(recrd): ...",
            "synflow_bench_cell_finished() takes 'recrd', which it is not given; it may take record",
        ),
        (
            "@hookimpl\ndef synflow_bench_epoch_finished(cell, e, n): ...",
            "synflow_bench_epoch_finished() takes 'e', 'n', which it is not given; it may take cell, epoch",
        ),
        (
            "@hookimpl\ndef synflow_bench_pruners(self): return {}",
            "synflow_bench_pruners() takes 'self', which it is not given; it takes no arguments",
        ),
        (
            "@hookimpl(wrapper=True)\ndef synflow_bench_pruners(): return {}",
            "hookimpl definition: synflow_bench_pruners(); declared as wrapper=True",
        ),
        (
            "def synflow_bench_pruners(): ...",
            "'synflow_bench_pruners' is not marked as a hook; put @hookimpl above it",
        ),
        ("def pruners(): ...", "it implements no hook; known: synflow_bench_pruners, "),
        (pruners("None"), "synflow_bench_pruners returned a NoneType; return a mapping of names"),
        (pruners("['mine']"), "synflow_bench_pruners returned a list; return a mapping of names"),
        (pruners("{'mine': None}"), "pruner 'mine' is None; give an object or a \"module:attr\" string"),
        (pruners("{'mine': 'module'}"), "pruner 'mine' is 'module'; give an object or"),
        (pruners("{'mine': 'module.py:Mine()'}"), "pruner 'mine' is 'module.py:Mine()'; give an object or"),
        (pruners("{3: object()}"), "3 is not a pruner's name: lower-case letters"),
        (pruners("{'My Own': object()}"), "'My Own' is not a pruner's name: lower-case letters"),
        (pruners("{'../up': object()}"), "'../up' is not a pruner's name"),
        (pruners("{'dense': object()}"), "the pruner name 'dense' stands for the unpruned network"),
        (
            "@hookimpl\ndef synflow_bench_suites(): return {'mine': 'suites/mine.toml'}",
            "suite 'mine' has the relative path 'suites/mine.toml'; build it from __file__",
        ),
    ],
)
def test_a_breach_is_an_error_that_names_the_plugin(distribution, load, find, warnings, code, cause):
    distribution("faulty", code, version="0.1")
    host = load()
    assert find(host, "faulty").status == "fault"
    assert find(host, "faulty").cause.startswith(cause)
    with pytest.raises(PluginError) as caught:
        host.check()
    assert str(caught.value).startswith(f"plugin 'faulty' of faulty 0.1: {cause}")
    assert str(caught.value).endswith((f"; {REMEDY}", f"? {REMEDY}"))
    assert warnings == []


def test_dense_may_name_anything_but_a_pruner(distribution, load):
    distribution("third", "@hookimpl\ndef synflow_bench_models(): return {'dense': object()}")
    assert "dense" in load().models


def test_a_plugin_may_name_the_contract_it_keeps(distribution, load):
    distribution("third", f"synflow_bench_contract = {CONTRACT}\n" + pruners("{'mine': object()}"))
    assert "mine" in load().pruners


def test_a_hook_may_take_fewer_arguments(distribution, load):
    distribution("third", "@hookimpl\ndef synflow_bench_epoch_finished(): ...")
    load().check()


def test_a_hook_may_have_arguments_of_its_own_with_defaults(distribution, load):
    distribution("third", "@hookimpl\ndef synflow_bench_pruners(cache={}): return {'mine': object()}")
    assert "mine" in load().pruners


def test_one_name_from_two_distributions_has_no_winner(distribution, load, find):
    distribution("alpha", pruners("{'mine': object(), 'only-alpha': object()}"))
    distribution("beta", pruners("{'mine': object()}"), version="2.0")
    host = load()
    assert [find(host, name).status for name in ("alpha", "beta")] == ["fault", "fault"]
    assert "mine" not in host.pruners
    with pytest.raises(PluginError) as caught:
        host.check()
    assert str(caught.value) == (
        "plugin 'alpha' of alpha 1.0: pruner 'mine' is also claimed by plugin 'beta' of beta 2.0; "
        "rename one, or block one by name in SYNFLOW_BENCH_DISABLE"
    )
    assert len(host.faults) == 2


def test_blocking_one_of_the_two_settles_it(distribution, load, find):
    distribution("alpha", pruners("{'mine': object()}"))
    distribution("beta", pruners("{'mine': object()}"))
    host = load(SYNFLOW_BENCH_DISABLE="alpha")
    host.check()
    assert host.pruners.entry("mine").distribution == "beta"


def test_a_preset_cannot_be_taken_over(distribution, load):
    distribution("third", "@hookimpl\ndef synflow_bench_suites(): return {'quick': object()}")
    with pytest.raises(PluginError, match=r"suite 'quick' is also claimed by"):
        load().check()


def test_a_pruner_and_a_model_may_share_a_name(distribution, load):
    code = (
        pruners("{'mine': object()}") + "\n@hookimpl\ndef synflow_bench_models(): return {'mine': object()}"
    )
    distribution("third", code)
    load().check()
