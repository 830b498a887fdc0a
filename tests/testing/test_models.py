"""Each faulty model breaks the rule that it was made to break, and no other."""

from __future__ import annotations

import pytest
from faulty_models import FAULTY, color_only, sound

from synflow_bench.testing import RULES, check_model


@pytest.mark.parametrize("model", [sound, color_only])
def test_a_sound_model_keeps_every_rule(model) -> None:
    report = check_model(model)
    assert {finding.verdict for finding in report.findings} == {"pass"}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_model_breaks_its_rule_alone(name, broken) -> None:
    factory, rule = FAULTY[name]
    assert broken(check_model(factory)) == [rule]


def test_every_rule_has_a_model_that_breaks_it() -> None:
    assert {rule for _, rule in FAULTY.values()} == {rule.name for rule in RULES["model"]}


def test_accepted_and_rejected_shapes_are_reported() -> None:
    (finding,) = [finding for finding in check_model(color_only).findings if finding.rule == "inputs"]
    accepted, _, rejected = finding.reason.partition(";")
    assert ("3x32x32, 3x64x64" in accepted, "1x28x28, 1x8x8" in rejected) == (True, True)


def test_a_model_of_sequences_keeps_every_rule() -> None:
    report = check_model("gpt/char")
    assert {finding.verdict for finding in report.findings} == {"pass"}
    (finding,) = [finding for finding in report.findings if finding.rule == "inputs"]
    assert finding.reason == "accepts 32, 8"


def test_a_failure_names_no_line_of_python_or_of_the_harness() -> None:
    def narrow(input_shape):
        raise NotImplementedError

    (finding, *_) = check_model(narrow).failures
    assert finding.reason.startswith("TypeError: ")
    assert finding.reason.endswith("narrow() takes 1 positional argument but 2 were given")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "fc",
        "conv",
        "lottery/vgg11",
        "lottery/vgg16-bn",
        "lottery/resnet20",
        "lottery/wide-resnet20",
        "tinyimagenet/resnet18",
        "tinyimagenet/vgg11-bn",
        "imagenet/resnet18",
        "wrn-16-8",
        "mobilenet/v2",
        "convnext/tiny",
        "vit/tiny",
        "mixer/tiny",
    ],
)
def test_one_model_of_each_family_keeps_every_rule(name) -> None:
    failures = {finding.rule: finding.reason for finding in check_model(name).failures}
    assert failures == {}
