"""What a process that runs cells does not load: torch's compiler takes 140 MiB and seconds."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

CODE = """
import sys
from pathlib import Path
from synflow_bench.execution._bench import make_bench
from synflow_bench.protocols import run_cell
from synflow_bench.suites import Cell

recipe = {"epochs": 1, "optimizer": sys.argv[2], "lr": 0.01}
setting = {"dataset": "digits", "model": sys.argv[1], "recipe": recipe}
cell = Cell.model_validate({"setting": setting, "pruner": "synflow", "compression": 2, "seed": 0})
record = run_cell(cell, make_bench(Path(), "cpu", 1))
assert record.status == "ok", record.error
print(*(name for name in ("torch._dynamo", "sympy", "triton") if name in sys.modules))
"""
TRIAL = """
import sys
from synflow_bench.host import Host
from synflow_bench.protocols import check_network
from synflow_bench.suites import Setting

host = Host.load()
for name in sys.argv[1:]:
    setting = Setting.model_validate({"dataset": "cifar10", "model": name, "recipe": {"epochs": 1}})
    check_network(host.models.get(name), setting, (3, 32, 32), 10)
print(*(name for name in ("torch._dynamo", "sympy", "triton") if name in sys.modules))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "optimizer"), [("fc", "adam"), ("conv", "momentum"), ("fc", "sgd"), ("fc", "rmsprop")]
)
def test_a_cell_does_not_load_the_compiler(model: str, optimizer: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", dedent(CODE), model, optimizer], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.slow
def test_trying_networks_before_a_run_does_not_load_it_either() -> None:
    names = ["fc", "conv", "lottery/resnet20", "lottery/vgg16-bn", "tinyimagenet/wide-resnet18"]
    done = subprocess.run(
        [sys.executable, "-c", dedent(TRIAL), *names], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
