"""Errors about plugins that break the contract name the plugin, its distribution and what is wrong."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from synflow_bench.errors import HandledError, PluginError
from synflow_bench.host import Host, PluginFile
from synflow_bench.protocols import WorkerContext, network_of
from synflow_bench.suites import Cell, PrunerSpec, Setting

SOURCE = """
    import torch
    from torch import nn

    from synflow_bench import Dataset, Split, Splits, hookimpl

    IMAGES = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    LABELS = torch.tensor([0, 1, 0, 1, 0, 1])

    def made(images, labels, **declared):
        class Made(Dataset):
            input_shape, num_classes, sizes, mean, std = (1, 2, 2), 2, (6, 6), (0.5,), (0.5,)

            def present(self, root):
                return True

            def load(self, root, *, download=False):
                return Splits(Split(images, labels), Split(IMAGES, LABELS))

        for name, value in declared.items():
            setattr(Made, name, value)
        return Made

    class Returns(nn.Module):
        def __init__(self, output):
            super().__init__()
            self.layer, self.output = nn.Linear(64, 10), output

        def forward(self, x):
            return self.output(self.layer(x.flatten(1)))

    def network(output):
        return lambda shape, classes: Returns(output)

    @hookimpl
    def synflow_bench_datasets():
        return {
            "floats": made(IMAGES.float(), LABELS),
            "numpy": made(IMAGES.numpy(), LABELS),
            "channels-last": made(IMAGES.permute(0, 2, 3, 1), LABELS),
            "int32": made(IMAGES, LABELS.int()),
            "column": made(IMAGES, LABELS[:, None]),
            "listed": made(IMAGES, LABELS.tolist()),
            "short": made(IMAGES, LABELS[:3]),
            "beyond": made(IMAGES, LABELS + 1),
            "no-mean": made(IMAGES, LABELS, mean=None),
            "two-stds": made(IMAGES, LABELS, std=(0.1, 0.2)),
            "no-splits": made(IMAGES, LABELS, load=lambda self, root, download=False: (1, 2)),
            "no-class": 7,
        }

    @hookimpl
    def synflow_bench_models():
        return {
            "pair": network(lambda y: (y, y)),
            "dict": network(lambda y: {"logits": y}),
            "none": network(lambda y: None),
            "narrow": network(lambda y: y[:, :3]),
            "whole": network(lambda y: y.long()),
            "text": lambda shape, classes: "no network",
            "number": 7,
        }
"""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> WorkerContext:
    import torch

    path = tmp_path_factory.mktemp("blamed") / "lab_blamed.py"
    path.write_text(dedent(SOURCE))
    host = Host.load(files=[PluginFile.read(path)])
    host.check()
    return WorkerContext(host=host, data_root=Path("nowhere"), device=torch.device("cpu"), threads=1)


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("floats", "train images are float32"),
        ("numpy", "train images are a ndarray"),
        ("channels-last", r"uint8 of shape \(6, 2, 2, 1\)"),
        ("int32", "train labels are int32"),
        ("column", r"int64 of shape \(6, 1\)"),
        ("listed", "train labels are a list"),
        ("short", "6 images and 3 labels"),
        ("beyond", "go from 1 to 2"),
        ("no-mean", "mean = None"),
        ("two-stds", "std"),
        ("no-splits", "returns a tuple"),
        ("no-class", "no synflow_bench.Dataset"),
    ],
)
def test_a_dataset_is_named_with_its_file(name: str, fact: str, context: WorkerContext) -> None:
    with pytest.raises(HandledError, match=fact) as error:
        context.data(name)
    assert f"dataset {name!r} of lab_blamed.py sha256:" in str(error.value)
    assert isinstance(error.value, PluginError) == (name == "no-class")


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("pair", "gives a tuple"),
        ("dict", "gives a dict"),
        ("none", "gives a NoneType"),
        ("narrow", r"gives \(3,\) outputs"),
        ("whole", "int64"),
        ("text", "is a str"),
        ("number", "is a int"),
    ],
)
def test_a_model_is_named_with_its_file(name: str, fact: str, context: WorkerContext) -> None:
    recipe: Any = {"epochs": 1}
    setting = Setting(dataset="digits", model=name, recipe=recipe)  # type: ignore[arg-type]
    cell = Cell(setting=setting, pruner=PrunerSpec(name="random"), compression=2, seed=0)
    with pytest.raises(HandledError, match=fact) as error:
        network_of(cell, context, "init")
    assert f"model {name!r}" in str(error.value)
    assert "lab_blamed.py sha256:" in str(error.value)
