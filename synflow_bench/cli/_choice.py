"""Which cells a run was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synflow_bench.host import Host
from synflow_bench.suites import PrunerSpec, Suite, expand_pruners, load_suite, override, validate


@dataclass(frozen=True)
class Choice:
    """The options that choose cells, as they were given; what is empty leaves the suite as it is."""

    suite: str
    all_pruners: bool
    pruners: Sequence[str]
    datasets: Sequence[str]
    models: Sequence[str]
    compressions: Sequence[float]
    ablations: Sequence[str]
    seeds: int | None
    assignments: Sequence[str]
    protocol: Mapping[str, str | int]

    def suite_of(self, host: Host) -> Suite:
        """The suite with the command line's choices in it."""
        for registry, names in ((host.datasets, self.datasets), (host.models, self.models)):
            for name in names:
                registry.entry(name)
        return override(
            find_suite(self.suite, host),
            datasets=self.datasets,
            models=self.models,
            compressions=self.compressions,
            seeds=self.seeds,
            ablations=self.ablations,
            protocol=self.protocol,
            assignments=self.assignments,
        )

    def pruners_of(self, suite: Suite) -> list[PrunerSpec] | None:
        """The pruners that are named here, else those of the suite; None is every installed one."""
        if self.pruners:
            return [validate(PrunerSpec, each, "pruner") for each in expand_pruners(self.pruners)]
        return list(suite.pruners) if suite.pruners and not self.all_pruners else None


def find_suite(name: str, host: Host) -> Suite:
    """An installed suite, or one from a TOML file."""
    is_file = name.endswith(".toml") or "/" in name or "\\" in name
    return load_suite(Path(name)) if is_file and name not in host.suites else host.suites.get(name)
