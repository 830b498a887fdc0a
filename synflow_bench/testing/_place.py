"""Where an exception comes from, as far as an author can mend it."""

from __future__ import annotations

import traceback
from pathlib import Path
from sysconfig import get_paths

import torch

import synflow_bench
from synflow_bench.errors import HandledError

_TORCH = Path(torch.__file__).parent
_NOT_THEIRS = (Path(synflow_bench.__file__).parent, _TORCH, _TORCH.with_name("torchvision"))
_STANDARD = tuple(Path(get_paths()[name]) for name in ("stdlib", "platstdlib"))
_INSTALLED = {"site-packages", "dist-packages"}
"""Folders for what is installed; they may lie in that of the standard library."""


def told_with_place(error: BaseException) -> str:
    """One line: the exception, and the innermost line of it that an author may have written."""
    if isinstance(error, HandledError):
        return str(error)
    told = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _theirs(frame.filename)]
    return f"{told} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else told


def _theirs(filename: str) -> bool:
    """Whether a file is neither of the harness, nor of torch or torchvision, nor of Python itself."""
    path = Path(filename)
    if filename.startswith("<") or any(path.is_relative_to(folder) for folder in _NOT_THEIRS):
        return False
    return not any(
        path.is_relative_to(folder) and _INSTALLED.isdisjoint(path.relative_to(folder).parts)
        for folder in _STANDARD
    )
