"""One or more datasets per rule, each of which breaks that rule and no other."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from synflow_bench import Dataset, Split, Splits
from synflow_bench.data import Augmentation, StreamedSplit
from synflow_bench.errors import DataMissingError


def split(size: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (size, 2, 4, 3), dtype=torch.uint8, generator=generator)
    images[:, 1] //= 2
    return Split(images, torch.arange(size) % 3)


class Sound(Dataset):
    """Noise in three classes."""

    input_shape = (2, 4, 3)
    num_classes = 3
    sizes = (300, 60)
    mean = (0.5, 0.25)
    std = (0.289, 0.144)

    def present(self, root: Path) -> bool:
        return True

    def load(self, root: Path, *, download: bool = False) -> Splits:
        return Splits(self.change(split(300, 0)), self.change(split(60, 1)))

    def change(self, part: Split) -> Split:
        return part


def read_noise(item: str, *, augmented: bool) -> Tensor:
    return torch.full((2, 4, 3), int(item) % 256, dtype=torch.uint8)


def read_floats(item: str, *, augmented: bool) -> Tensor:
    return read_noise(item, augmented=augmented) / 255


class Streamed(Sound):
    """The same number of images, read one by one."""

    read = staticmethod(read_noise)

    def load(self, root: Path, *, download: bool = False) -> Splits:
        return Splits(*(self._stream(size) for size in self.sizes))

    def _stream(self, size: int) -> StreamedSplit:
        return StreamedSplit([str(i) for i in range(size)], torch.arange(size) % 3, self.read)


class StreamsFloats(Streamed):
    read = staticmethod(read_floats)


class StreamsFewer(Streamed):
    sizes = (300, 60)

    def _stream(self, size: int) -> StreamedSplit:
        return super()._stream(size - 3)


class NeedsFiles(Sound):
    def present(self, root: Path) -> bool:
        return (root / "noise").is_file()

    def load(self, root: Path, *, download: bool = False) -> Splits:
        if not self.present(root):
            raise DataMissingError("noise is not here; make some")
        return super().load(root)


class TakesAnArgument(Sound):
    def __init__(self, size: int) -> None:
        self.size = size


class OneMean(Sound):
    mean = (0.5,)


class NoSizes(Sound):
    sizes = (300, 0)


class NeverDeclared(Sound):
    @property
    def num_classes(self):
        raise AttributeError("num_classes")


class ReadsAtOnce(Sound):
    def __init__(self) -> None:
        self.readme = Path(__file__).read_text(encoding="utf-8")


class ListsAtOnce(Sound):
    def __init__(self) -> None:
        self.files = list(Path(__file__).parent.iterdir())


class CrashesWithoutFiles(NeedsFiles):
    def load(self, root: Path, *, download: bool = False) -> Splits:
        if not self.present(root):
            raise FileNotFoundError(root)
        return super().load(root)


class MakesFolders(NeedsFiles):
    def present(self, root: Path) -> bool:
        (root / "cache").mkdir(parents=True, exist_ok=True)
        return super().present(root)


class LoadsATuple(Sound):
    def load(self, root: Path, *, download: bool = False) -> Splits:
        splits = super().load(root)
        return splits.train, splits.test  # type: ignore[return-value]


class Floats(Sound):
    def change(self, part: Split) -> Split:
        return Split(part.images / 255, part.labels)


class ChannelsLast(Sound):
    def change(self, part: Split) -> Split:
        return Split(part.images.permute(0, 2, 3, 1), part.labels)


class Fewer(Sound):
    sizes = (301, 60)


class LabelsFromOne(Sound):
    def change(self, part: Split) -> Split:
        return Split(part.images, part.labels + 1)


class ShortLabels(Sound):
    def change(self, part: Split) -> Split:
        return Split(part.images, part.labels.to(torch.int32))


class AnEmptyClass(Sound):
    num_classes = 4


class OtherMean(Sound):
    mean = (0.5, 0.27)


class OtherDeviation(Sound):
    std = (0.289, 0.16)


class ChangesEachTime(Sound):
    def change(self, part: Split) -> Split:
        order = torch.randperm(len(part), generator=self._fresh())
        return Split(part.images[order], part.labels)

    def _fresh(self) -> torch.Generator:
        generator = torch.Generator()
        generator.seed()
        return generator


class Sequences(Sound):
    """Sequences of six tokens out of three."""

    input_shape = (6,)

    def change(self, part: Split) -> Split:
        return Split(part.images.flatten(1)[:, :6].long() % 3, part.labels)


class UnknownTokens(Sequences):
    def change(self, part: Split) -> Split:
        return Split(super().change(part).images + 1, part.labels)


class TokensAsBytes(Sequences):
    def change(self, part: Split) -> Split:
        return Split(super().change(part).images.to(torch.uint8), part.labels)


class FlippedTokens(Sequences):
    augmentation = Augmentation(flip=True)


FAULTY = {
    dict: "contract",
    TakesAnArgument: "contract",
    OneMean: "declared",
    NoSizes: "declared",
    NeverDeclared: "declared",
    ReadsAtOnce: "off-disk",
    ListsAtOnce: "off-disk",
    CrashesWithoutFiles: "absent",
    MakesFolders: "absent",
    LoadsATuple: "loads",
    Floats: "images",
    ChannelsLast: "images",
    StreamsFloats: "images",
    UnknownTokens: "images",
    TokensAsBytes: "images",
    FlippedTokens: "declared",
    StreamsFewer: "sizes",
    Fewer: "sizes",
    LabelsFromOne: "labels",
    ShortLabels: "labels",
    AnEmptyClass: "labels",
    OtherMean: "statistics",
    OtherDeviation: "statistics",
    ChangesEachTime: "repeatable",
}
"""Faulty datasets, each with the rule that it breaks."""
