"""Pruner classes of a Python program are plugins of one run."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import pytest

from synflow_bench.errors import UsageError
from synflow_bench.host import Host, PluginClass, pruner_name
from synflow_bench.host.fingerprint import fingerprint
from synflow_bench.pruning import Pruner


class GradNorm(Pruner):
    """Grad-norm."""

    power: int = 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GradNorm", "grad-norm"),
        ("SNIP", "snip"),
        ("SNIPPlus", "snip-plus"),
        ("MyNet2Pruner", "my-net2-pruner"),
        ("_Private_one", "private-one"),
        ("X", "x"),
    ],
)
def test_a_class_has_the_name_of_its_words(name: str, expected: str) -> None:
    assert pruner_name(type(name, (), {})) == expected


def test_a_class_is_registered_as_it_is() -> None:
    host = Host.load(files=[PluginClass.of(GradNorm)])
    entry = host.pruners.entry("grad-norm")
    assert host.pruners.get("grad-norm") is GradNorm
    assert entry.version == f"sha256:{fingerprint(GradNorm)}"
    assert entry.distribution.endswith(".GradNorm")


def test_a_class_without_source_has_a_version_too() -> None:
    typed = type("Typed", (Pruner,), {})
    assert PluginClass.of(typed).version.startswith("sha256:")


def test_a_class_is_not_changed_by_its_registration() -> None:
    Host.load(files=[PluginClass.of(GradNorm)]).check()
    child = type("Child", (GradNorm,), {})
    assert child().power == 2


def test_two_classes_of_one_name_are_refused() -> None:
    other = type("GradNorm", (Pruner,), {"revision": 3})
    (error,) = Host.load(files=[PluginClass.of(GradNorm), PluginClass.of(other)]).errors
    assert "rename" in str(error)
    assert "--plugin" not in str(error)


def test_a_class_that_cannot_be_sent_is_named() -> None:
    lock = threading.Lock()

    class Locked(Pruner):
        def score(self, problem):
            with lock:
                return {}

    plugin = PluginClass.of(Locked)
    Host.load(files=[plugin]).check()
    with pytest.raises(UsageError, match="Locked") as caught:
        pickle.dumps(plugin)
    assert "serial" in str(caught.value)


def test_a_class_of_a_script_can_be_loaded_in_another_process() -> None:
    script = (
        "import pickle, sys\n"
        "from synflow_bench.host import PluginClass\n"
        "class Mine:\n"
        "    power = 3\n"
        "sys.stdout.buffer.write(pickle.dumps(PluginClass.of(Mine)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    plugin = pickle.loads(done.stdout)  # noqa: S301  of our own making
    assert plugin.pruner == "mine"
    assert plugin.load().synflow_bench_pruners()["mine"].power == 3


SUBCLASS = """
import pickle, sys
from synflow_bench import Pruner
kind = pickle.loads(sys.stdin.buffer.read()).load().synflow_bench_pruners()["mine"]
class Child(kind):
    other: int = 2
print(kind().power, Child().power, Child(power=5).other)
"""


def test_a_received_class_can_have_a_subclass() -> None:
    script = (
        "import pickle, sys\n"
        "from synflow_bench import Pruner\n"
        "from synflow_bench.host import PluginClass\n"
        "class Mine(Pruner):\n"
        "    power: float = 1.0\n"
        "sys.stdout.buffer.write(pickle.dumps(PluginClass.of(Mine)))\n"
    )
    sent = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    done = subprocess.run([sys.executable, "-c", SUBCLASS], input=sent, capture_output=True, check=True)
    assert done.stdout.split() == [b"1.0", b"1.0", b"2"]
