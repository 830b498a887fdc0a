"""The conformance kit: checks that a pruner, a model or a dataset keeps the plugin contract, rule by rule.

In a project's tests, one class gives a test per rule:

    from synflow_bench.testing import PrunerConformance
    from my_package.gradnorm import GradNorm

    class TestGradNorm(PrunerConformance):
        pruner = GradNorm

In a script, `check_pruner(GradNorm).failures` lists the broken rules. On the command line,
`synflow-bench check gradnorm` prints all rules with their verdicts.
"""

from synflow_bench.testing.conformance import (
    RULES,
    DatasetConformance,
    ModelConformance,
    PrunerConformance,
    TrainingPrunerConformance,
    check_dataset,
    check_model,
    check_pruner,
)
from synflow_bench.testing.rules import Finding, Report, Rule

__all__ = [
    "RULES",
    "DatasetConformance",
    "Finding",
    "ModelConformance",
    "PrunerConformance",
    "Report",
    "Rule",
    "TrainingPrunerConformance",
    "check_dataset",
    "check_model",
    "check_pruner",
]
