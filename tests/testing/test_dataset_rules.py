"""Each faulty data set is caught by the rule that it breaks, and by no other."""

from __future__ import annotations

import pytest
from faulty_datasets import FAULTY, NeedsFiles, Sound, Streamed, measured, split, statistics_of

from synflow_bench.testing import RULES, check_dataset


@pytest.fixture
def root(tmp_path):
    """A data folder that has the files of `NeedsFiles`."""
    (tmp_path / "noise").touch()
    return tmp_path


def test_a_sound_data_set_keeps_every_rule(root) -> None:
    report = check_dataset(NeedsFiles, root)
    assert {finding.verdict for finding in report.findings} == {"pass"}


def test_one_that_needs_no_files_is_not_asked_what_it_does_without(root) -> None:
    skipped = {f.rule: f.reason for f in check_dataset(Sound, root).findings if f.verdict != "pass"}
    assert skipped == {"absent": "it needs no files of the data folder"}


def test_of_streamed_images_a_few_are_read(root) -> None:
    report = check_dataset(Streamed, root)
    assert report.passed
    skipped = {f.rule: f.reason for f in report.findings if f.verdict == "skip"}
    assert skipped["statistics"] == "its images are streamed: reading all of them would take too long"


@pytest.mark.parametrize("faulty", FAULTY, ids=lambda kind: kind.__name__)
def test_a_faulty_data_set_is_caught_by_the_right_rule_alone(faulty, root, broken) -> None:
    assert broken(check_dataset(faulty, root)) == [FAULTY[faulty]]


def test_every_rule_has_a_data_set_that_breaks_it() -> None:
    assert set(FAULTY.values()) == {rule.name for rule in RULES["dataset"]}


def test_missing_files_are_a_skip_with_the_reason(tmp_path) -> None:
    report = check_dataset(NeedsFiles, tmp_path)
    assert report.passed
    reasons = {finding.rule: finding.reason for finding in report.findings if finding.verdict == "skip"}
    assert reasons.pop("loads") == "noise is not here; make some"
    assert reasons == dict.fromkeys(
        ["images", "sizes", "labels", "statistics", "repeatable"], "its files are not here"
    )


def test_statistics_are_those_of_all_pixels_of_a_channel() -> None:
    images = split(50, 3).images
    mean, std = measured(images)
    expected = statistics_of(images)
    assert mean == pytest.approx(expected[0], rel=1e-12)
    assert std == pytest.approx(expected[1], rel=1e-12)


def test_the_digits_keep_every_rule(broken, tmp_path) -> None:
    assert broken(check_dataset("digits", tmp_path)) == []
