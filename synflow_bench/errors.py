"""The errors that a user can fix, and the text of errors.

    HandledError                a message of one line: the problem, the value, and the remedy
    ├── UsageError              an option, a name or a value that cannot be used as given
    │   ├── UnknownNameError    a name that nothing has registered
    │   ├── SuiteError          a suite, a setting or a cell that is not valid
    │   └── DeviceError         a device that this machine does not have
    ├── PluginError             a plugin that breaks the contract
    ├── ScoreError              scores that cannot be ranked
    ├── ModelError              a network that cannot be built or pruned
    ├── NotDefinedError         a method that is not defined for this network and compression
    ├── DataError               a dataset whose files are damaged
    │   └── DataMissingError    a dataset that is not on this machine
    └── RecordError             a record or another file of results that cannot be read or written

The command line prints the message of a `HandledError` and exits with its `exit_code`. Any other exception is
a bug of synflow-bench or of a plugin and keeps its traceback.

Text from plugins and from records of others goes through `printable` on its way to a terminal, and through
`capped` on its way to a record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from sysconfig import get_paths

DENSE = "dense"
"""The name of the unpruned network's row on a board; no pruner may take it."""

NAME_RULE = "lower-case letters, digits and . _ / - only, a letter or digit first, at most 64"
"""The rule for names of pruners, models and datasets, for error messages."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,63}")
_FRAME = re.compile(r'^[ |]*File "(.+?)", line (\d+)', re.MULTILINE)
_INSTALLED = {"site-packages", "dist-packages"}
_LIBRARIES = {"synflow_bench", "torch", "torchvision"}
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_FORMULA = {"=", "+", "-", "@", "\t", "\r"}
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class HandledError(Exception):
    """An error that the user can fix; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 2


class UsageError(HandledError):
    """An option, a name or a value that cannot be used as given."""


class UnknownNameError(UsageError):
    """A name that nothing has registered.

    Args:
        kind: The kind of thing that has the name, such as `pruner`.
        name: The unknown name.
        known: The names that there are.
        otherwise: The advice if no known name is close; by default a list of `known`.

    Attributes:
        kind: The kind of thing.
        is_guessed: True if the message names the known name that is closest.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], otherwise: str = "") -> None:
        advice = did_you_mean(name, known, otherwise)
        super().__init__(f"unknown {kind} {name!r}; {advice}")
        self.kind, self.is_guessed = kind, advice.startswith(GUESS)


class SuiteError(UsageError):
    """A suite, a setting or a cell that is not valid."""


class DeviceError(UsageError):
    """A device that this machine does not have."""


class PluginError(HandledError):
    """A plugin that breaks the contract; the message names its distribution."""


class ScoreError(HandledError):
    """Scores that cannot be ranked: missing, wrongly shaped, non-finite or constant."""


class ModelError(HandledError):
    """A network that cannot be built for this input, or that has nothing to prune."""


class NotDefinedError(HandledError):
    """A pruning method that is not defined for this network at this compression; a pruner may raise it.

    In a run, the cell is not a failure: its record has the status `skipped`, and no board ranks it.

    Args:
        reason: The part of the method's definition that cannot be met, in one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"not defined here: {reason}")


class DataError(HandledError):
    """A dataset whose files are damaged."""


class DataMissingError(DataError):
    """A dataset that is not on this machine; the message gives the command that fetches it."""


class RecordError(HandledError):
    """A record, a results folder or another file of results that cannot be read or written."""


GUESS = "did you mean"
"""How advice begins that names one thing which may be meant."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Suggest the known name that is closest to `name`, else `otherwise`, else list all known names.

    Example:
        >>> did_you_mean("synflw", ["snip", "synflow"])
        "did you mean 'synflow'?"
        >>> did_you_mean("x", ["snip", "synflow"])
        'known: snip, synflow'
    """
    choices = sorted(known)
    folded = {choice.lower(): choice for choice in choices}
    close = get_close_matches(name, choices, n=1, cutoff=0.6)
    close += [folded[each] for each in get_close_matches(name.lower(), folded, n=1, cutoff=0.6)]
    if close:
        return f"{GUESS} {close[0]!r}?"
    if otherwise:
        return otherwise
    return f"known: {', '.join(choices)}" if choices else "none is installed"


