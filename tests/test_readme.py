"""The README does what it says: its plugin and its library call are taken from the page and run."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_the_library_call_prunes_to_the_compression_it_names() -> None:
    code = next(block for block in blocks("python") if "sfb.prune" in block)
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)  # noqa: S102
    masks = names["masks"]
    assert masks.kept == round(masks.size / 100)  # type: ignore[attr-defined]
    weights = dict(names["model"].named_parameters())  # type: ignore[attr-defined]
    assert all(not weights[name][~mask].any() for name, mask in masks.items())  # type: ignore[attr-defined]


@pytest.mark.usefixtures("torch_as_it_was")
def test_the_plugin_as_pasted_gets_a_row(
    distribution: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from synflow_bench.cli import main

    code = next(block for block in blocks("python") if "hookimpl" in block)
    project = tomllib.loads(blocks("toml")[0])
    ((plugin, reference),) = project["project"]["entry-points"]["synflow_bench"].items()
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    distribution(project["project"]["name"], code, plugin=plugin, reference=reference)
    arguments = ["--executor", "serial", "--epochs", "1", "--seeds", "1", "--compression", "5"]
    status = main(["run", "--pruner", "gradnorm", *arguments, "--results", str(tmp_path / "results")])
    assert status == 0
    assert "gradnorm" in capsys.readouterr().out
