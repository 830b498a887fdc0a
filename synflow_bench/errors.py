"""The errors that a user can mend. Each is one line: what is wrong, with which thing, and the way out.

Anything else that is raised is a fault of ours or of a plugin, and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class HandledError(Exception):
    """What the user can mend; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 2


class UsageError(HandledError):
    """An option, a name or a value that cannot be used as given."""


class UnknownNameError(UsageError):
    """A name that nothing has registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str], otherwise: str = "") -> None:
        super().__init__(f"unknown {kind} {name!r}; {did_you_mean(name, known, otherwise)}")


class PluginError(HandledError):
    """A plugin that does not keep the contract; the message names its distribution."""


class SuiteError(UsageError):
    """A suite, a setting or a cell that is not valid."""


class ScoreError(HandledError):
    """Scores that cannot be ranked: missing, wrongly shaped, non-finite or without information."""


class ModelError(HandledError):
    """A network that cannot be built for this input, or that has nothing to prune."""


class DataError(HandledError):
    """A data set whose files are damaged."""


class DataMissingError(DataError):
    """A data set that is not on this machine; the message says which command fetches it."""


class RecordError(HandledError):
    """A record or a results folder that cannot be read or must not be written over."""


class DeviceError(UsageError):
    """A device that this machine does not have."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Say which known name was probably meant, or `otherwise`, or list what there is."""
    choices = sorted(known)
    close = get_close_matches(name, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if otherwise:
        return otherwise
    return f"known: {', '.join(choices)}" if choices else "none is installed"
