"""Any text file as a dataset of character sequences."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from synflow_bench import Dataset, Split, Splits
from synflow_bench.errors import DataError, DataMissingError, RecordError, UsageError
from synflow_bench.files import read_regular, write_atomically

if TYPE_CHECKING:
    from torch import Tensor

ENCODING = "utf-8-sig"
"""UTF-8, with or without a byte-order mark."""


@dataclass(frozen=True)
class Text(Dataset):
    """Sequences of characters from a text file; the class is the character that follows.

    The classes are the different characters of the file, in the order of Unicode. The last tenth of the file
    is for testing. The file is copied into the data folder, and keys contain its hash in place of its path.

    Karpathy, "nanoGPT", 2022, divides texts in this way.

    Attributes:
        path: A text file in UTF-8.
        length: The number of characters in a sequence.
        step: The number of characters from the start of one sequence to the start of the next; 0 is `length`,
            so that sequences do not overlap.
        fingerprint: The first 16 hex digits of the file's sha256; it takes the place of `path` in keys.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> path = folder / "sheep.txt"
        >>> _ = path.write_text("baa " * 100)
        >>> text = Text(str(path), length=3, step=2).resolve(folder)
        >>> text.input_shape, text.num_classes, text.sizes
        ((3,), 3, (179, 19))
        >>> train = text.load(folder).train
        >>> train.images[:2].tolist(), train.labels[:2].tolist()
        ([[2, 1, 1], [1, 0, 2]], [0, 1])
    """

    path: str = ""
    length: int = 64
    step: int = 0
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise UsageError(f"length is {self.length}; a sequence has one character or more")
        if self.step < 0:
            raise UsageError(f"step is {self.step}; give the number of characters between sequences, or 0")

    def resolve(self, root: Path) -> Text:
        """Copy the file into the data folder, and count its characters.

        Raises:
            UsageError: No file is named.
            DataMissingError: The file is not there.
            DataError: It is no text in UTF-8, is too short, or is not the text of the fingerprint.
        """
        if not (self.path or self.fingerprint):
            raise UsageError("dataset text needs a file: text[path=FILE], such as text[path=shakespeare.txt]")
        content = self._copy(root) if self.path else self._read(root)
        resolved = replace(self, path="", fingerprint=_fingerprint(content))
        codes = _codes(content, self.path or self.fingerprint)
        declared = {
            "input_shape": (self.length,),
            "num_classes": int(codes.max()) + 1,
            "sizes": tuple(self._count(part) for part in _parts(codes)),
        }
        if declared["num_classes"] == 1 or 0 in declared["sizes"]:  # type: ignore[operator]
            raise DataError(
                f"{self.path or self.fingerprint} has {len(codes)} characters, {declared['num_classes']} "
                f"different; its last tenth must have more than {self.length}, the length of a sequence"
            )
        for name, value in declared.items():
            object.__setattr__(resolved, name, value)
        return resolved

    def known(self, root: Path) -> Iterator[Text]:
        """Yield the texts of which the data folder has a copy; sizes depend on the length of sequences."""
        for copy in sorted(self._place(root, "*").parent.glob("*.txt")):
            yield Text(fingerprint=copy.stem)

    def place(self, root: Path) -> str | None:
        """Return the copy of the file."""
        return str(self._place(root)) if self.fingerprint else None

    def present(self, root: Path) -> bool:
        """Return True if the file is where it is named, or its copy in the data folder."""
        return (self._named if self.path else self._place(root)).is_file()

    def load(self, root: Path, *, download: bool = False) -> Splits:  # noqa: ARG002  it is on this machine
        """Divide the text; `download` has no effect.

        Raises:
            DataMissingError: The copy in the data folder is gone.
            DataError: It has changed.
        """
        train, test = _parts(_codes(self._read(root), self.fingerprint))
        return Splits(self._split(train), self._split(test))

    def by_hand(self, root: Path) -> str:
        """Say that a file must be named."""
        return f"name a text file: text[path=FILE]; its copy is kept below {root / 'text'}"

    @property
    def _named(self) -> Path:
        return Path(os.path.expanduser(self.path))  # noqa: PTH111  Path raises for an unknown user

    def _copy(self, root: Path) -> bytes:
        path = self._named
        try:
            content = read_regular(path)
        except FileNotFoundError as error:
            raise DataMissingError(f"{path} is not there; give the path of a text file") from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"{path} cannot be read: {reason}; give the path of a text file") from error
        found = _fingerprint(content)
        if self.fingerprint not in ("", found):
            raise DataError(
                f"{path} has the fingerprint {found}, not {self.fingerprint}; leave out one option"
            )
        place = self._place(root, found)
        _codes(content, str(path))
        if not place.is_file():
            try:
                write_atomically(place, content)
            except RecordError as error:
                raise DataError(f"{error}; name another data folder with --data") from error
        return content

    def _read(self, root: Path) -> bytes:
        place = self._place(root)
        try:
            content = read_regular(place)
        except OSError as error:
            raise DataMissingError(
                f"the text {self.fingerprint} is not in {place.parent}; name its file again: text[path=FILE]"
            ) from error
        if _fingerprint(content) != self.fingerprint:
            raise DataError(f"{place} has changed; delete it and name the file again: text[path=FILE]")
        return content

    def _place(self, root: Path, fingerprint: str = "") -> Path:
        return root / "text" / f"{fingerprint or self.fingerprint}.txt"

    def _count(self, codes: Tensor) -> int:
        return max(0, 1 + (len(codes) - self.length - 1) // (self.step or self.length))

    def _split(self, codes: Tensor) -> Split:
        """Cut a part of the text into sequences, which share its memory where they overlap."""
        step = self.step or self.length
        return Split(codes[:-1].unfold(0, self.length, step), codes[self.length :: step].clone())


def _fingerprint(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


def _codes(content: bytes, name: str) -> Tensor:
    """Number the characters of a file, (N,) int64: the places of each among those that occur.

    Raises:
        DataError: The file is no text in UTF-8, or empty.
    """
    import numpy as np
    import torch

    try:
        text = content.decode(ENCODING)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is no text in UTF-8 at byte {error.start}; convert it first") from error
    if not text:
        raise DataError(f"{name} is empty; give a text file")
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    _, codes = np.unique(points, return_inverse=True)
    return torch.from_numpy(codes.astype(np.int64))


def _parts(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return nine tenths for training, and the rest."""
    place = len(codes) * 9 // 10
    return codes[:place], codes[place:]
