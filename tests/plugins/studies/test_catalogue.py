"""The commands of the plugin; every name of the catalogue is installed, every committed table readable."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from synflow_bench.host import Host
from synflow_bench.suites import Singleshot
from synflow_bench_studies import commands
from synflow_bench_studies.catalogue import FIGURES, STUDIES
from synflow_bench_studies.plugin import COMMANDS, synflow_bench_commands

FIGURES_DRAWN = Path(__file__).parents[3] / "docs" / "figures"


def test_the_plugin_adds_both_commands_with_their_own_help() -> None:
    group = click.Group()
    synflow_bench_commands(group)
    assert list(group.commands) == ["study", "reproduce"]
    for name, lazy in group.commands.items():
        command = getattr(commands, name)
        assert command.name == name
        assert lazy.get_short_help_str(1000) == command.get_short_help_str(1000).rstrip(".") == COMMANDS[name]


def test_the_tables_of_the_figures_are_tables_of_their_studies() -> None:
    for path in FIGURES_DRAWN.glob("fig*.csv"):
        name = FIGURES[path.stem.partition("-")[0]].study
        assert name is None or STUDIES[name].read(path)


def test_the_catalogue_names_what_is_installed() -> None:
    host = Host.load()
    for study in STUDIES.values():
        assert set(study.pruners) <= set(host.pruners.names())
    for figure in FIGURES.values():
        assert set(figure.options) == {"paper", "small"}
        for options in figure.options.values():
            assert set(options.get("models", ())) <= set(host.models.names())
            assert set(options.get("datasets", ())) <= set(host.datasets.names())
        for suite in figure.suites.values():
            assert host.suites.get(suite).settings


def test_the_paper_s_suite_has_its_twelve_settings() -> None:
    suite = Host.load().suites.get("synflow-2020")
    assert len(suite.settings) == 12
    assert len(suite.seeds) == 3
    assert suite.compressions == pytest.approx([10 ** (n / 4) for n in range(13)], rel=1e-4)
    assert all(isinstance(setting.protocol, Singleshot) for setting in suite.settings)
    recipes = {
        (s.dataset, s.model.name.split("/")[1].rstrip("-bn0123456789")): s.recipe for s in suite.settings
    }
    assert (recipes["cifar10", "vgg"].lr, recipes["cifar10", "vgg"].gamma) == (0.1, 0.1)
    assert (recipes["cifar100", "resnet"].lr, recipes["cifar100", "resnet"].weight_decay) == (0.01, 5e-4)
    assert recipes["tiny-imagenet", "wide-resnet"].milestones == (30, 60, 80)
    assert recipes["tiny-imagenet", "vgg"].epochs == 100
