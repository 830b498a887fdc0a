"""The conformance kit: whether a pruner, a model or a data set keeps the contract, rule by rule.

In a project's tests, one class is enough:

    from synflow_bench.testing import PrunerConformance
    from my_package.gradnorm import GradNorm

    class TestGradNorm(PrunerConformance):
        pruner = GradNorm

Without pytest, `check_pruner(GradNorm).failures` lists what is broken; on the command line,
`synflow-bench check gradnorm` does. `synflow_bench.testing.pytest_plugin` has a fixture for a whole report.
"""

from synflow_bench.testing._check import RULES, check_dataset, check_model, check_pruner
from synflow_bench.testing._rule import Finding, Report, Rule
from synflow_bench.testing.conformance import DatasetConformance, ModelConformance, PrunerConformance

__all__ = [
    "RULES",
    "DatasetConformance",
    "Finding",
    "ModelConformance",
    "PrunerConformance",
    "Report",
    "Rule",
    "check_dataset",
    "check_model",
    "check_pruner",
]
