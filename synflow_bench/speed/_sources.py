"""Benches whose data are made up, or a part of the real ones: for measuring."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch

from synflow_bench.data import Dataset
from synflow_bench.protocols import Bench
from synflow_bench.training import LoadedData, LoadedSplit
from synflow_bench.training.normalisation import Normalisation
from synflow_bench.training.resident import ResidentSplit


@dataclass(frozen=True)
class Synthetic(Bench):
    """A bench that makes up the data of any data set, by what it declares; labels take turns."""

    examples: int = 1024

    @classmethod
    def like(cls, bench: Bench) -> Self:
        """With the plugins and the device of `bench`."""
        return cls(bench.host, bench.data_root, bench.device, bench.threads)

    def _load(self, name: str) -> LoadedData:
        dataset: type[Dataset] = self.host.datasets.get(name)
        split = self._split(dataset)
        # What a streamed data set does to images where it reads them is not there to be measured.
        change = dataset.augmentation and replace(
            dataset.augmentation, resized_crop=None, grayscale=0.0, jitter=0.0
        )
        return LoadedData(split, split, dataset.input_shape, dataset.num_classes, change)

    def _split(self, dataset: type[Dataset]) -> ResidentSplit:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(
            256, (self.examples, *dataset.input_shape), dtype=torch.uint8, generator=generator
        )
        labels = torch.arange(self.examples) % dataset.num_classes
        normalise = Normalisation.of(dataset(), self.device)
        return ResidentSplit(images.to(self.device), labels.to(self.device), normalise)


@dataclass(frozen=True)
class Sampled(Bench):
    """A bench that gives the first examples of real data sets."""

    whole: Bench = field(kw_only=True)
    examples: int = 1024

    @classmethod
    def of(cls, whole: Bench) -> Self:
        """Of the data that `whole` reads."""
        return cls(whole.host, whole.data_root, whole.device, whole.threads, whole=whole)

    def _load(self, name: str) -> LoadedData:
        data = self.whole.data(name)
        return replace(data, train=self._part(data.train), test=self._part(data.test))

    def _part(self, split: LoadedSplit) -> LoadedSplit:
        return split.take(torch.arange(min(self.examples, len(split))))
