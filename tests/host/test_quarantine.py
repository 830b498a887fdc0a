"""A plugin that raises is set aside, named, and harms nothing else; the user may block one, or be strict."""

from __future__ import annotations

import pytest

from synflow_bench import __version__
from synflow_bench.errors import PluginError

GOOD = "@hookimpl\ndef synflow_bench_pruners(): return {'good': object()}"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("raise RuntimeError('on import,\\nin two lines')", "RuntimeError: on import, in two lines"),
        ("import absent_module", "ModuleNotFoundError: No module named 'absent_module'"),
        ("raise SystemExit", "SystemExit"),
        ("@hookimpl\ndef synflow_bench_models(): 1 / 0", "ZeroDivisionError: division by zero"),
        ("synflow_bench_contract = 2", "it keeps plugin contract 2, this synflow-bench 1;"),
    ],
)
def test_a_plugin_that_raises_is_quarantined(distribution, load, find, warnings, code, cause):
    distribution("broken", code, version="0.3")
    distribution("good", GOOD)
    host = load()
    host.check()
    assert find(host, "broken") in host.quarantined
    assert find(host, "broken").cause.startswith(cause)
    assert "good" in host.pruners
    assert [line for line in warnings if "broken" in line] == [
        f"plugin 'broken' of broken 0.3 is quarantined: {find(host, 'broken').cause}; "
        "mend it, or name it in SYNFLOW_BENCH_DISABLE"
    ]


@pytest.mark.parametrize(
    "requires",
    ["synflow-bench>=99", "synflow_bench [ray] (<0.0.1)", "Synflow.Bench==99; python_version > '3'"],
)
def test_a_distribution_for_another_version_is_quarantined_before_it_is_imported(
    distribution, load, find, requires
):
    distribution("ahead", "raise RuntimeError('on import')", requires=requires)
    plugin = find(load(), "ahead")
    wanted = requires.partition(";")[0]
    assert plugin.status == "quarantined"
    assert plugin.cause == f"it requires {wanted}, this is {__version__}; install versions that agree"


@pytest.mark.parametrize(
    "requires",
    [
        *("synflow-bench", f"synflow-bench>={__version__}", f"synflow-bench~={__version__}"),
        *("synflow-bench>=99; extra == 'future'", "synflow-bench>=99; python_version < '3'"),
        *(
            "synflow-bench-extras>=99",
            "synflow-bench @ https://example.org/x-99.whl",
            "synflow-bench >=99 what?",
        ),
    ],
)
def test_a_distribution_for_this_version_takes_part(distribution, load, requires):
    distribution("third", GOOD, requires=requires)
    assert "good" in load().pruners


def test_of_a_quarantined_plugin_nothing_is_registered(distribution, load):
    code = """
        @hookimpl
        def synflow_bench_pruners(): return {'half': object()}
        @hookimpl
        def synflow_bench_suites(): raise OSError('no disk')
    """
    distribution("broken", code)
    assert "half" not in load().pruners


def test_strict_raises_with_the_cause(distribution, load):
    distribution("broken", "raise RuntimeError('on import')")
    with pytest.raises(
        PluginError, match=r"plugin 'broken' of broken 1.0: RuntimeError: on import"
    ) as caught:
        load(SYNFLOW_BENCH_STRICT="1")
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("value", ["", "0"])
def test_strict_may_be_switched_off(distribution, load, value):
    distribution("broken", "raise RuntimeError('on import')")
    assert load(SYNFLOW_BENCH_STRICT=value).quarantined


@pytest.mark.parametrize("name", ["door", "Broken.Thing", "other, broken_thing"])
def test_a_blocked_plugin_is_not_even_imported(distribution, load, find, warnings, name):
    distribution("broken-thing", "raise RuntimeError('on import')", plugin="door")
    distribution("other", GOOD)
    host = load(SYNFLOW_BENCH_DISABLE=name, SYNFLOW_BENCH_STRICT="1")
    blocked = find(host, "broken-thing")
    assert (blocked.status, blocked.cause) == ("blocked", "by SYNFLOW_BENCH_DISABLE")
    assert host.quarantined == ()
    assert warnings == []


def test_blocking_what_is_not_there_is_told(load, warnings):
    load(SYNFLOW_BENCH_DISABLE="harnes,")
    assert warnings[0] == (
        "SYNFLOW_BENCH_DISABLE names 'harnes', which is no plugin; did you mean 'harness'?"
    )


def test_a_malformed_distribution_hides_no_other(distribution, load):
    folder = distribution.site / "malformed-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: malformed\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[synflow_bench]\nno equals sign\n")
    distribution("good", GOOD)
    assert "good" in load().pruners
