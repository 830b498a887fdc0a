"""Build a folder with which a machine without a network can run, check and measure synflow-bench.

It holds the wheel of the project, the wheels that a Python with torch and torchvision lacks, for another
Python and platform than this one, the data that are at hand, the tests for devices and `run.sh`. Charts and
the dataset `digits` need packages that `--complete` adds; the report needs neither.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CIFAR = ROOT.parent / "shared" / "data" / "cifar10-jpeg.tar.gz"
PRESENT = {"torch", "torchvision"}
"""Packages that the other machine has."""
LARGE = {"numpy", "scikit-learn", "altair", "vl-convert-python"}
"""Packages that are left out: numpy comes with torchvision, and the others are for `--complete`."""
LARGEST = 60 * 2**20
"""The bytes of a bundle without `--complete`."""
CODE = ("benchmarks/bundle", "tests/gpu")
FILES = ("benchmarks/conventional.py", "benchmarks/made_up_data.py")


def requirements(*, complete: bool) -> Iterator[str]:
    """Yield what is to be downloaded: the project's dependencies, pytest, and the pip that installs them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    left_out = PRESENT if complete else PRESENT | LARGE
    yield from (text for text in project["dependencies"] if Requirement(text).name not in left_out)
    yield from (
        text for text in project["optional-dependencies"]["dev"] if Requirement(text).name == "pytest"
    )
    yield "pip"


def download_command(target: Path, version: str, machine: str, *, complete: bool) -> list[str]:
    """Return the command that downloads wheels for CPython `version` on Linux with glibc 2.28 or newer."""
    tag = f"cp{version.replace('.', '')}"
    platforms = [f"manylinux_2_28_{machine}", f"manylinux_2_17_{machine}", f"manylinux2014_{machine}"]
    options = ["--quiet", "--disable-pip-version-check", "--dest", str(target), "--only-binary=:all:"]
    options += ["--python-version", version, "--implementation", "cp"]
    options += [word for abi in (tag, "abi3", "none") for word in ("--abi", abi)]
    options += [word for name in platforms for word in ("--platform", name)]
    return [sys.executable, "-m", "pip", "download", *options, *requirements(complete=complete)]


def build(target: Path, version: str, machine: str, *, complete: bool = False) -> int:
    """Build the bundle in the folder `target`, which is emptied first; return its bytes."""
    shutil.rmtree(target, ignore_errors=True)
    wheels = target / "wheels"
    wheels.mkdir(parents=True)
    made = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)]
    subprocess.run([sys.executable, *made], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(download_command(wheels, version, machine, complete=complete), check=True)
    copy_files(target)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def copy_files(target: Path) -> None:
    """Copy the code of the report and the data that are here."""
    unwanted = shutil.ignore_patterns("__pycache__", "build.py")
    for folder in CODE:
        shutil.copytree(ROOT / folder, target / folder, ignore=unwanted)
    for file in FILES:
        shutil.copy(ROOT / file, target / file)
    (target / "benchmarks" / "bundle" / "run.sh").replace(target / "run.sh")
    shutil.copy(ROOT / "LICENSE", target)
    data = target / "data"
    data.mkdir()
    if FASHION_MNIST.is_dir():
        shutil.copytree(FASHION_MNIST, data / "fashion-mnist", ignore=shutil.ignore_patterns("[!t]*"))
    if CIFAR.is_file():
        shutil.copyfile(CIFAR, data / CIFAR.name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the bundle, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--python", default="3.12", help="the version of the other Python")
    parser.add_argument("--machine", default=platform.machine(), help="its processor: x86_64 or aarch64")
    parser.add_argument("--complete", action="store_true", help="also the packages for charts and digits")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bundle", help="the folder")
    given = parser.parse_args(arguments)
    size = build(given.output, given.python, given.machine, complete=given.complete)
    data = sorted(path.name for path in (given.output / "data").iterdir())
    print(
        f"{given.output}: {size / 2**20:.1f} MiB for Python {given.python}; data: {', '.join(data) or 'none'}"
    )
    if size > LARGEST and not given.complete:
        print(f"error: it is larger than {LARGEST / 2**20:.0f} MiB", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
