"""The hash of a class is that of its behavior, and the same in every process."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from synflow_bench.host.fingerprint import fingerprint

SOURCE = """
import threading

LIMIT = 3
NAMES = {"a", "b", "c"}
LOCK = threading.Lock()

def helper(x):
    return LIMIT * x

class Base:
    def start(self):
        return 1

def made(number):
    class Mine(Base):
        rate: float = 0.5

        def score(self, x):
            with LOCK:
                return [helper(x) + number + y for y in NAMES]

    return Mine

Mine = made(7)
"""


def fingerprint_of(source: str) -> str:
    module = ModuleType("mine")
    exec(compile(source, "mine", "exec", dont_inherit=True), vars(module))  # noqa: S102  of our own making
    return fingerprint(module.Mine)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("return LIMIT * x", "return LIMIT + x"),
        ("return 1", "return 2"),
        ("made(7)", "made(8)"),
        ("rate: float = 0.5", "rate: float = 0.6"),
        ("number + y", "number - y"),
        ('"c"}', '"d"}'),
    ],
    ids=["constant", "helper", "base", "closure", "attribute", "method", "set"],
)
def test_what_a_class_uses_changes_its_hash(before: str, after: str) -> None:
    assert before in SOURCE
    assert fingerprint_of(SOURCE.replace(before, after)) != fingerprint_of(SOURCE)


def test_places_and_comments_do_not_change_it() -> None:
    moved = "\n\n# a comment\n" + SOURCE.replace("LIMIT = 3", "LIMIT = 3  # three\nUNUSED = 5")
    assert fingerprint_of(moved) == fingerprint_of(SOURCE)


@pytest.mark.parametrize("how", ["command", "stdin"])
def test_another_process_gives_the_same_hash(how: str) -> None:
    code = f"{SOURCE}\nfrom synflow_bench.host.fingerprint import fingerprint\nprint(fingerprint(Mine))\n"
    arguments, given = (["-c", code], "") if how == "command" else (["-"], code)
    done = subprocess.run(
        [sys.executable, *arguments], input=given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == fingerprint_of(SOURCE)