def is_plain_name(name: str) -> bool:
    """Return True if `name` follows `NAME_RULE` and has no `..` and no empty part between slashes.

    Such names are safe in file names and on web pages.

    Example:
        >>> is_plain_name("lottery/vgg11-bn"), is_plain_name("../up"), is_plain_name("My Net")
        (True, False, False)
    """
    return bool(_NAME.fullmatch(name)) and all(part.strip(".") for part in name.split("/"))


def one_line(error: BaseException, *, with_type: bool = True, first_line: bool = False) -> str:
    """Write an exception as one line of text.

    Args:
        error: The exception.
        with_type: Begin with the name of its class. Without it the name appears only if there is no message.
        first_line: Keep only the first line of the message, where further ones are details of a library.

    Example:
        >>> one_line(ImportError("no module\\nnamed 'x'"))
        "ImportError: no module named 'x'"
        >>> one_line(ImportError("no module\\nnamed 'x'"), with_type=False, first_line=True)
        'no module'
        >>> one_line(SystemExit())
        'SystemExit'
    """
    name, text = printable(type(error).__name__), _message_of(error)
    message = printable(capped(text.partition("\n")[0] if first_line else text))
    if with_type:
        return f"{name}: {message}" if message else name
    return message or name


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as another:  # the code of a plugin, which may raise anything
        if isinstance(another, KeyboardInterrupt):
            raise
        return f"(its message cannot be read: {type(another).__name__})"


LONGEST_TEXT = 10_000
"""The most characters of a text of a plugin in a message or a record."""


def capped(text: str, most: int = LONGEST_TEXT) -> str:
    """Return `text` without the middle if it is longer than `most`, and without lone surrogates.

    A record is JSON in UTF-8, which has no code for half of a surrogate pair.

    Example:
        >>> capped("a" * 100, most=20)
        'aaaaaaaaaa [80 more characters] aaaaaaaaaa'
    """
    if len(text) > most:
        half = most // 2
        text = f"{text[:half]} [{len(text) - 2 * half} more characters] {text[-half:]}"
    return _SURROGATE.sub(_REPLACEMENT, text)


def printable(text: str) -> str:
    """Return `text` in one line, with control characters replaced.

    Text from plugins and records may hold codes that a terminal obeys, or that turn the direction of writing.

    Example:
        >>> printable("two\\nlines")
        'two lines'
    """
    return _replaced(" ".join(text.split()))


def count(number: int, noun: str) -> str:
    """Return a number of things.

    Example:
        >>> count(1, "seed"), count(3, "seed")
        ('1 seed', '3 seeds')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def without_formula(text: str) -> str:
    """Return `text` for a cell of a CSV, with a quote before what a spreadsheet would run as a formula.

    Example:
        >>> without_formula("=HYPERLINK(0)"), without_formula("snip")
        ("'=HYPERLINK(0)", 'snip')
    """
    return f"'{text}" if text[:1] in _FORMULA else text


def printable_lines(text: str) -> str:
    """Return `text` with its lines and indentation, and with other control characters replaced."""
    return "\n".join(map(_replaced, text.expandtabs(4).splitlines()))


def _replaced(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _REPLACEMENT for letter in text)


def raised_at(traceback: str) -> str | None:
    """Find the innermost line that an author of a plugin may have written in the text of a traceback.

    Lines of synflow-bench, torch, torchvision and the standard library are skipped.

    Returns:
        The name of the file and the number of the line, or None if there is no such line.

    Example:
        >>> raised_at('  File "/home/me/mine.py", line 7, in score\\n  File "<string>", line 1, in f')
        'mine.py:7'
    """
    places = [f"{Path(file).name}:{line}" for file, line in _FRAME.findall(traceback) if _is_an_authors(file)]
    return places[-1] if places else None


def _is_an_authors(file: str) -> bool:
    path = Path(file)
    if file.startswith("<"):
        return False
    installed = [index for index, part in enumerate(path.parts[:-1]) if part in _INSTALLED]
    if installed:
        return path.parts[installed[-1] + 1] not in _LIBRARIES
    ours = (Path(__file__).parent, *(Path(get_paths()[name]) for name in ("stdlib", "platstdlib")))
    return not any(path.is_relative_to(folder) for folder in ours)
