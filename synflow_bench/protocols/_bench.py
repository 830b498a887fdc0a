"""What one worker has: plugins, a device, and data that stay on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from synflow_bench.data import Dataset
from synflow_bench.errors import DataError, PluginError
from synflow_bench.host import Host
from synflow_bench.training import LoadedData, LoadedSplit

Division = tuple[LoadedSplit, LoadedSplit | None]
"""Training examples, and those set apart for validation."""


@dataclass(frozen=True)
class Bench:
    """A worker's place: it computes on one device with a fixed number of threads, and keeps what it has
    loaded. `sharing` says of settings, by digest, whether their cells may be run together."""

    host: Host
    data_root: Path
    device: torch.device
    threads: int
    _data: dict[str, LoadedData] = field(default_factory=dict, repr=False)
    sharing: dict[str, bool] = field(default_factory=dict, repr=False)
    _divided: dict[tuple[str, float, int], Division] = field(default_factory=dict, repr=False)

    def data(self, name: str) -> LoadedData:
        """The data set `name` on the device, read at first use."""
        if name not in self._data:
            self._data[name] = self._load(name)
        return self._data[name]

    def divided(self, name: str, fraction: float, seed: int) -> Division:
        """Training and validation examples of the data set `name`; the latest division is kept."""
        key = (name, fraction, seed)
        if key not in self._divided:
            self._divided.clear()
            self._divided[key] = self.data(name).divide(fraction, torch.Generator().manual_seed(seed))
        return self._divided[key]

    def close(self) -> None:
        """Forget the data sets; processes that read them end with that."""
        self._divided.clear()
        self._data.clear()

    def _load(self, name: str) -> LoadedData:
        dataset = self.host.datasets.get(name)()
        if not isinstance(dataset, Dataset):
            raise PluginError(f"data set {name!r} is no synflow_bench.Dataset; make its class a subclass")
        try:
            return LoadedData.load(dataset, self.data_root, self.device)
        except DataError as error:
            named = f"data set {name!r}" in str(error)
            raise type(error)(f"{error}" if named else f"data set {name!r}: {error}") from error
