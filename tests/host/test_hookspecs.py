"""The hook specifications: the hooks of the design, each described in one sentence."""

from __future__ import annotations

import inspect

import pytest

import synflow_bench
from synflow_bench.host import HOOKS, hookimpl, hookspecs


def test_these_are_the_hooks():
    kinds = ["pruners", "models", "datasets", "executors", "suites", "loggers", "commands"]
    events = ["run_started", "epoch_finished", "cell_finished", "run_finished"]
    assert list(HOOKS) == [f"synflow_bench_{name}" for name in kinds + events]


@pytest.mark.parametrize("hook", HOOKS)
def test_each_is_one_sentence(hook):
    sentence = inspect.getdoc(getattr(hookspecs, hook))
    assert "\n" not in sentence
    assert sentence.count(". ") == 0
    assert sentence.endswith(".")


def test_the_marker_is_part_of_the_public_surface():
    assert synflow_bench.hookimpl is hookimpl
