"""Rules of the plugin contract, and the check of a plugin against them.

A rule is one sentence of the contract and a function that checks it. The function raises `Broken` or
`Skipped`, or returns a remark. Any other exception breaks the rule too, unless it says that an optional
dependency of the plugin is not installed.
"""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, entry_points, requires
from typing import Any, Generic, Literal, TypeVar

import torch
from packaging.utils import canonicalize_name

from synflow_bench.errors import HandledError, NotDefinedError, one_line, raised_at
from synflow_bench.host import PROJECT
from synflow_bench.testing.state import restored_globals

Verdict = Literal["pass", "fail", "skip"]


class Broken(AssertionError):  # noqa: N818  it is a verdict
    """The rule does not hold; the message says why."""


class Skipped(Exception):  # noqa: N818  it is a verdict
    """The rule does not apply, or cannot be checked here; the message says why."""


@dataclass(frozen=True)
class Finding:
    """The result of checking one rule.

    Attributes:
        rule: The name of the rule.
        description: The rule in a sentence.
        verdict: `pass`, `fail` or `skip`.
        reason: The reason of a failure or a skip; a remark, if any, where the rule holds.
        seconds: The time that the check took.
    """

    rule: str
    description: str
    verdict: Verdict
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """The findings about one plugin, in the order of the rules.

    Attributes:
        kind: `pruner`, `model` or `dataset`.
        name: The name of the plugin.
        findings: One finding per rule.
    """

    kind: str
    name: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """True if no rule is broken."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings of the broken rules."""
        return tuple(finding for finding in self.findings if finding.verdict == "fail")


@dataclass
class PluginSubject:
    """A plugin to check.

    Attributes:
        name: The name of the plugin.
        load: A function that returns the plugin, imported now if necessary.
        dependencies: The modules that the plugin may lack.
        title: The plugin in messages, for instance with its distribution.
    """

    name: str
    load: Callable[[], Any]
    dependencies: Dependencies
    title: str = ""

    @cached_property
    def plugin(self) -> Any:
        """The class of the pruner or dataset, or the factory of the model."""
        return self.load()

    def require_subclass(self, base: type) -> None:
        """Raise `Broken` unless the plugin is a subclass of `base`."""
        if not (isinstance(self.plugin, type) and issubclass(self.plugin, base)):
            kind, name = type(self.plugin).__name__, getattr(self.plugin, "__name__", None)
            found = f"{'class' if isinstance(self.plugin, type) else kind} {name!r}" if name else f"a {kind}"
            raise Broken(f"{found} is not a subclass of synflow_bench.{base.__name__}; make it one")


S = TypeVar("S", bound=PluginSubject)


@dataclass(frozen=True)
class Rule(Generic[S]):
    """One sentence of the contract, and the function that checks it.

    Attributes:
        name: The name, such as `exact-density`.
        description: The sentence.
        test: A function that raises `Broken` or `Skipped`, or returns a remark.
        gate: If this rule is broken, later rules are skipped: they could only fail for the same reason.
    """

    name: str
    description: str
    test: Callable[[S], str | None]
    gate: bool = False


def rule(test: Callable[[S], str | None], *, gate: bool = False) -> Rule[S]:
    """Make a rule of a function: its name with dashes, and the first line of its docstring."""
    description = (test.__doc__ or "").strip().partition("\n")[0]
    return Rule(test.__name__.replace("_", "-"), description, test, gate)


def gate(test: Callable[[S], str | None]) -> Rule[S]:
    """Make a rule without which later rules are skipped."""
    return rule(test, gate=True)


def check_rules(subject: S, rules: Sequence[Rule[S]]) -> tuple[Finding, ...]:
    """Check a plugin against every rule in turn; each rule finds the global state as it was before."""
    findings = []
    broken_gate = ""
    for rule in rules:
        if broken_gate:
            reason = f"not checked: {broken_gate} failed"
            findings.append(Finding(rule.name, rule.description, "skip", reason))
            continue
        started = time.perf_counter()
        verdict, reason = _check(rule, subject)
        seconds = time.perf_counter() - started
        findings.append(Finding(rule.name, rule.description, verdict, reason, seconds))
        if rule.gate and verdict == "fail":
            broken_gate = rule.name
    return tuple(findings)


def _check(rule: Rule[S], subject: S) -> tuple[Verdict, str]:
    try:
        with restored_globals():
            torch.set_num_threads(1)
            return "pass", rule.test(subject) or ""
    except (Skipped, NotDefinedError) as reason:
        return "skip", str(reason)
    except Broken as fault:
        return "fail", str(fault)
    except (Exception, SystemExit) as error:
        if missing := subject.dependencies.missing(error):
            return "skip", f"needs {missing!r}, which is not installed"
        return "fail", _with_place(error)


def _with_place(error: BaseException) -> str:
    """Describe an exception in one line, with the innermost line of code that may be the author's."""
    if isinstance(error, HandledError):
        return str(error)
    place = raised_at("".join(traceback.format_exception(error)))
    return f"{one_line(error)} ({place})" if place else one_line(error)


@dataclass(frozen=True)
class Dependencies:
    """The modules that a plugin may lack without breaking a rule.

    These are the requirements of its distribution, with or without an extra, and the extras of synflow-bench.
    A module is recognized by the name of its distribution in any spelling. If only the plugin's `package` is
    known, its distribution is the one with an entry point in that package. A plugin without a distribution,
    such as a file, may lack only the extras of synflow-bench.
    """

    distribution: str = ""
    package: str = ""

    @classmethod
    def of(cls, plugin: object) -> Dependencies:
        """Return those of a class or a factory, by the module that defines it."""
        return cls(package=str(getattr(plugin, "__module__", "")).partition(".")[0])

    def missing(self, error: BaseException | None) -> str | None:
        """Return the name of the module that `error` reports as missing, if the plugin may lack it."""
        if not isinstance(error, ModuleNotFoundError) or not error.name:
            return None
        return error.name if canonicalize_name(error.name) in self._names else None

    @cached_property
    def _names(self) -> frozenset[str]:
        extras = [text for text in _requirements("synflow-bench") if "extra ==" in text]
        own = _requirements(self.distribution or _distribution_of(self.package))
        return frozenset(
            canonicalize_name(re.split(r"[^\w.-]", text, maxsplit=1)[0]) for text in own + extras
        )


def _distribution_of(package: str) -> str:
    points = (point for point in entry_points(group=PROJECT) if point.module.partition(".")[0] == package)
    return next((point.dist.name for point in points if point.dist), "")


def _requirements(distribution: str) -> list[str]:
    try:
        return requires(distribution) or [] if distribution else []
    except PackageNotFoundError:
        return []
