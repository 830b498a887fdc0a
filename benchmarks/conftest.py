"""Fixtures of several benchmarks: Fashion-MNIST on this machine, and one thread."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="session")
def timed(request: pytest.FixtureRequest) -> bool:
    """Return True if benchmarks are timed, False if each only runs once."""
    return bool(request.config.getoption("--benchmark-enable"))


@pytest.fixture(scope="session")
def torchvision_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack Fashion-MNIST into the layout that torchvision's class expects."""
    if not DEBIAN.is_dir():
        pytest.skip("Fashion-MNIST is not here; install Debian's package dataset-fashion-mnist")
    root = tmp_path_factory.mktemp("torchvision")
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in DEBIAN.glob("*.gz"):
        with gzip.open(archive) as packed, (raw / archive.stem).open("wb") as file:
            shutil.copyfileobj(packed, file)
    return root


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread that flushes subnormal numbers, as a worker does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(before)
