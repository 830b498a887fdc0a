"""A failure is told with the innermost line that an author may have written."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

import synflow_bench
from synflow_bench.testing import _place

OURS = Path(synflow_bench.__file__).parent
TORCH = Path(torch.__file__).parent
PYTHON = Path(functools.__file__).parent


@pytest.mark.parametrize(
    ("file", "theirs"),
    [
        (OURS / "pruning" / "_pruner.py", False),
        (TORCH / "nn" / "modules" / "module.py", False),
        (TORCH.parent / "torchvision" / "models" / "vgg.py", False),
        (functools.__file__, False),
        (PYTHON / "importlib" / "__init__.py", False),
        ("<string>", False),
        (OURS.parent / "synflow_bench_mine.py", True),
        (TORCH.parent / "torch_pruning" / "model.py", True),
        (PYTHON / "site-packages" / "mine" / "model.py", True),
        ("model.py", True),
    ],
)
def test_the_line_is_of_the_file_that_an_author_may_have_written(file: Path | str, theirs: bool) -> None:
    names: dict[str, object] = {}
    exec(compile("def fail(): raise OSError('odd')", str(file), "exec"), names)  # noqa: S102  of our own making
    with pytest.raises(OSError, match="odd") as caught:
        names["fail"]()  # type: ignore[operator]
    error = caught.value.with_traceback(caught.tb.tb_next)
    place = f" ({Path(file).name}, line 1)" if theirs else ""
    assert _place.told_with_place(error) == f"OSError: odd{place}"
