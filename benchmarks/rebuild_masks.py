"""Run the pruning of random committed records again, and count equal masks.

    python benchmarks/rebuild_masks.py --sample 200

Records are drawn pruner by pruner and network by network, as evenly as they are there. `--slow` limits the
records of pruners that take a minute. Records of other revisions than the installed ones are refused and not
counted. Datasets are looked for where `run` looks for them.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import torch

from synflow_bench.data import default_data_root
from synflow_bench.errors import HandledError, RecordError
from synflow_bench.host import Host
from synflow_bench.protocols import WorkerContext, prune_cell
from synflow_bench.records import Record, Store, import_records
from synflow_bench.records.sharing import compare_records
from synflow_bench.recovery import check_repeatable
from synflow_bench.training import set_up_process

ROOT = Path(__file__).parents[1] / "leaderboard"
SOURCES = (
    ROOT / "fashion/records.tar.gz",
    ROOT / "fashion/earlier.tar.gz",
    ROOT / "smoke/results",
    ROOT / "precision/records.tar.gz",
)
SLOW = {("ntk-sap", "conv")}
"""Pruners that take a minute, with their networks."""

Group = tuple[str, str]


def committed(folder: Path) -> list[Record]:
    """Return all successful records of the repository."""
    records: list[Record] = []
    for number, source in enumerate(SOURCES):
        store = Store(folder / str(number))
        import_records([source], store, compare_records([source]).new)
        records += [record for record in store if record.status == "ok"]
    return records


def repeatable(records: list[Record], host: Host) -> tuple[list[Record], Counter[Group]]:
    """Return the records that can be made again, and the numbers of the others."""
    found, refused = [], Counter[Group]()
    for record in records:
        try:
            check_repeatable(record, host)
        except RecordError:
            refused[group_of(record)] += 1
        else:
            found.append(record)
    return found, refused


def group_of(record: Record) -> Group:
    """Return the pruner and the network of a record."""
    return record.cell.pruner.name, record.cell.setting.model.name


def sample(records: list[Record], number: int, slow: int, seed: int) -> list[Record]:
    """Draw records from all groups in turn; at most `slow` of each group that is slow."""
    groups: dict[Group, list[Record]] = defaultdict(list)
    draws = random.Random(seed)  # noqa: S311
    for record in draws.sample(records, len(records)):
        if len(groups[group_of(record)]) < (slow if group_of(record) in SLOW else number):
            groups[group_of(record)].append(record)
    turns = (record for turn in zip_longest(*groups.values()) for record in turn if record)
    return [record for record, _ in zip(turns, range(number), strict=False)]


def rebuild(records: list[Record], host: Host) -> Iterator[tuple[Record, bool, float]]:
    """Yield every record, True if its masks are equal, and the seconds."""
    contexts: dict[int, WorkerContext] = {}
    for record in records:
        threads = record.provenance.threads
        set_up_process(torch.device("cpu"), threads)
        context = contexts.setdefault(
            threads, WorkerContext(host, default_data_root(), torch.device("cpu"), threads)
        )
        started = time.perf_counter()
        try:
            equal = prune_cell(record.cell, context).masks.sha256 == record.masks
        except HandledError as error:
            print(f"{record.key} {record.cell.title}: {error}")
            continue
        yield record, equal, time.perf_counter() - started


def report(title: str, outcomes: dict[tuple[str, ...], list[bool]]) -> None:
    """Print equal and all records of each group."""
    print(f"\n{title}")
    for group, equal in sorted(outcomes.items()):
        print(f"  {' / '.join(group):<70} {sum(equal):>4} of {len(equal)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--slow", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    host = Host.load()
    by_pruner: dict[tuple[str, ...], list[bool]] = defaultdict(list)
    by_machine: dict[tuple[str, ...], list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        records, refused = repeatable(committed(Path(folder)), host)
    started = time.perf_counter()
    for record, equal, seconds in rebuild(sample(records, given.sample, given.slow, given.seed), host):
        made = record.provenance
        by_pruner[group_of(record)].append(equal)
        by_machine[made.device, f"torch {made.torch}", made.score_dtype or "no scores"].append(equal)
        if not equal:
            print(f"differs: {record.key} {record.cell.title} ({seconds:.1f} s, {made.device})", flush=True)
    report("by pruner and network", by_pruner)
    report("by the machine and the type of the scores of the record", by_machine)
    total = [equal for outcomes in by_pruner.values() for equal in outcomes]
    print(f"\n{sum(total)} of {len(total)} equal in {time.perf_counter() - started:.0f} s")
    if refused:
        print(f"refused, of other revisions: {', '.join(sorted({name for name, _ in refused}))}")


if __name__ == "__main__":
    main()
