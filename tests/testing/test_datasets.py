"""Each faulty dataset breaks the rule that it was made to break, and no other."""

from __future__ import annotations

import pytest
from faulty_datasets import FAULTY, NeedsFiles, Sequences, Sound, Streamed, split

from synflow_bench.testing import RULES, check_dataset
from synflow_bench.testing.datasets import channel_statistics


@pytest.fixture
def root(tmp_path):
    """A data folder that has the files of `NeedsFiles`."""
    (tmp_path / "noise").touch()
    return tmp_path


def test_a_sound_dataset_keeps_every_rule(root) -> None:
    report = check_dataset(NeedsFiles, root)
    assert {finding.verdict for finding in report.findings} == {"pass"}


def test_a_dataset_without_files_skips_the_rule_about_their_absence(root, skipped) -> None:
    report = check_dataset(Sound, root)
    assert report.passed
    assert list(skipped(report)) == ["absent"]


def test_a_few_images_of_a_streamed_dataset_are_read(root, skipped) -> None:
    report = check_dataset(Streamed, root)
    assert report.passed
    assert "streamed" in skipped(report)["statistics"]


def test_sequences_of_tokens_have_no_mean_and_no_deviation(root, skipped) -> None:
    report = check_dataset(Sequences, root)
    assert report.passed
    assert "tokens" in skipped(report)["statistics"]


@pytest.mark.parametrize("faulty", FAULTY, ids=lambda kind: kind.__name__)
def test_a_faulty_dataset_breaks_its_rule_alone(faulty, root, broken) -> None:
    assert broken(check_dataset(faulty, root)) == [FAULTY[faulty]]


def test_every_rule_has_a_dataset_that_breaks_it() -> None:
    assert set(FAULTY.values()) == {rule.name for rule in RULES["dataset"]}


def test_rules_about_missing_files_are_skipped_with_the_reason(tmp_path, skipped) -> None:
    report = check_dataset(NeedsFiles, tmp_path)
    assert report.passed
    reasons = skipped(report)
    assert reasons["loads"] == "noise is not here; make some"
    assert set(reasons) == {"loads", "images", "sizes", "labels", "statistics", "repeatable"}


def test_statistics_are_those_of_all_pixels_of_a_channel() -> None:
    images = split(50, 3).images
    mean, std = channel_statistics(images)
    scaled = images.double() / 255
    assert mean == pytest.approx(scaled.mean(dim=(0, 2, 3)).tolist(), rel=1e-12)
    assert std == pytest.approx(scaled.std(dim=(0, 2, 3), correction=0).tolist(), rel=1e-12)


def test_the_digits_keep_every_rule(broken, tmp_path) -> None:
    assert broken(check_dataset("digits", tmp_path)) == []
