"""Claims: of all runs that want a cell, one gets it, whoever dies meanwhile."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synflow_bench.errors import RecordError
from synflow_bench.execution.claims import ClaimFolder, shard_of
from synflow_bench.records import key_of
from synflow_bench.suites import Cell

KEY = "0123456789abcdef"
RUNS = ("a", "b", "c")


def everybody(_run: str, _claim: Path) -> bool:
    return True


def nobody(_run: str, _claim: Path) -> bool:
    return False


def test_one_of_many_runs_gets_a_free_cell(tmp_path: Path) -> None:
    runs = [ClaimFolder(tmp_path, f"run-{number}", everybody) for number in range(16)]
    with ThreadPoolExecutor(len(runs)) as pool:
        for number in range(50):
            key = f"{number:016x}"
            won = list(pool.map(lambda run, key=key: run.take(key), runs))
            assert won.count(True) == 1
            assert runs[won.index(True)].holds(key)


def test_one_of_many_runs_takes_over_a_stale_claim(tmp_path: Path) -> None:
    def is_alive(run: str, _claim: Path) -> bool:
        return run != "dead"

    dead = ClaimFolder(tmp_path, "dead", everybody)
    runs = [ClaimFolder(tmp_path, f"run-{number}", is_alive) for number in range(16)]
    with ThreadPoolExecutor(len(runs)) as pool:
        for number in range(50):
            key = f"{number:016x}"
            assert dead.take(key)
            won = list(pool.map(lambda run, key=key: run.take(key), runs))
            assert won.count(True) == 1
            assert not dead.holds(key)


def test_no_two_living_runs_ever_own_a_cell_together(tmp_path: Path) -> None:
    """Runs take, release and die at random moments; a dead one is replaced by a run of a new name."""
    dead: set[str] = set()
    inside: list[str] = []
    taken: list[str] = []
    collisions: list[list[str]] = []

    def is_alive(run: str, _claim: Path) -> bool:
        return run not in dead

    def live(number: int) -> None:
        draw = random.Random(number)  # noqa: S311
        for life in range(1000):
            name = f"run-{number}-{life}"
            run = ClaimFolder(tmp_path, name, is_alive)
            for _ in range(12):
                if len(taken) >= 200:
                    return
                if run.take(KEY):
                    taken.append(name)
                    inside.append(name)
                    if len(inside) > 1:
                        collisions.append(list(inside))
                    inside.remove(name)
                    if draw.random() < 0.2:
                        dead.add(name)
                        break
                    run.release(KEY)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(8)))
    assert collisions == []
    assert len(taken) >= 200


Step = tuple[str, str]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["take", "release", "die", "close"]), st.sampled_from(RUNS))))
def test_a_cell_is_taken_exactly_where_no_other_living_run_owns_it(steps: list[Step]) -> None:
    owner: str | None = None
    dead: set[str] = set()
    with TemporaryDirectory() as root:
        runs = {name: ClaimFolder(Path(root), name, lambda run, _: run not in dead) for name in RUNS}
        for step, name in steps:
            if step == "die":
                dead.add(name)
            elif name in dead:
                continue
            elif step == "take":
                is_free = owner is None or owner == name or owner in dead
                assert runs[name].is_free(KEY) == is_free
                assert runs[name].take(KEY) == is_free
                owner = name if is_free else owner
            elif step == "release":
                runs[name].release(KEY)
                owner = None if owner == name else owner
            else:
                runs[name].close()
                owner = None if owner == name or owner in dead else owner
            assert next(iter(runs.values())).owner(KEY) == owner


def test_a_claim_that_cannot_be_read_is_named_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ClaimFolder(tmp_path, "run", everybody)
    assert run.take(KEY)

    def refuse(path: Any) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(RecordError, match=KEY):
        run.is_free(KEY)
    run.close()
    monkeypatch.undo()
    assert run.holds(KEY)


def test_a_known_owner_is_looked_up_without_a_list_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = ClaimFolder(tmp_path, "a", everybody), ClaimFolder(tmp_path, "b", everybody)
    assert owner.take(KEY)
    listed: list[Any] = []
    original = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: (listed.append(path), original(path))[1])
    assert not other.is_free(KEY, "a")
    assert not listed
    owner.release(KEY)
    assert other.is_free(KEY, "a")


def test_a_taken_cell_may_be_taken_again_by_its_owner_alone(tmp_path: Path) -> None:
    first, second = (ClaimFolder(tmp_path, name, everybody) for name in ("a", "b"))
    assert [first.take(KEY), second.take(KEY), first.take(KEY)] == [True, False, True]
    first.release(KEY)
    assert second.take(KEY)
    first.release(KEY)  # too late: it changes nothing
    assert second.holds(KEY)


def test_closing_leaves_the_claims_of_living_runs_alone(tmp_path: Path) -> None:
    mine = ClaimFolder(tmp_path, "mine", lambda run, _: run != "dead")
    for name, key in (("mine", "1"), ("other", "2"), ("dead", "3")):
        assert ClaimFolder(tmp_path, name, everybody).take(key)
    for name in ("dead", "other"):  # killed while they prepared a claim
        (mine.folder / f".{name}").mkdir()
    mine.close()
    assert {path.name for path in mine.folder.iterdir()} == {"2", ".other"}


def test_an_empty_folder_is_no_claim(tmp_path: Path) -> None:
    (tmp_path / "claims" / KEY).mkdir(parents=True)
    run = ClaimFolder(tmp_path, "a", everybody)
    assert run.owner(KEY) is None
    assert run.take(KEY)


def test_claims_that_cannot_be_written_end_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("a file")
    with pytest.raises(RecordError, match=r"cannot write .*claims'"):
        ClaimFolder(tmp_path, "a", nobody).take(KEY)


def test_a_release_during_a_take_is_no_error(tmp_path: Path) -> None:
    """The owner goes while another run is looking at its claim."""
    owner, stop = ClaimFolder(tmp_path, "owner", everybody), threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            owner.take(KEY)
            owner.release(KEY)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        other = ClaimFolder(tmp_path, "other", everybody)
        for _ in range(500):
            if other.take(KEY):
                other.release(KEY)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_disjoint_complete_and_in_order(make_cell: Callable[..., Cell], count: int) -> None:
    cells = [make_cell(pruner, 10, seed) for pruner in ("random", "snip") for seed in range(20)]
    parts = [shard_of(cells, number, count) for number in range(1, count + 1)]
    assert sorted(key_of(cell) for part in parts for cell in part) == sorted(map(key_of, cells))
    for part in parts:
        assert part == [cell for cell in cells if cell in part]


def test_the_shard_of_a_cell_depends_on_no_other_cell(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(seed=seed) for seed in range(12)]
    assert shard_of(cells[::3], 2, 3) == [cell for cell in shard_of(cells, 2, 3) if cell in cells[::3]]
