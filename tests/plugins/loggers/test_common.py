"""Errors that several loggers share: unusable folders and missing packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import UsageError


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_a_folder_that_cannot_be_created_is_a_usage_error(log: Any, tmp_path: Path, logger: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UsageError, match=f"logger {logger!r} cannot write to '{tmp_path / 'file'}': File exists"
    ):
        log(f"{logger}={tmp_path / 'file'}")


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_the_error_for_a_missing_package_has_the_command_that_installs_it(
    log: Any, without: Any, logger: str
) -> None:
    without(logger)
    with pytest.raises(UsageError, match=rf"pip install 'synflow-bench\[{logger}\]'"):
        log(logger)
