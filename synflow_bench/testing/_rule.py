"""Rules of the contract, and what came of asking them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

import torch

from synflow_bench.testing._dependencies import Dependencies
from synflow_bench.testing._place import told_with_place
from synflow_bench.testing._surroundings import kept_surroundings


class Subject(Protocol):
    """What rules are asked of."""

    dependencies: Dependencies


S = TypeVar("S", bound=Subject)
Verdict = Literal["pass", "fail", "skip"]


class Broken(AssertionError):  # noqa: N818  it is a verdict
    """The rule does not hold; the message says how."""


class NotAsked(Exception):  # noqa: N818  it is a reason, not an error
    """The rule cannot be asked here; the message says why."""


@dataclass(frozen=True)
class Rule(Generic[S]):
    """One sentence of the contract, and the function that finds out whether it holds.

    `test` raises `Broken` or `NotAsked`, or returns a remark. Where a `gate` does not hold, later rules are
    not asked: they could only fail for the same reason.
    """

    name: str
    says: str
    test: Callable[[S], str | None]
    gate: bool = False


@dataclass(frozen=True)
class Finding:
    """What came of one rule: a verdict, the reason or a remark, and the seconds that it took."""

    rule: str
    says: str
    verdict: Verdict
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """The findings about the plugin `name`, in the order of the rules."""

    kind: str
    name: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule was broken."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The rules that were broken."""
        return tuple(finding for finding in self.findings if finding.verdict == "fail")


def rule(test: Callable[[S], str | None], *, gate: bool = False) -> Rule[S]:
    """The rule that a function stands for: its name with dashes, and the first line of its docstring."""
    says = (test.__doc__ or "").strip().partition("\n")[0]
    return Rule(test.__name__.strip("_").replace("_", "-"), says, test, gate)


def gate(test: Callable[[S], str | None]) -> Rule[S]:
    """The same for a rule without which later ones mean nothing."""
    return rule(test, gate=True)


@dataclass
class Examination(Generic[S]):
    """Asks the rules of one subject, each once and its gates first."""

    subject: S
    rules: Sequence[Rule[S]]
    _findings: dict[str, Finding] = field(default_factory=dict, repr=False)

    def ask(self, rule: Rule[S]) -> Finding:
        """The finding of `rule`."""
        if rule.name not in self._findings:
            self._findings[rule.name] = self._asked(rule)
        return self._findings[rule.name]

    def all(self) -> tuple[Finding, ...]:
        """Every rule's finding."""
        return tuple(self.ask(rule) for rule in self.rules)

    def _asked(self, rule: Rule[S]) -> Finding:
        for earlier in self.rules[: self.rules.index(rule)]:
            if earlier.gate and self.ask(earlier).verdict == "fail":
                return Finding(rule.name, rule.says, "skip", f"not asked: {earlier.name} failed")
        started = time.perf_counter()
        verdict, reason = _verdict(rule, self.subject)
        return Finding(rule.name, rule.says, verdict, reason, time.perf_counter() - started)


def _verdict(rule: Rule[S], subject: S) -> tuple[Verdict, str]:
    try:
        with kept_surroundings():
            torch.set_num_threads(1)
            return "pass", rule.test(subject) or ""
    except NotAsked as reason:
        return "skip", str(reason)
    except Broken as fault:
        return "fail", str(fault)
    except (Exception, SystemExit) as error:
        if missing := subject.dependencies.missing(error):
            return "skip", f"needs {missing!r}, which is not installed"
        return "fail", told_with_place(error)
