"""Tiny ImageNet, from small trees and archives in the published layout."""

from __future__ import annotations

import hashlib
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from synflow_bench import Split
from synflow_bench.errors import DataError, DataMissingError
from synflow_bench_datasets.tiny_imagenet import TinyImagenet

CLASSES = ["n01443537", "n01629819", "n01641577"]
TRAIN, VAL = 4, 2
"""Images of each class."""
Paint = Callable[..., Path]


class Small(TinyImagenet):
    num_classes = len(CLASSES)
    sizes = (len(CLASSES) * TRAIN, len(CLASSES) * VAL)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, paint: Paint) -> Path:
    """The tree as its archive has it: validation images in one folder, one of them gray."""
    tree = tmp_path_factory.mktemp("published") / "tiny-imagenet-200"
    for label in CLASSES:
        for i in range(TRAIN):
            paint(tree / "train" / label / "images" / f"{label}_{i}.JPEG", mode="L" if i == 1 else "RGB")
        (tree / "train" / label / f"{label}_boxes.txt").write_text("a_0.JPEG\t0\t0\t9\t9\n")
    lines = []
    for i in range(len(CLASSES) * VAL):
        paint(tree / "val" / "images" / f"val_{i}.JPEG")
        lines.append(f"val_{i}.JPEG\t{CLASSES[-1 - i % len(CLASSES)]}\t0\t32\t44\t62\n")
    (tree / "val" / "val_annotations.txt").write_text("".join(lines))
    paint(tree / "test" / "images" / "test_0.JPEG")
    (tree / "wnids.txt").write_text("\n".join(reversed(CLASSES)))
    return tree


def packed(tree: Path, archive: Path) -> Path:
    with ZipFile(archive, "w") as out:
        for path in sorted(tree.rglob("*")):
            out.write(path, path.relative_to(tree.parent))
    return archive


def expect(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(Small, "md5", digest)


def check(split: Split, paths: list[Path], labels: list[int]) -> None:
    assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
    assert split.labels.tolist() == labels
    for image, path in zip(split.images, paths, strict=True):
        with Image.open(path) as source:
            expected = np.asarray(source.convert("RGB"))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected), path


def check_all(root: Path, published: Path) -> None:
    splits = Small().load(root)
    training = [(p, CLASSES.index(p.parts[-3])) for p in sorted((published / "train").rglob("*.JPEG"))]
    check(splits.train, [path for path, _ in training], [label for _, label in training])
    by_image = dict(zip(map(image_key, splits.test.images), splits.test.labels.tolist(), strict=True))
    for i in range(len(CLASSES) * VAL):
        with Image.open(published / "val" / "images" / f"val_{i}.JPEG") as source:
            pixels = torch.from_numpy(np.asarray(source).copy()).permute(2, 0, 1)
        assert by_image[image_key(pixels)] == CLASSES.index(CLASSES[-1 - i % len(CLASSES)])


def image_key(image: torch.Tensor) -> bytes:
    return image.contiguous().numpy().tobytes()


def test_an_unpacked_tree_is_read_by_its_annotations_and_not_changed(published: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tiny-imagenet" / published.name
    shutil.copytree(published, tree)
    before = sorted(tree.rglob("*"))
    assert Small().present(tmp_path)
    check_all(tmp_path, published)
    assert sorted(tree.rglob("*")) == before


def test_the_second_load_reads_one_file(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "tiny-imagenet"
    shutil.copytree(published, home / published.name)
    first = Small().load(tmp_path)
    assert sorted(path.name for path in home.iterdir()) == ["images-1.safetensors", "tiny-imagenet-200"]
    shutil.rmtree(home / published.name)
    again = Small().load(tmp_path)
    for one, other in ((first.train, again.train), (first.test, again.test)):
        assert isinstance(one, Split)
        assert isinstance(other, Split)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_the_error_for_an_incomplete_decoded_file_names_it(published: Path, tmp_path: Path) -> None:
    home = tmp_path / "tiny-imagenet"
    shutil.copytree(published, home / published.name)
    Small().load(tmp_path)
    file = home / "images-1.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(
        DataError, match=r"images-1.safetensors is not a complete file of decoded images; delete it"
    ):
        Small().load(tmp_path)


def test_decoded_images_that_were_changed_are_refused(published: Path, tmp_path: Path) -> None:
    home = tmp_path / "tiny-imagenet"
    shutil.copytree(published, home / published.name)
    Small().load(tmp_path)
    file = home / "images-1.safetensors"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="was changed after it was written: its sha256 differs; delete it"):
        Small().load(tmp_path)


