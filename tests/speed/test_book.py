"""The file of what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from synflow_bench.errors import HandledError, RecordError
from synflow_bench.speed import Book, Machine, Speed

HERE = Machine(device="cpu (Some Processor)", torch="2.9.0", threads=1)
THERE = Machine(device="Some GPU", torch="2.9.0", threads=1)
MakeSpeed = Callable[..., Speed]


def test_what_is_written_is_read_again(make_speed: MakeSpeed, tmp_path: Path) -> None:
    path = tmp_path / "data" / "speed.json"
    book = Book().noting(HERE, [make_speed()])
    book.write(path)
    assert Book.read(path) == book
    assert Book.read(path).find(HERE, make_speed().workload) == make_speed()
    assert json.loads(path.read_text())["schema"] == 1


def test_machines_do_not_know_each_others_speeds(make_speed: MakeSpeed) -> None:
    book = Book().noting(HERE, [make_speed()]).noting(THERE, [make_speed(evaluation=1.0)])
    workload = make_speed().workload
    found = [book.find(machine, workload) for machine in (HERE, THERE)]
    assert found == [make_speed(), make_speed(evaluation=1.0)]
    assert book.find(HERE.model_copy(update={"threads": 2}), workload) is None


def test_the_last_measurement_counts_and_pruners_timed_before_stay_known(make_speed: MakeSpeed) -> None:
    book = Book().noting(HERE, [make_speed()])
    again = make_speed(evaluation=3.0, pruning={"random": 2.0})
    found = book.noting(HERE, [again]).find(HERE, again.workload)
    assert found is not None
    assert (found.evaluation, found.pruning) == (3.0, {"random": 2.0, "synflow": 5.0})


def test_no_file_is_an_empty_book(tmp_path: Path) -> None:
    assert Book.read(tmp_path / "none.json") == Book()


@pytest.mark.parametrize("content", ["", "{", '{"schema": 2}', '{"schema": 1, "machines": [{}]}'])
def test_a_file_of_something_else_is_named_with_the_way_out(content: str, tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    path.write_text(content)
    with pytest.raises(HandledError, match=r"speed\.json' holds no speeds .* `synflow-bench bench` writes"):
        Book.read(path)


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(make_speed: MakeSpeed, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="cannot write"):
        Book().noting(HERE, [make_speed()]).write(tmp_path / "file" / "speed.json")
