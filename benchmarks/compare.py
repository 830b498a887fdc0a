"""Quick benchmarks as ratios, held against those that are committed: `python benchmarks/compare.py`.

Exit code 0: none is worse than `--bound` times its baseline; 1: some are, or have no baseline, a line each;
2: the baseline cannot be read. `--write` makes what was measured the baseline.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

BASELINE = Path(__file__).with_name("baseline.json")
BOUND = 2.0
"""Generous: the machines of CI are shared, and processors differ in what they do well."""

Ratios = Mapping[str, Callable[[], float]]
"""What gives each ratio, by name."""


class BaselineError(Exception):
    """A baseline that is none."""


def read(path: Path) -> dict[str, float]:
    """The committed ratios by name; raises `BaselineError`."""
    try:
        ratios = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaselineError(f"cannot read baseline {str(path)!r} ({error}); write it with --write") from error
    numbers = isinstance(ratios, dict) and all(type(r) in (int, float) and r > 0 for r in ratios.values())
    if not numbers:
        raise BaselineError(f"baseline {str(path)!r} is no table of ratios above zero; write it with --write")
    return ratios


def compare(measured: Mapping[str, float], baseline: Mapping[str, float], bound: float = BOUND) -> list[str]:
    """A line for every ratio that is worse than `bound` times its baseline, new, or gone."""
    worse = [
        f"slower: {name}: {ratio:.3g}, more than {bound:g} times the baseline's {baseline[name]:.3g}"
        for name, ratio in measured.items()
        if name in baseline and ratio > bound * baseline[name]
    ]
    new = [f"no baseline: {name}; write it with --write" for name in measured if name not in baseline]
    gone = [f"not measured: {name}; take it out with --write" for name in baseline if name not in measured]
    return [*worse, *new, *gone]


def measure(ratios: Ratios, baseline: Mapping[str, float], bound: float) -> dict[str, float]:
    """Every ratio; one that seems worse is measured once more, and the better one counts."""
    measured = {}
    for name, ratio in ratios.items():
        value = ratio()
        if value > bound * baseline.get(name, float("inf")):
            value = min(value, ratio())
        measured[name] = value
        print(f"{value:8.3f}  {baseline.get(name, float('nan')):8.3f}  {name}", flush=True)
    return measured


def main(arguments: Sequence[str], ratios: Ratios | None = None, path: Path = BASELINE) -> int:
    """The command; `ratios` are those of `ratios.py` unless given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bound", type=float, default=BOUND, help="times the baseline (default %(default)s)")
    parser.add_argument("--write", action="store_true", help="make what is measured the baseline")
    options = parser.parse_args(arguments)
    if not options.bound > 1:
        parser.error(f"--bound {options.bound:g} leaves no room; give one above 1")
    try:
        baseline = {} if options.write else read(path)
    except BaselineError as error:
        print(error, file=sys.stderr)
        return 2
    print("measured  baseline  our processor time / the plain way's")
    with tempfile.TemporaryDirectory(prefix="synflow-bench-") as folder:
        measured = measure(_all(Path(folder)) if ratios is None else ratios, baseline, options.bound)
    if options.write:
        path.write_text(json.dumps({name: round(r, 3) for name, r in measured.items()}, indent=2) + "\n")
        return 0
    lines = compare(measured, baseline, options.bound)
    print(*lines, sep="\n", end="\n" * bool(lines), file=sys.stderr)
    return int(bool(lines))


def _all(root: Path) -> Ratios:
    import torch
    from ratios import pairs

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return {name: lambda make=make: make().ratio() for name, make in pairs(root).items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
