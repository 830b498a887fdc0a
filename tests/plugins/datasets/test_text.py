"""Text files as datasets: classes, sequences, fingerprints, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

from synflow_bench import Split
from synflow_bench.data import options_of
from synflow_bench.errors import DataError, DataMissingError, HandledError, UsageError
from synflow_bench.host import Host
from synflow_bench.training import LoadedData
from synflow_bench_datasets.text import Text

VERSE = "Tiger, tiger, burning bright\nIn the forests of the night:\n" * 20


def saved(folder: Path, content: str | bytes, name: str = "verse.txt") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def splits(text: Text, root: Path) -> tuple[Split, Split]:
    loaded = text.load(root)
    assert isinstance(loaded.train, Split)
    assert isinstance(loaded.test, Split)
    return loaded.train, loaded.test


@pytest.mark.parametrize("step", [0, 1, 3, 40])
@pytest.mark.parametrize("length", [1, 16])
def test_a_sequence_has_its_next_character_as_label(tmp_path: Path, length: int, step: int) -> None:
    text = Text(saved(tmp_path, VERSE), length=length, step=step).resolve(tmp_path / "data")
    characters = sorted(set(VERSE))
    assert text.num_classes == len(characters)
    cut = len(VERSE) * 9 // 10
    for split, part, size in zip(
        splits(text, tmp_path / "data"), (VERSE[:cut], VERSE[cut:]), text.sizes, strict=True
    ):
        starts = range(0, len(part) - length, step or length)
        assert len(split) == size == len(starts)
        assert split.images.dtype == split.labels.dtype == torch.int64
        for row, label, start in zip(split.images.tolist(), split.labels.tolist(), starts, strict=True):
            assert "".join(characters[i] for i in row) == part[start : start + length]
            assert characters[label] == part[start + length]


def test_overlapping_sequences_share_their_memory(tmp_path: Path) -> None:
    text = Text(saved(tmp_path, VERSE), step=1).resolve(tmp_path)
    train, _ = splits(text, tmp_path)
    assert train.images.untyped_storage().nbytes() <= 8 * len(VERSE)


def test_keys_contain_the_content_and_not_the_place(tmp_path: Path) -> None:
    host, root = Host.load(), tmp_path / "data"
    fingerprint = sha256(VERSE.encode()).hexdigest()[:16]
    keys = set()
    for name in ("one.txt", "another one.txt"):
        key, dataset = host.resolve_dataset(f"text[path={saved(tmp_path, VERSE, name)},length=8]", root)
        keys.add(key)
        assert options_of(dataset) == {"length": 8, "fingerprint": fingerprint}
    assert keys == {f"text[fingerprint={fingerprint},length=8]"}
    (key,) = keys
    for name in ("one.txt", "another one.txt"):
        (tmp_path / name).unlink()
    again, dataset = host.resolve_dataset(key, root)
    assert again == key
    assert len(dataset.load(root).train) == dataset.sizes[0]
    assert host.resolve_dataset(f"text[path={saved(tmp_path, VERSE + 'x')},length=8]", root)[0] != key


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("letters", ["añ日🙂", "a\r\nb"])
def test_every_letter_of_unicode_is_one_class(tmp_path: Path, letters: str, mark: str) -> None:
    text = Text(saved(tmp_path, mark + letters * 50), length=5).resolve(tmp_path)
    assert text.num_classes == len(letters)


@pytest.mark.parametrize(
    ("content", "options", "fact"),
    [
        (b"caf\xe9 " * 100, {}, "byte 3"),
        (b"", {}, "empty"),
        (b"ab" * 300, {}, "600"),
        (b"a" * 3000, {}, "1"),
        (VERSE.encode(), {"fingerprint": "00"}, "00"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes, options: dict[str, str], fact: str
) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(DataError, match=fact) as refused:
        Text(path, **options).resolve(tmp_path / "data")  # type: ignore[arg-type]
    assert path in str(refused.value)
    assert not list(tmp_path.glob("data/**/*.txt")) or fact in {"600", "1"}


@pytest.mark.parametrize("options", [{"length": 0}, {"step": -1}, {}])
def test_impossible_options_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(options), "path=FILE")):
        Text(**options).resolve(tmp_path)  # type: ignore[arg-type]


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path, error in ((tmp_path / "no.txt", DataMissingError), (tmp_path, DataError)):
        assert not Text(str(path)).present(tmp_path)
        with pytest.raises(error, match=str(path)):
            Text(str(path)).resolve(tmp_path / "data")


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-this-name/a.txt"])
def test_a_path_that_no_system_has_is_one_line(tmp_path: Path, path: str) -> None:
    assert not Text(path).present(tmp_path)
    with pytest.raises(DataError, match="give the path of a text file"):
        Text(path).resolve(tmp_path / "data")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_pipes_and_devices_are_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "special")
    with pytest.raises(DataError, match="special cannot be read: it is not a regular file"):
        Text(str(tmp_path / "special")).resolve(tmp_path)


def test_a_copy_that_has_changed_or_gone_is_not_used(tmp_path: Path) -> None:
    text = Text(saved(tmp_path, VERSE)).resolve(tmp_path / "data")
    (copy,) = tmp_path.glob("data/text/*")
    copy.write_text(VERSE.upper())
    with pytest.raises(DataError, match="changed"):
        text.load(tmp_path / "data")
    copy.unlink()
    assert not text.present(tmp_path / "data")
    with pytest.raises(DataMissingError, match=text.fingerprint):
        text.load(tmp_path / "data")


def test_a_data_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(HandledError, match="--data"):
        Text(saved(tmp_path, VERSE)).resolve(blocked)


def test_training_sees_the_tokens_themselves(tmp_path: Path) -> None:
    text = Text(saved(tmp_path, VERSE), length=8, step=2).resolve(tmp_path)
    data = LoadedData.load(text, tmp_path, torch.device("cpu"))
    train, _ = splits(text, tmp_path)
    assert (data.input_shape, data.train.shape, data.augmentation) == ((8,), (8,), None)
    batches: list[tuple[Tensor, Tensor]] = list(data.train.batches(10))
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), train.images)
    assert torch.equal(torch.cat([labels for _, labels in batches]), train.labels)