def test_decoded_images_without_a_checksum_are_refused(published: Path, tmp_path: Path) -> None:
    home = tmp_path / "tiny-imagenet"
    shutil.copytree(published, home / published.name)
    Small().load(tmp_path)
    file = home / "images-1.safetensors"
    save_file(load_file(file), file)
    with pytest.raises(DataError, match="is from an older version, without a checksum; delete it"):
        Small().load(tmp_path)


def test_downloads_checks_unpacks_and_sorts(
    server: tuple[Path, str], published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    expect(packed(published, folder / "tiny-imagenet-200.zip"), monkeypatch)
    monkeypatch.setattr(Small, "address", f"{address}tiny-imagenet-200.zip")
    root = tmp_path / "root"
    Small().load(root, download=True)
    check_all(root, published)
    val = root / "tiny-imagenet" / published.name / "val"
    assert sorted(path.name for path in val.iterdir()) == [*CLASSES, "val_annotations.txt"]
    assert [path.name for path in sorted((val / CLASSES[-1]).iterdir())] == ["val_0.JPEG", "val_3.JPEG"]
    assert not (val.parent / "test").exists()
    assert [path.name for path in root.iterdir()] == ["tiny-imagenet"]
    (root / "tiny-imagenet" / "images-1.safetensors").unlink()
    check_all(root, published)  # a sorted tree is read as an unsorted one


@pytest.mark.parametrize("content", ["half", "another"])
def test_a_download_that_is_not_the_published_archive_leaves_nothing(
    content: str, server: tuple[Path, str], published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    archive = packed(published, folder / "tiny-imagenet-200.zip")
    expect(archive, monkeypatch)
    monkeypatch.setattr(Small, "address", f"{address}tiny-imagenet-200.zip")
    if content == "half":
        archive.with_name(f"{archive.name}.broken").touch()
    else:
        archive.write_bytes(b"something else")
    with pytest.raises(DataError) as refusal:
        Small().load(tmp_path / "root", download=True)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith("could not download 'tiny-imagenet': ")
    assert "try again: synflow-bench data download tiny-imagenet" in str(refusal.value)
    assert not list((tmp_path / "root").iterdir())


def test_a_manually_added_archive_is_unpacked(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "tiny-imagenet"
    home.mkdir()
    expect(packed(published, home / "tiny-imagenet-200.zip"), monkeypatch)
    assert Small().present(tmp_path)
    check_all(tmp_path, published)


def test_the_error_for_half_an_archive_names_it_and_the_way_out(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "tiny-imagenet"
    home.mkdir()
    archive = packed(published, home / "tiny-imagenet-200.zip")
    expect(archive, monkeypatch)
    archive.write_bytes(archive.read_bytes()[:-500])
    with pytest.raises(DataError, match=f"{archive} is not the published file, or not all of it") as damaged:
        Small().load(tmp_path)
    assert str(damaged.value).endswith(f": synflow-bench data download tiny-imagenet --data {tmp_path}")
    assert [path.name for path in home.iterdir()] == [archive.name]


def link(name: str) -> ZipInfo:
    member = ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize(
    "member",
    [
        "../evil.txt",
        "tiny-imagenet-200/train/../../../evil.txt",
        "/tmp/evil.txt",  # noqa: S108  nothing is written there
        "..\\evil.txt",
        "C:\\evil.txt",
        link("tiny-imagenet-200/train/link"),
    ],
    ids=lambda member: getattr(member, "filename", member),
)
@pytest.mark.parametrize("manual", [True, False])
def test_an_archive_with_members_outside_its_folder_is_refused(
    member: str | ZipInfo,
    manual: bool,
    server: tuple[Path, str],
    published: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, address = server
    root = tmp_path / "root"
    home = root / "tiny-imagenet"
    home.mkdir(parents=True)
    archive = packed(published, (home if manual else folder) / "tiny-imagenet-200.zip")
    with ZipFile(archive, "a") as out:
        out.writestr(member, b"evil")
    expect(archive, monkeypatch)
    monkeypatch.setattr(Small, "address", f"{address}tiny-imagenet-200.zip")
    with pytest.raises(DataError, match=r"refused: its member .* is (outside the folder|a link)"):
        Small().load(root, download=not manual)
    assert not list(tmp_path.rglob("evil*"))
    assert [p for p in root.rglob("*") if p.is_file()] == ([archive] if manual else [])


def test_a_file_that_is_not_a_zip_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "tiny-imagenet" / "tiny-imagenet-200.zip"
    archive.parent.mkdir()
    archive.write_bytes(b"not a zip")
    expect(archive, monkeypatch)
    with pytest.raises(DataError, match="is refused: it is not a complete zip file"):
        Small().load(tmp_path)


def break_tree(tree: Path, reason: str) -> None:
    annotations = tree / "val" / "val_annotations.txt"
    match reason:
        case "has no folder 'val'":
            shutil.rmtree(tree / "val")
        case "has 2 class folders instead of 3":
            shutil.rmtree(tree / "train" / CLASSES[0])
        case "holds 11 images instead of 12":
            next((tree / "train").rglob("*.JPEG")).unlink()
        case "validation image 'val_1.JPEG' is missing":
            (tree / "val" / "images" / "val_1.JPEG").unlink()
        case "validation image 'val_0.JPEG' is not in val_annotations.txt":
            annotations.write_text("".join(annotations.read_text().splitlines(keepends=True)[1:]))
        case "class 'n9', which is not in train":
            annotations.write_text(annotations.read_text().replace(CLASSES[0], "n9"))
        case "a class '../../evil'":
            annotations.write_text(annotations.read_text().replace(CLASSES[0], "../../evil"))
        case "has no val/val_annotations.txt":
            annotations.unlink()
        case "it cannot be read as an image":
            next((tree / "train").rglob("*.JPEG")).write_bytes(b"\xff\xd8 half")
        case "it is 32x64 instead of 64x64":
            Image.new("RGB", (32, 64)).save(next((tree / "train").rglob("*.JPEG")), "JPEG")


@pytest.mark.parametrize(
    "reason",
    [
        "has no folder 'val'",
        "has 2 class folders instead of 3",
        "holds 11 images instead of 12",
        "validation image 'val_1.JPEG' is missing",
        "validation image 'val_0.JPEG' is not in val_annotations.txt",
        "class 'n9', which is not in train",
        "a class '../../evil'",
        "has no val/val_annotations.txt",
        "it cannot be read as an image",
        "it is 32x64 instead of 64x64",
    ],
)
def test_the_error_for_an_incomplete_tree_is_one_line_with_the_reason(
    reason: str, published: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tiny-imagenet" / published.name
    shutil.copytree(published, tree)
    break_tree(tree, reason)
    with pytest.raises(DataError) as refusal:
        Small().load(tmp_path)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not list(tree.parent.glob("*.safetensors*"))


def test_an_error_for_missing_files_has_the_command_that_downloads_them(tmp_path: Path) -> None:
    assert not TinyImagenet().present(tmp_path)
    with pytest.raises(DataMissingError, match="synflow-bench data download tiny-imagenet --data"):
        TinyImagenet().load(tmp_path)


def test_a_read_only_folder_can_be_read(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    shutil.copytree(published, tmp_path / "tiny-imagenet" / published.name)
    monkeypatch.setattr("safetensors.numpy.save_file", full)
    check_all(tmp_path, published)
    assert [path.name for path in (tmp_path / "tiny-imagenet").iterdir()] == [published.name]


def test_address_and_checksum_are_those_of_the_published_archive() -> None:
    assert TinyImagenet.md5 == "90528d7ca1a48142e341f4ef8d21d0de"
    assert TinyImagenet.address.endswith("/tiny-imagenet-200.zip")
