"""Checks of a plugin, given itself or by its installed name, and test classes with one test per rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from unittest import SkipTest  # pytest takes it for its own, and the kit needs no pytest

from synflow_bench.data import Dataset, default_data_root
from synflow_bench.errors import PluginError
from synflow_bench.host import Host
from synflow_bench.suites import PrunerSpec, parse_dataset, validate
from synflow_bench.testing.datasets import DATASET_RULES, DatasetSubject
from synflow_bench.testing.models import MODEL_RULES, ModelSubject
from synflow_bench.testing.pruners import PRUNER_RULES, PrunerSubject
from synflow_bench.testing.rules import Dependencies, PluginSubject, Report, Rule, Skipped, check_rules
from synflow_bench.testing.training_pruners import TRAINING_RULES, changes_masks

RULES: Mapping[str, Sequence[Rule[Any]]] = {
    "pruner": PRUNER_RULES,
    "training pruner": (*PRUNER_RULES, *TRAINING_RULES),
    "model": MODEL_RULES,
    "dataset": DATASET_RULES,
}
"""The rules for each kind of plugin."""

S = TypeVar("S", bound=PluginSubject)


def check_pruner(
    pruner: Any, parameters: Mapping[str, Any] | None = None, host: Host | None = None
) -> Report:
    """Check a pruner against every rule; those of trainings are for a `TrainingPruner` alone.

    Args:
        pruner: A class, or an installed name such as `"synflow[rounds=10]"`.
        parameters: Values in place of the defaults, and of the values in the name.
        host: The installed plugins; loaded now if a name is given without it.

    Returns:
        The finding of each rule. A broken rule is not an error; it is in `failures` of the report.

    Raises:
        UnknownNameError: No pruner has this name, or the pruner named has no such parameter.
        UsageError: A parameter of the pruner named has the wrong type, or the pruner rejects it.
        SuiteError: The text is not a name with parameters.

    Example:
        >>> check_pruner("magnitude").passed
        True
        >>> [(finding.rule, finding.reason) for finding in check_pruner(dict).failures]
        [('contract', "class 'dict' is not a subclass of synflow_bench.Pruner; make it one")]
    """
    spec = validate(PrunerSpec, pruner, "pruner") if isinstance(pruner, str) else None
    subject = _subject(PrunerSubject, "pruner", spec.name if spec else pruner, host)
    subject.parameters = {**(spec.parameters if spec else {}), **(parameters or {})}
    if spec:
        with suppress(
            PluginError, Skipped
        ):  # the rules report these; a wrong parameter is the caller's error
            subject.make()
    rules = RULES["training pruner" if changes_masks(subject) else "pruner"]
    return Report("pruner", subject.name, check_rules(subject, rules))


def check_model(factory: Any, host: Host | None = None) -> Report:
    """Check a model against every rule.

    Args:
        factory: A factory `(input_shape, num_classes, **options) -> nn.Module`, or an installed name.
        host: The installed plugins; loaded now if a name is given without it.

    Returns:
        The finding of each rule. A broken rule is not an error; it is in `failures` of the report.

    Raises:
        UnknownNameError: No model has this name.

    Example:
        >>> report = check_model(lambda input_shape, num_classes: "no network")
        >>> [(finding.rule, finding.reason) for finding in report.failures]
        [('factory', 'the factory returns a str, not a torch.nn.Module')]
    """
    return _report("model", _subject(ModelSubject, "model", factory, host))


def check_dataset(dataset: Any, root: Path | None = None, host: Host | None = None) -> Report:
    """Check a dataset against every rule; without its files, the rules about them are skipped.

    Args:
        dataset: A class, or an installed name, with options where it has some:
            `image-folder[path=DIR]`.
        root: The data folder; by default that of the user.
        host: The installed plugins; loaded now if a name is given without it.

    Returns:
        The finding of each rule. A broken rule is not an error; it is in `failures` of the report.

    Raises:
        UnknownNameError: No dataset has this name.
        HandledError: The options cannot be used.

    Example:
        >>> check_dataset("digits").passed
        True
    """
    root = root or default_data_root()
    host = host or (Host.load() if isinstance(dataset, str) else None)
    if host and isinstance(dataset, str) and ("[" in dataset or _needs_options(dataset, host)):
        name, _ = parse_dataset(dataset)
        subject = _subject(DatasetSubject, "dataset", name, host)
        subject.name, subject.load = dataset, partial(_with_options, host.dataset(dataset, root))
    else:
        subject = _subject(DatasetSubject, "dataset", dataset, host)
    subject.root = root
    return _report("dataset", subject)


def _needs_options(name: str, host: Host) -> bool:
    with suppress(PluginError):
        kind = host.dataset_class(name)
        return is_dataclass(kind) and not hasattr(kind, "input_shape")
    return False


def _with_options(dataset: Dataset) -> type[Dataset]:
    """Return a class that is made without arguments and gives `dataset`."""
    kind, state = type(dataset), dict(vars(dataset))
    return type(kind.__name__, (kind,), {**state, "__init__": lambda self: self.__dict__.update(state)})


def _report(kind: str, subject: PluginSubject) -> Report:
    return Report(kind, subject.name, check_rules(subject, RULES[kind]))


def _subject(subject_type: type[S], kind: str, plugin: Any, host: Host | None) -> S:
    """The subject of a check; a name that nothing has registered is an error at once."""
    if not isinstance(plugin, str):
        name = str(getattr(plugin, "__name__", type(plugin).__name__)).lower()
        return subject_type(name, lambda: plugin, Dependencies.of(plugin))
    host = host or Host.load()
    host.check()
    registry = host.registry(kind)
    entry = registry.entry(plugin)
    dependencies = Dependencies(entry.distribution)

    def load() -> Any:
        try:
            return registry.get(plugin)
        except PluginError as error:
            if missing := dependencies.missing(error.__cause__):
                raise Skipped(f"needs {missing!r}, which is not installed") from error
            raise

    return subject_type(plugin, load, dependencies, entry.title)


class _Conformance:
    """The common part of the test classes: one test, parametrized by the rules of a kind."""

    kind: ClassVar[str]

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make one test per rule; pytest calls this by its name."""
        if "rule" in metafunc.fixturenames:
            metafunc.parametrize("rule", RULES[self.kind], ids=lambda rule: rule.name)

    def test_keeps(self, rule: Rule[Any]) -> None:
        """The plugin keeps the rule; the test is skipped, with the reason, if that cannot be checked."""
        __tracebackhide__ = True
        finding = next(finding for finding in self._report().findings if finding.rule == rule.name)
        if finding.verdict == "skip":
            raise SkipTest(finding.reason)
        if finding.verdict == "fail":
            raise AssertionError(f"{rule.name}: {finding.reason}")

    @classmethod
    @cache
    def _report(cls) -> Report:
        """The report that all tests of the class share."""
        return cls._check()

    @classmethod
    def _check(cls) -> Report:
        raise NotImplementedError

    @classmethod
    def _named(cls, attribute: str) -> Any:
        """A class attribute as it was written: a function is not bound to the class."""
        for base in cls.__mro__:
            if attribute in vars(base):
                value = vars(base)[attribute]
                return value.__func__ if isinstance(value, staticmethod) else value
        raise TypeError(f"{cls.__name__} names no {attribute}; write `{attribute} = ...` in the class")


