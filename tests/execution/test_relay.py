"""The output of workers: cleaned, cut and counted."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from synflow_bench.execution.relay import MOST_BYTES, MOST_LINES, READY, OutputRelay


class Output:
    """A relay and the end to which a worker writes."""

    def __init__(self) -> None:
        reader, self.writer = os.pipe()
        os.set_blocking(reader, False)
        self.relay = OutputRelay(reader, "noisy")

    def write(self, content: bytes) -> None:
        while content:
            content = content[os.write(self.writer, content[: 1 << 15]) :]
            self.relay.pump()


@pytest.fixture
def output() -> Iterator[Output]:
    made = Output()
    yield made
    os.close(made.writer)


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_lines_are_passed_on_without_control_characters(
    output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    output.write(READY + "\x1b[31mred\nfür\n".encode() + b"\xff\n")
    assert [line.isprintable() for line in shown(capsys)] == [True] * 3


def test_what_imports_print_is_shown_only_if_the_worker_never_gets_ready(
    output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    output.write(b"import\n" + READY[:5])
    output.write(READY[5:] + b"score\n")
    output.relay.close()
    assert shown(capsys) == ["score"]
    other = Output()
    other.write(b"import\ndies\n")
    other.relay.close()
    os.close(other.writer)
    assert shown(capsys) == ["import", "dies"]


@pytest.mark.parametrize("count", [MOST_LINES, MOST_LINES + 1, 50_000])
def test_lines_beyond_the_limit_are_counted_and_the_next_cells_begin_anew(
    output: Output, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    output.write(READY + b"x\n" * count)
    output.relay.finish_cells()
    lines = shown(capsys)
    assert lines[:MOST_LINES] == ["x"] * MOST_LINES
    hidden = count - MOST_LINES
    assert [line.split()[1] for line in lines[MOST_LINES:]] == ([str(hidden)] if hidden else [])
    output.write(b"next, without an end")
    output.relay.finish_cells()
    assert shown(capsys) == ["next, without an end"]


def test_a_line_without_end_is_cut(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    output.write(READY + b"y" * (40 * MOST_BYTES))
    output.relay.finish_cells()
    lines = shown(capsys)
    assert sum(map(len, lines)) <= 2 * MOST_BYTES


def test_a_closed_output_ends(output: Output) -> None:
    other = Output()
    os.close(other.writer)
    other.relay.pump()
    assert other.relay.has_ended
    assert not output.relay.has_ended
