"""Where an exception comes from, as far as an author can mend it."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

import synflow_bench
from synflow_bench.errors import HandledError

_NOT_THEIRS = tuple(str(Path(str(package.__file__)).parent) for package in (synflow_bench, torch))


def told_with_place(error: BaseException) -> str:
    """One line: the exception, and the innermost line of it that is neither torch's nor the harness's."""
    if isinstance(error, HandledError):
        return str(error)
    told = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*_NOT_THEIRS, "<"))
    ]
    return f"{told} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else told
