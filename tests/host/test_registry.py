"""The registry: names appear by themselves, with their provenance, and load when they are used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from synflow_bench.errors import PluginError, SuiteError, UnknownNameError
from synflow_bench.host import KINDS
from synflow_bench.suites import Suite

SUITE = """
compressions = [10]
seeds = 1
[[settings]]
dataset = "digits"
model = "fc"
recipe = { epochs = 1 }
"""


@pytest.mark.parametrize(("kind", "hook"), [item for item in KINDS.items() if item[0] != "suite"])
def test_an_object_is_registered_under_its_name(distribution, load, kind, hook):
    distribution("third", f"class Thing: ...\n@hookimpl\ndef {hook}():\n    return {{'a/b-c.d_e': Thing}}")
    registry = load().registry(kind)
    assert registry.get("a/b-c.d_e") is sys.modules["third"].Thing
    assert "a/b-c.d_e" in registry


def test_an_entry_says_where_it_is_from(distribution, load):
    code = "@hookimpl\ndef synflow_bench_pruners(): return {'mine': 'third.pruner:Mine.best'}"
    distribution("third-party", code, module="third", plugin="door", version="2.5")
    entry = load().pruners.entry("mine")
    assert (entry.plugin, entry.distribution, entry.version) == ("door", "third-party", "2.5")
    assert entry.where == "third.pruner:Mine.best"


def test_an_object_is_described_by_its_definition(distribution, load):
    code = """
        class Mine: ...
        @hookimpl
        def synflow_bench_pruners(): return {'class': Mine, 'instance': Mine()}
    """
    distribution("third", code)
    pruners = load().pruners
    assert pruners.entry("class").where == "third:Mine"
    assert pruners.entry("instance").where == "third:Mine"


def test_a_reference_is_imported_on_use_and_not_before(distribution, load):
    distribution("third", "@hookimpl\ndef synflow_bench_pruners(): return {'mine': 'heavy:Inner.value'}")
    (distribution.site / "heavy.py").write_text("class Inner:\n    value = 42\n")
    pruners = load().pruners
    assert pruners.names().count("mine") == 1
    assert "heavy" not in sys.modules
    assert pruners.get("mine") == 42


@pytest.mark.parametrize(
    ("source", "reference", "cause"),
    [
        (None, "absent_module:Mine", "ModuleNotFoundError: No module named 'absent_module'"),
        ("", "heavy:Mine", "AttributeError: module 'heavy' has no attribute 'Mine'"),
        ("raise ValueError('two\\nlines')", "heavy:Mine", "ValueError: two lines"),
        ("raise SystemExit(3)", "heavy:Mine", "SystemExit: 3"),
    ],
)
def test_a_reference_that_does_not_import_is_an_error_of_its_plugin(
    distribution, load, source, reference, cause
):
    distribution("third", f"@hookimpl\ndef synflow_bench_models(): return {{'mine': '{reference}'}}")
    if source is not None:
        (distribution.site / "heavy.py").write_text(source)
    with pytest.raises(PluginError) as caught:
        load().models.get("mine")
    assert f"model 'mine' of third 1.0 from {reference!r}: {cause}" in str(caught.value)


def test_an_unknown_name_is_an_error_that_suggests_the_nearest(load):
    with pytest.raises(UnknownNameError, match=r"suite 'quik'.* 'quick'\?"):
        load().suites.get("quik")


def test_names_are_in_order(load):
    suites = load().suites
    assert suites.names() == sorted(suites.names()) == [entry.name for entry in suites.entries()]
    assert len(suites) == len(suites.names())


def test_a_suite_is_a_file_or_a_value_or_a_reference(distribution, load):
    code = """
        from pathlib import Path
        here = Path(__file__).with_name('third_suite.toml')
        def build():
            from synflow_bench.suites import load_suite
            return load_suite(here)
        built = here
        @hookimpl
        def synflow_bench_suites():
            return {'path': here, 'text': str(here), 'value': build(), 'later': 'third:built'}
    """
    distribution("third", code)
    (distribution.site / "third_suite.toml").write_text(SUITE)
    suites = load().suites
    for name in ("path", "text", "value", "later"):
        assert isinstance(suites.get(name), Suite)
    assert suites.entry("text").where == str(distribution.site / "third_suite.toml")


def test_another_object_in_place_of_a_suite_is_an_error(distribution, load):
    distribution("third", "@hookimpl\ndef synflow_bench_suites(): return {'mine': 3}")
    with pytest.raises(PluginError, match=r"suite 'mine' of third 1.0 is a int"):
        load().suites.get("mine")


def test_an_invalid_suite_is_an_error_when_it_is_used(distribution, load):
    code = "@hookimpl\ndef synflow_bench_suites(): return {'mine': __file__.replace('.py', '.toml')}"
    source = distribution("third", code)
    source.with_suffix(".toml").write_text(SUITE.replace("seeds = 1", "seeds = 0\nspeed = 3"))
    with pytest.raises(SuiteError, match=r"seeds.*speed"):
        load().suites.get("mine")


def test_a_plugin_may_be_an_object(distribution, load):
    code = """
        class Door:
            @hookimpl
            def synflow_bench_pruners(self): return {'mine': Door}
        door = Door()
    """
    distribution("third", code, reference="third:door")
    assert "mine" in load().pruners


def test_the_first_distribution_on_the_path_shadows_the_next(distribution, load, tmp_path, monkeypatch):
    distribution("third", "@hookimpl\ndef synflow_bench_pruners(): return {'mine': object()}", version="2.0")
    behind = tmp_path / "behind"
    behind.mkdir()
    monkeypatch.syspath_prepend(behind)
    monkeypatch.syspath_prepend(distribution.site)
    type(distribution)(behind)("third", "raise ValueError", version="1.0")
    host = load()
    host.check()
    assert host.pruners.entry("mine").version == "2.0"


def test_the_harness_registers_its_names_as_a_plugin(load):
    host = load()
    harness = next(plugin for plugin in host.plugins if plugin.name == "harness")
    assert harness.status == "ok"
    assert harness.provides["executor"] == ["serial", "local", "ray", "slurm"]
    presets = Path(sys.modules["synflow_bench.suites"].__file__).parent / "presets"
    assert set(harness.provides["suite"]) == {path.stem for path in presets.glob("*.toml")}
    assert host.suites.get("quick").name == "quick"