class PrunerConformance(_Conformance):
    """A test class with one test per rule for pruners, for pytest.

    Attributes:
        pruner: The class, or the installed name. Derive a test class and set it.
        parameters: Values in place of the defaults.

    Example:
        >>> from synflow_bench import Pruner
        >>> class GradNorm(Pruner):
        ...     def score(self, problem):
        ...         for inputs, labels in problem.batches():
        ...             problem.loss(problem.model(inputs), labels).backward()
        ...         return {name: p.grad.abs() for name, p in problem.parameters.items()}
        >>> class TestGradNorm(PrunerConformance):
        ...     pruner = GradNorm
    """

    kind = "pruner"
    pruner: ClassVar[Any]
    parameters: ClassVar[dict[str, Any]] = {}

    @classmethod
    def _check(cls) -> Report:
        return check_pruner(cls._named("pruner"), cls.parameters)


class TrainingPrunerConformance(PrunerConformance):
    """The same for pruners that change masks in training, with the rules of trainings.

    Example:
        >>> class TestRigl(TrainingPrunerConformance):
        ...     pruner = "rigl"
    """

    kind = "training pruner"


class ModelConformance(_Conformance):
    """A test class with one test per rule for models, for pytest.

    Attributes:
        factory: The factory, or the installed name. Derive a test class and set it.

    Example:
        >>> class TestMyNetwork(ModelConformance):
        ...     factory = "fc"
    """

    kind = "model"
    factory: ClassVar[Any]

    @classmethod
    def _check(cls) -> Report:
        return check_model(cls._named("factory"))


class DatasetConformance(_Conformance):
    """A test class with one test per rule for datasets, for pytest; rules about missing files are skipped.

    Attributes:
        dataset: The class, or the installed name. Derive a test class and set it.
        root: The data folder; by default that of the user.

    Example:
        >>> class TestMyImages(DatasetConformance):
        ...     dataset = "digits"
    """

    kind = "dataset"
    dataset: ClassVar[Any]
    root: ClassVar[Path | None] = None

    @classmethod
    def _check(cls) -> Report:
        return check_dataset(cls._named("dataset"), cls.root)
