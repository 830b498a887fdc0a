"""Test classes for plugin authors: one test a rule. They need no plugin of pytest, and import none of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

from synflow_bench.testing._check import RULES, examine_dataset, examine_model, examine_pruner
from synflow_bench.testing._rule import Examination, Rule


class _Conformance:
    """What the three classes share: a test that is made once for every rule."""

    kind: ClassVar[str]
    _examined: ClassVar[Examination[Any] | None] = None

    @classmethod
    def examine(cls) -> Examination[Any]:
        """The examination that all tests of the class share."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make one test of every rule; pytest calls this by its name."""
        if "rule" in metafunc.fixturenames:
            metafunc.parametrize("rule", RULES[self.kind], ids=lambda rule: rule.name)

    def test_keeps(self, rule: Rule[Any]) -> None:
        """The rule holds; where it cannot be asked the test is skipped with the reason."""
        __tracebackhide__ = True
        kind = type(self)
        if "_examined" not in vars(kind):
            kind._examined = kind.examine()
        finding = kind._examined.ask(rule)  # type: ignore[union-attr]  # made above
        if finding.verdict == "skip":
            raise SkipTest(finding.reason)
        if finding.verdict == "fail":
            raise AssertionError(f"{rule.name}: {finding.reason}")


class PrunerConformance(_Conformance):
    """A test for every rule that a pruner must keep to.

    Derive a test class and name the pruner, by its class or, once it is installed, by its name:

        from synflow_bench.testing import PrunerConformance
        from my_package.gradnorm import GradNorm

        class TestGradNorm(PrunerConformance):
            pruner = GradNorm

    `parameters` are tried in place of the defaults.
    """

    kind = "pruner"
    pruner: ClassVar[Any]
    parameters: ClassVar[dict[str, Any]] = {}

    @classmethod
    def examine(cls) -> Examination[Any]:
        """The examination of `pruner`."""
        return examine_pruner(vars_of(cls, "pruner"), cls.parameters)


class ModelConformance(_Conformance):
    """A test for every rule that a model must keep to.

    Derive a test class and name the factory, or, once it is installed, its name:

        class TestTiny(ModelConformance):
            factory = "tiny"
    """

    kind = "model"
    factory: ClassVar[Any]

    @classmethod
    def examine(cls) -> Examination[Any]:
        """The examination of `factory`."""
        return examine_model(vars_of(cls, "factory"))


class DatasetConformance(_Conformance):
    """A test for every rule that a data set must keep to; without its files those about them are skipped.

    Derive a test class and name the data set, by its class or, once it is installed, by its name:

        class TestStripes(DatasetConformance):
            dataset = Stripes

    `root` is the data folder, else the user's own.
    """

    kind = "dataset"
    dataset: ClassVar[Any]
    root: ClassVar[Path | None] = None

    @classmethod
    def examine(cls) -> Examination[Any]:
        """The examination of `dataset`."""
        return examine_dataset(vars_of(cls, "dataset"), cls.root)


def vars_of(kind: type, name: str) -> Any:
    """A class attribute as it was written: a function is not bound."""
    for base in kind.__mro__:
        if name in vars(base):
            value = vars(base)[name]
            return value.__func__ if isinstance(value, staticmethod) else value
    raise TypeError(f"{kind.__name__} names no {name}; write `{name} = ...` in the class")
