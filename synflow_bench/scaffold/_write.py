"""Writes the files of a distribution: all of them, or none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined

from synflow_bench import __version__
from synflow_bench.errors import UsageError
from synflow_bench.scaffold._names import Names

Kind = Literal["pruner", "model", "dataset"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_FILES = {
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "readme.md.j2",
    ".gitignore": "gitignore.j2",
    ".github/workflows/test.yml": "workflow.yml.j2",
    "{module}.py": "{kind}.py.j2",
    "tests/test_{module}.py": "test_{kind}.py.j2",
}
"""Each file of a distribution, and the template that it is made from."""

_WORDS = {"pruner": "pruner", "model": "model", "dataset": "data set"}


def write_distribution(names: Names, kind: Kind, parent: Path) -> Path:
    """Write a distribution below `parent` and give its folder.

    Raises `UsageError`, with nothing written, where the folder exists or cannot be made.
    """
    folder = parent / names.distribution
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} exists, and nothing was written; choose another name or --output")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _aside(parent) as aside:
            for path, text in _rendered(names, kind):
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                (aside / path).write_text(text, encoding="utf-8")
            aside.rename(folder)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}; choose another --output") from error
    return folder


@contextmanager
def _aside(parent: Path) -> Iterator[Path]:
    """A folder beside the one to be, so that what breaks off leaves nothing."""
    aside = Path(mkdtemp(dir=parent, prefix=".new-plugin-"))
    aside.chmod(0o755)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _rendered(names: Names, kind: Kind) -> Iterator[tuple[str, str]]:
    # What is written is Python, TOML, YAML and Markdown: escaping for HTML would spoil it.
    environment = Environment(  # noqa: S701
        loader=PackageLoader("synflow_bench.scaffold"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for path, template in _FILES.items():
        text = environment.get_template(template.format(kind=kind)).render(
            names=names, kind=kind, word=_WORDS[kind], version=__version__
        )
        yield path.format(module=names.module), text
