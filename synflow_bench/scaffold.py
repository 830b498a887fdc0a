"""A small distribution with one plugin and its tests, ready to build. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined

from synflow_bench import __version__
from synflow_bench.errors import DENSE, NAME_RULE, UsageError, is_plain_name

Kind = Literal["pruner", "model", "dataset"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PREFIX = "synflow-bench-"
TEMPLATES = {
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "readme.md.j2",
    ".gitignore": "gitignore.j2",
    ".github/workflows/test.yml": "workflow.yml.j2",
    "{module}.py": "{kind}.py.j2",
    "tests/test_{module}.py": "test_{kind}.py.j2",
}
"""Path of each file in a distribution -> its template."""


@dataclass(frozen=True)
class Names:
    """The names that belong to one plugin.

    Attributes:
        plugin: Name in the registry.
        distribution: Name of the installed distribution.
        module: Name of the Python module.
        attribute: Name of the class or factory in the module.
    """

    plugin: str
    distribution: str
    module: str
    attribute: str


def names_of(name: str, kind: Kind) -> Names:
    """Derive the names for a plugin, such as `gradnorm` or `mylab/net`.

    Raises:
        UsageError: The name is invalid, or its module would hide an installed one.

    Example:
        >>> names_of("gradnorm", "pruner").attribute
        'GradnormPruner'
    """
    plugin = name.removeprefix(PREFIX)
    if not is_plain_name(plugin):
        raise UsageError(f"{name!r} is not a valid name: {NAME_RULE}")
    if kind == "pruner" and plugin == DENSE:
        raise UsageError(f"the pruner name {DENSE!r} stands for the unpruned network; choose another")
    words = re.findall(r"[a-z0-9]+", plugin)
    module = "_".join(["synflow_bench", *words])
    if find_spec(module):
        raise UsageError(f"the module of {plugin!r} would be {module!r}, which exists; choose another name")
    return Names(plugin, PREFIX + "-".join(words), module, _attribute(words, kind))


def write_distribution(names: Names, kind: Kind, parent: Path) -> Path:
    """Write all files of a distribution to a new folder below `parent`, or none of them.

    Returns:
        The new folder.

    Raises:
        UsageError: The folder exists or cannot be written.
    """
    folder = parent / names.distribution
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} exists, and nothing was written; choose another name or --output")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=parent, prefix=".new-plugin-") as temporary:
            written = Path(temporary, names.distribution)
            for path, text in _render(names, kind):
                (written / path).parent.mkdir(parents=True, exist_ok=True)
                (written / path).write_text(text, encoding="utf-8")
            written.rename(folder)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}; choose another --output") from error
    return folder


def _attribute(words: list[str], kind: Kind) -> str:
    """Name a class or factory; the kind in it avoids keywords and the names of base classes."""
    if kind == "model":
        return f"build_{'_'.join(words)}"
    camel = "".join(word.capitalize() for word in words)
    suffix = kind.capitalize()
    return f"{camel}{suffix}" if camel[0].isalpha() else f"{suffix}{camel}"


def _render(names: Names, kind: Kind) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file."""
    # The files are Python, TOML, YAML and Markdown, which escaping for HTML would break.
    environment = Environment(  # noqa: S701  # nosec B701
        loader=PackageLoader("synflow_bench"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for path, template in TEMPLATES.items():
        text = environment.get_template(template.format(kind=kind)).render(
            names=names, kind=kind, version=__version__
        )
        yield path.format(module=names.module), text
