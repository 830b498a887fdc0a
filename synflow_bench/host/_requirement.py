"""Whether a distribution was made for this synflow-bench, by its own requirements."""

from __future__ import annotations

import re
from collections.abc import Iterable

from synflow_bench import __version__
from synflow_bench.host._judge import OtherContract

_OURS = re.compile(r"synflow[-_.]+bench(?![-_.\w])[^;]*[<>=~]", re.IGNORECASE)
"""A requirement of ours that names versions; only those are worth importing `packaging` for."""


def check_requirements(requirements: Iterable[str] | None, version: str = __version__) -> None:
    """Raise `OtherContract` where a requirement of synflow-bench leaves `version` out.

    Installers see to it when they install, and seldom when something else is installed later.
    """
    for text in requirements or ():
        if _OURS.match(text) and not _allows(text, version):
            wanted = text.partition(";")[0].strip()
            raise OtherContract(f"it requires {wanted}, this is {version}; install versions that agree")


def _allows(text: str, version: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return True  # for its installer to complain about
    applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    return not applies or requirement.specifier.contains(version, prereleases=True)
