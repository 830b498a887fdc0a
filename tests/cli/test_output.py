"""Output: results alone on stdout, in every encoding, whatever plugins print."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from synflow_bench.cli.output import any_encoding, prints_to_stderr

NOISY = """
    import os

    from torch import nn

    from synflow_bench import Pruner, hookimpl

    print("imported")

    class Noisy(Pruner):
        needs_data = False

        def score(self, problem):
            print("scores")
            os.system("echo from a shell")
            return {name: weight.abs() for name, weight in problem.parameters.items()}

    def factory(input_shape, num_classes):
        print("builds")
        return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    @hookimpl
    def synflow_bench_pruners():
        print("registers")
        return {"noisy": Noisy}

    @hookimpl
    def synflow_bench_models():
        return {"noisy-net": factory}

    @hookimpl
    def synflow_bench_epoch_finished(epoch):
        print("handles")
"""


@pytest.fixture
def noisy(tmp_path: Path) -> str:
    path = tmp_path / "lab_noisy_plugin.py"
    path.write_text(dedent(NOISY))
    return str(path)


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_what_plugins_print_is_not_in_the_json(
    executor: str, noisy: str, tmp_path: Path, launch: Callable[..., Any]
) -> None:
    outcome = launch(
        *("run", "--plugin", noisy, "--pruner", "noisy", "--model", "noisy-net", "--dataset", "digits"),
        *("--compression", "4", "--seeds", "1", "--epochs", "1", "--workers", "1", "--executor", executor),
        *("--results", str(tmp_path / "results"), "--json"),
    )
    assert {cell["status"] for cell in json.loads(outcome.out)["cells"]} == {"ok"}
    for line in ("imported", "registers", "builds", "scores", "from a shell", "handles"):
        assert line in outcome.err


def test_what_plugins_print_is_not_in_lists_and_checks(noisy: str, launch: Callable[..., Any]) -> None:
    outcome = launch("check", "noisy", "--plugin", noisy, "--json")
    (report,) = json.loads(outcome.out)
    assert report["name"] == "noisy"


def test_stdout_is_as_before_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def plugin() -> None:
        print("plugin")
        os.system("echo shell")  # noqa: S605
        raise ValueError("oh")

    with pytest.raises(ValueError, match="oh"), prints_to_stderr():
        plugin()
    print("result")
    captured = capfd.readouterr()
    assert captured.out == "result\n"
    assert captured.err.split() in (["plugin", "shell"], ["shell", "plugin"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_sign_can_be_written_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = BytesIO()
    monkeypatch.setattr("sys.stdout", TextIOWrapper(file, encoding=encoding, write_through=True))
    with any_encoding():
        print("58.1 ± 0.3 – │ ─── ≈ ≥ … → ü 漢 \udcff")
    text = file.getvalue().decode(encoding)
    assert text.startswith("58.1 ")
    assert "\\udcff" in text
    if encoding == "ascii":
        assert text == "58.1 +/- 0.3 - | --- ~ >= ... -> \\xfc \\u6f22 \\udcff\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_command_ends_well_in_a_narrow_encoding(encoding: str, launch: Callable[..., Any]) -> None:
    outcome = launch("show", "synflow", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (outcome.code, "Traceback" in outcome.err) == (0, False)
