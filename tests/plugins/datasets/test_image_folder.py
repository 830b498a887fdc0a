"""Folders of images as datasets: what is read, what is measured, and what a key contains."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image

from synflow_bench import StreamedSplit
from synflow_bench.errors import DataError, DataMissingError, HandledError, UnknownNameError, UsageError
from synflow_bench.host import Host
from synflow_bench.suites import dataset_label
from synflow_bench.training import LoadedData
from synflow_bench_datasets import image_folder
from synflow_bench_datasets.image_folder import ImageFolder
from synflow_bench_datasets.images import decode, open_rgb

HOST = Host.load()
SHARED = Path(__file__).parents[4] / "shared" / "data" / "cifar10-jpeg.tar.gz"
CLASSES = ("ant", "bee", "cat")


def save(path: Path, pixels: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def noise(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    """A folder with train and test: 4 and 2 color PNGs of 8x8 per class."""
    folder = tmp_path / "photos"
    for part, count in (("train", 4), ("test", 2)):
        for number, name in enumerate(CLASSES):
            for index in range(count):
                seed = 100 * number + index + 50 * (part == "test")
                save(folder / part / name / f"{index}.png", noise(seed, 8, 8, 3))
    return folder


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A folder with class folders alone: 10 gray PNGs of 8x8 per class."""
    folder = tmp_path / "flat"
    for number, name in enumerate(CLASSES):
        for index in range(10):
            save(folder / name / f"{index}.png", noise(100 * number + index, 8, 8))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty data folder."""
    return tmp_path / "data"


def training_images(dataset: Any, root: Path) -> Any:
    """The training images of a dataset in memory."""
    return dataset.load(root).train.images


def resolve(path: Path, root: Path, **options: Any) -> tuple[str, Any]:
    listed = "".join(f",{name}={value}" for name, value in options.items())
    return HOST.resolve_dataset(f"image-folder[path={path}{listed}]", root)


def test_train_and_test_folders_are_read_in_order_of_classes_and_names(divided: Path, root: Path) -> None:
    _, dataset = resolve(divided, root)
    splits = dataset.load(root)
    assert (dataset.input_shape, dataset.num_classes, dataset.sizes) == ((3, 8, 8), 3, (12, 6))
    assert splits.train.labels.tolist() == [label for label in range(3) for _ in range(4)]
    expected = noise(102, 8, 8, 3).transpose(2, 0, 1)
    assert np.array_equal(splits.train.images[4 + 2].numpy(), expected)
    assert np.array_equal(splits.test.images[2].numpy(), noise(150, 8, 8, 3).transpose(2, 0, 1))


def test_mean_and_deviation_are_those_of_the_training_pixels(divided: Path, root: Path) -> None:
    _, dataset = resolve(divided, root)
    pixels = np.stack([noise(100 * n + i, 8, 8, 3) for n in range(3) for i in range(4)]) / 255
    assert dataset.mean == pytest.approx(pixels.mean((0, 1, 2)), abs=6e-5)
    assert dataset.std == pytest.approx(pixels.std((0, 1, 2)), abs=6e-5)
    inputs = torch.cat([x for x, _ in LoadedData.load(dataset, root, torch.device("cpu")).train.batches(5)])
    assert inputs.mean((0, 2, 3)).abs().max() < 1e-3
    assert (inputs.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_class_folders_alone_are_divided_by_the_seed_with_a_share_of_each(flat: Path, root: Path) -> None:
    text, dataset = resolve(flat, root, test="0.3")
    splits = dataset.load(root)
    assert dataset.sizes == (21, 9)
    assert torch.bincount(splits.test.labels).tolist() == [3, 3, 3]
    assert dataset.input_shape == (1, 8, 8)
    seen = {
        tuple(image.flatten().tolist()) for split in (splits.train, splits.test) for image in split.images
    }
    assert len(seen) == 30
    other_text, other = resolve(flat, root, test="0.3", split=1)
    assert other_text != text
    assert not torch.equal(other.load(root).test.images, splits.test.images)


def test_the_text_of_a_key_has_a_fingerprint_and_no_path(divided: Path, root: Path) -> None:
    text, dataset = resolve(divided, root, name="bugs")
    assert text == f"image-folder[fingerprint={dataset.fingerprint},name=bugs,size=8]"
    assert len(dataset.fingerprint) == 16
    assert dataset_label(text) == "bugs"
    again, found = HOST.resolve_dataset(text, root)
    assert (again, found) == (text, dataset)


def test_the_fingerprint_does_not_depend_on_place_time_or_form_of_names(
    divided: Path, root: Path, tmp_path: Path
) -> None:
    text, _ = resolve(divided, root)
    elsewhere = tmp_path / "mounted here, [today]"
    shutil.copytree(divided, elsewhere)
    (elsewhere / "test").rename(elsewhere / "Val")
    for path in elsewhere.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    assert HOST.resolve_dataset(f'image-folder[path="{elsewhere}"]', root)[0] == text
    assert resolve(divided, root, size=8)[0] == text
    assert resolve(divided, root, channels=3)[0] == text


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: save(folder / "train/ant/0.png", noise(9, 8, 8, 3)),
        lambda folder: (folder / "train/ant/0.png").rename(folder / "train/ant/9.png"),
        lambda folder: (folder / "train/ant/0.png").rename(folder / "train/bee/0a.png"),
        lambda folder: (folder / "test/ant/0.png").unlink(),
        lambda folder: save(folder / "test/ant/7.png", noise(9, 8, 8, 3)),
    ],
)
def test_every_change_of_files_changes_the_fingerprint(
    change: Callable[[Path], Any], divided: Path, root: Path
) -> None:
    before, _ = resolve(divided, root)
    change(divided)
    assert resolve(divided, root)[0] != before
    assert not HOST.dataset(before, root).present(root)


def test_it_is_measured_and_decoded_only_once(
    divided: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, dataset = resolve(divided, root)
    images = dataset.load(root).train.images

    def fail(*_: Any) -> None:
        raise AssertionError("an image is read")

    monkeypatch.setattr(image_folder, "decode", fail)
    monkeypatch.setattr(image_folder, "image_facts", fail)
    assert resolve(divided, root)[0] == text
    assert torch.equal(training_images(HOST.dataset(text, root), root), images)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"junk")])
def test_decoded_images_that_are_gone_or_damaged_are_decoded_again(
    damage: Callable[[Path], Any], divided: Path, root: Path
) -> None:
    _, dataset = resolve(divided, root)
    images = dataset.load(root).train.images.clone()  # safetensors maps the file
    (kept,) = (root / "image-folder").glob("*.safetensors")
    damage(kept)
    assert torch.equal(dataset.load(root).train.images, images)


def test_large_folders_are_streamed_with_the_same_images(
    divided: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dataset = resolve(divided, root)
    resident = dataset.load(root).train.images
    monkeypatch.setattr(ImageFolder, "memory", 100)
    _, large = resolve(divided, root.with_name("other"))
    split = large.load(root).train
    assert isinstance(split, StreamedSplit)
    assert (large.mean, large.std) == (dataset.mean, dataset.std)
    assert torch.equal(torch.stack([split.read(item, augmented=False) for item in split.items]), resident)
    torch.manual_seed(0)
    changed = split.read(split.items[0], augmented=True)
    assert (changed.shape, changed.dtype) == ((3, 8, 8), torch.uint8)
    torch.manual_seed(0)
    assert torch.equal(split.read(split.items[0], augmented=True), changed)


FORMATS: dict[str, Callable[[Path, Any], Any]] = {
    "a.png": lambda path, pixels: Image.fromarray(pixels).save(path),
    "b.BMP": lambda path, pixels: Image.fromarray(pixels).save(path),
    "c.gif": lambda path, pixels: Image.fromarray(pixels).save(path),
    "d.tiff": lambda path, pixels: Image.fromarray(pixels).save(path),
    "e.webp": lambda path, pixels: Image.fromarray(pixels).save(path, lossless=True),
    "f.ppm": lambda path, pixels: Image.fromarray(pixels).convert("RGB").save(path),
    "g.tga": lambda path, pixels: Image.fromarray(pixels).save(path),
    "h": lambda path, pixels: Image.fromarray(pixels).save(path, "PNG"),
    "i.png": lambda path, pixels: Image.fromarray(pixels.astype(np.uint16) * 257).save(path),
    "j.png": lambda path, pixels: Image.fromarray(pixels).convert("LA").save(path),
    "l.pgm": lambda path, pixels: path.write_bytes(b"P5 8 8 65535 " + (pixels.astype(">u2") * 257).tobytes()),
    "k.png": lambda path, pixels: Image.fromarray(pixels).convert("RGBA").save(path),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_gray_images_gives_the_same_pixels(name: str, flat: Path, root: Path) -> None:
    pixels = noise(7, 8, 8)
    shutil.rmtree(flat / "bee")
    (flat / "bee").mkdir()
    for index in range(2):
        FORMATS[name](flat / "bee" / f"{index}{name}", pixels)
    _, dataset = resolve(flat, root, channels=1)
    splits = dataset.load(root)
    found = splits.train.images[splits.train.labels == 1][0, 0].numpy()
    assert np.abs(found.astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_of_32_bits_are_refused_since_their_range_is_unknown(
    flat: Path, root: Path, kind: type[Any]
) -> None:
    path = flat / "bee" / "wide.tiff"
    Image.fromarray(noise(7, 8, 8).astype(kind)).save(path)
    with pytest.raises(DataError, match=r"wide\.tiff has pixels of 32 bits"):
        resolve(flat, root)


def test_one_color_image_makes_the_folder_one_of_color(flat: Path, root: Path) -> None:
    save(flat / "ant" / "color.png", noise(1, 8, 8, 3))
    assert resolve(flat, root)[1].input_shape == (3, 8, 8)
    assert resolve(flat, root, channels=1)[1].input_shape == (1, 8, 8)


def test_images_of_other_sizes_are_cropped_at_the_center_and_resized(flat: Path, root: Path) -> None:
    wide = np.zeros((16, 48), np.uint8)
    wide[:, 16:32] = 200
    save(flat / "ant" / "wide.png", wide)
    with pytest.raises(UsageError, match=r"2 sizes, from 8x8 to 48x16; .* size=64"):
        resolve(flat, root)
    splits = resolve(flat, root, size=16, split=3)[1].load(root)
    images = torch.cat([splits.train.images, splits.test.images])
    assert (images == 200).all((1, 2, 3)).sum() == 1
    assert images.shape == (31, 1, 16, 16)


def test_images_that_are_not_square_keep_their_size(tmp_path: Path, root: Path) -> None:
    for name in CLASSES:
        for index in range(4):
            save(tmp_path / "wide" / name / f"{index}.png", noise(index, 6, 10, 3))
    text, dataset = resolve(tmp_path / "wide", root)
    assert dataset.input_shape == (3, 6, 10)
    assert training_images(HOST.dataset(text, root), root).shape[1:] == (3, 6, 10)


def test_an_image_is_turned_as_its_camera_noted(flat: Path, root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise(3, 8, 8)
    for index in range(10):
        Image.fromarray(pixels).save(flat / "cat" / f"{index}.png", exif=exif)
    splits = resolve(flat, root)[1].load(root)
    found = splits.train.images[splits.train.labels == 2][0, 0].numpy()
    assert np.array_equal(found, np.rot90(pixels, -1))


def test_files_that_systems_leave_behind_are_no_images(divided: Path, root: Path) -> None:
    text, _ = resolve(divided, root)
    for place in (divided, divided / "train", divided / "train" / "ant"):
        for name in (".ipynb_checkpoints", "lost+found", "__MACOSX", "@eaDir"):
            (place / name).mkdir()
            (place / name / "x.png").write_bytes(b"junk")
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (divided / "test" / "bee" / name).write_bytes(b"junk")
    (divided / "README.txt").write_text("about")
    assert resolve(divided, root)[0] == text


def test_links_are_followed_and_loops_end(divided: Path, root: Path, tmp_path: Path) -> None:
    text, _ = resolve(divided, root)
    (tmp_path / "link").symlink_to(divided)
    (divided / "train" / "ant" / "loop").symlink_to(divided / "train" / "ant")
    assert resolve(tmp_path / "link", root)[0] == text


def test_a_link_to_a_folder_around_a_class_adds_no_image_to_it(
    divided: Path, root: Path, tmp_path: Path
) -> None:
    text, _ = resolve(divided, root)
    (divided / "train" / "ant" / "all").symlink_to(divided / "train")
    (divided / "train" / "ant" / "more").mkdir()
    (divided / "train" / "ant" / "more" / "above").symlink_to(tmp_path)
    assert resolve(divided, root)[0] == text
    (divided / "train" / "self").symlink_to(divided / "train")
    with pytest.raises(DataError, match=r"no image in its class folder .*/self"):
        resolve(divided, root)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems have names in Unicode only")
def test_names_of_any_bytes_are_read(flat: Path, root: Path) -> None:
    _, before = resolve(flat, root)
    (flat / "bee" / "0.png").rename(flat / "bee" / os.fsdecode(b"caf\xe9.png"))
    (flat / "cat").rename(flat / os.fsdecode(b"ch\xe2t"))
    text, dataset = resolve(flat, root)
    assert dataset.sizes == before.sizes
    assert dataset.fingerprint != before.fingerprint
    assert len(training_images(HOST.dataset(text, root), root)) == dataset.sizes[0]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take both names for one")
def test_two_names_that_are_one_in_unicode_are_two_images(flat: Path, root: Path) -> None:
    for name in CLASSES:
        shutil.rmtree(flat / name)
        for index, each in enumerate(("caf\u00e9.png", "cafe\u0301.png")):
            save(flat / name / each, noise(index, 8, 8))
    assert resolve(flat, root)[1].sizes == (3, 3)


@pytest.mark.parametrize(
    ("damage", "fact"),
    [
        (lambda folder: (folder / "train/ant/0.png").write_bytes(b"junk"), "train/ant/0.png"),
        (lambda folder: (folder / "train/ant/notes.txt").write_text("x"), "notes.txt"),
        (lambda folder: (folder / "train/ant/0.png").write_bytes(b""), "train/ant/0.png"),
        (lambda folder: shutil.rmtree(folder / "test/bee"), "'bee'"),
        (lambda folder: (folder / "test/dog").mkdir(), "test/dog"),
        (lambda folder: shutil.rmtree(folder / "test"), "'train' and none for testing"),
        (
            lambda folder: [(folder / each).rename(folder / f".{each}") for each in ("test", "train")],
            "no class folders",
        ),
        (lambda folder: (folder / "train/ant/gone.png").symlink_to("nowhere"), "gone.png"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(
    damage: Callable[[Path], Any], fact: str, divided: Path, root: Path
) -> None:
    damage(divided)
    with pytest.raises(DataError, match=fact) as error:
        resolve(divided, root)
    assert "\n" not in str(error.value)
    assert str(divided) in str(error.value)


def test_a_cut_image_is_named(divided: Path, root: Path) -> None:
    path = divided / "train" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match=str(path)):
        resolve(divided, root)


@pytest.mark.parametrize(
    ("text", "kind", "fact"),
    [
        ("image-folder", UsageError, "needs a folder"),
        ("image-folder[]", UsageError, "needs a folder"),
        ("image-folder[size=32]", UsageError, "needs a folder"),
        ("image-folder[path=nowhere]", DataMissingError, "is not there"),
        ("image-folder[path={0},size=-1]", UsageError, "size"),
        ("image-folder[path={0},size=x]", UsageError, "size=x must be a value of type int"),
        ("image-folder[path={0},size=8.0]", UsageError, "type int"),
        ("image-folder[path={0},flip=1]", UsageError, "type bool"),
        ("image-folder[path={0},test=1]", UsageError, "test"),
        ("image-folder[path={0},test=0.3]", UsageError, "no effect"),
        ("image-folder[path={0},channels=2]", UsageError, "channels"),
        ("image-folder[path={0},sise=8]", UnknownNameError, "did you mean 'size'"),
        ("image-folder[path={0},fingerprint=00]", DataError, "instead of 00"),
        ("image-folder[path={0},name=cifar10]", UsageError, "installed dataset"),
        ("image-folder[path={0},name=My Photos]", UsageError, "not a name"),
        ("image-folder[path={0},path={0}]", UsageError, "twice"),
        ("image-folder[path={0}", UsageError, "cannot read"),
        ("image-folder[{0}]", UsageError, "cannot read"),
        ("digits[size=8]", UsageError, "takes no options"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_line(
    text: str, kind: type[HandledError], fact: str, divided: Path, root: Path
) -> None:
    with pytest.raises(kind, match=fact) as error:
        HOST.resolve_dataset(text.format(divided), root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["2024", "1_000", "1.50", "true", "a b", "it's", "x=y", "[draft]", "a,b", "ü"]
)
def test_any_path_can_be_named(name: str, divided: Path, root: Path) -> None:
    place = divided.rename(divided.with_name(name))
    given = f'"{place}"' if "," in name else place
    assert HOST.resolve_dataset(f"image-folder[path={given},size=8]", root)[1].sizes == (12, 6)


def test_a_relative_path_and_the_home_folder_are_resolved(
    divided: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(divided.parent)
    monkeypatch.setenv("HOME", str(divided.parent))
    text = resolve(divided, root)[0]
    for path in ("photos", "./photos/", "~/photos"):
        assert HOST.resolve_dataset(f"image-folder[path={path}]", root)[0] == text


def test_a_fingerprint_without_its_folder_is_missing(divided: Path, root: Path) -> None:
    text, _ = resolve(divided, root)
    shutil.rmtree(divided)
    dataset = HOST.dataset(text, root)
    assert not dataset.present(root)
    assert "name the folder once more" in str(dataset.by_hand(root))
    with pytest.raises(DataMissingError):
        dataset.load(root)


def test_a_class_with_one_image_cannot_be_divided(flat: Path, root: Path) -> None:
    save(flat / "dog" / "only.png", noise(0, 8, 8))
    with pytest.raises(DataError, match="'dog' has one image"):
        resolve(flat, root)


@pytest.mark.skipif(not SHARED.is_file(), reason=f"{SHARED.name} is not in ../shared/data")
def test_a_part_of_cifar10_jpeg(tmp_path: Path, root: Path) -> None:
    def few(member: tarfile.TarInfo) -> bool:
        stem = Path(member.name).stem
        return member.isfile() and stem.isdecimal() and int(stem) < 20

    with tarfile.open(SHARED) as archive:
        archive.extractall(tmp_path / "cifar10-jpeg", filter(few, archive), filter="data")
    _, dataset = resolve(tmp_path / "cifar10-jpeg", root, size=32, name="cifar10-jpeg")
    splits = dataset.load(root)
    assert (dataset.input_shape, dataset.num_classes, dataset.sizes) == ((3, 32, 32), 10, (200, 200))
    assert torch.bincount(splits.train.labels).tolist() == [20] * 10
    assert dataset.mean == pytest.approx((0.4913, 0.4821, 0.4465), abs=0.05)


def test_an_image_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PNG of one color takes a thousandth of its pixels."""
    monkeypatch.setattr("synflow_bench_datasets.images.MOST_PIXELS", 2**16)
    path = save(tmp_path / "big.png", np.zeros((512, 256, 3), np.uint8))
    assert path.stat().st_size < 2000
    for read in (open_rgb, lambda each: decode(each.read_bytes(), str(each), (3, 8, 8))):
        with pytest.raises(DataError, match="256x512 pixels"):
            read(path)


def test_an_image_beyond_the_limit_of_the_library_is_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "big.png", np.zeros((8, 8), np.uint8))
    content = bytearray(path.read_bytes())
    content[16:24] = (2**20).to_bytes(4, "big") * 2  # width and height
    content[29:33] = crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    for read in (open_rgb, lambda each: decode(each.read_bytes(), str(each), (1, 8, 8))):
        with pytest.raises(DataError, match=path.name):
            read(path)


def test_kept_images_that_were_changed_are_decoded_again(divided: Path, root: Path) -> None:
    dataset = ImageFolder(path=str(divided)).resolve(root)
    before = dataset.load(root).train.images.clone()  # the file itself is mapped into memory
    (kept,) = (root / image_folder.HOME).rglob("*.safetensors")
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    assert torch.equal(before, dataset.load(root).train.images)


def test_a_third_folder_beside_those_for_training_and_testing_is_named(
    divided: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, _ = resolve(divided, root)
    assert "is not used" not in capsys.readouterr().err
    shutil.copytree(divided / "test", divided / "val")
    with_third, _ = resolve(divided, root)
    assert with_third == plain
    assert f"'val' in {divided} is not used" in capsys.readouterr().err


def test_class_folders_alone_are_all_used(flat: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resolve(flat, root)
    assert capsys.readouterr().err == ""


def test_measured_folders_are_known_with_the_text_that_names_them(
    divided: Path, flat: Path, root: Path
) -> None:
    assert list(ImageFolder().known(root)) == []
    texts = {resolve(divided, root)[0], resolve(flat, root, size=4, channels=1)[0]}
    known = list(ImageFolder().known(root))
    assert {each.place(root) for each in known} == {str(divided), str(flat)}
    assert all(each.present(root) for each in known)
    assert {each.fingerprint for each in known} == {HOST.dataset(text, root).fingerprint for text in texts}
    shutil.rmtree(flat)
    assert sorted(each.present(root) for each in ImageFolder().known(root)) == [False, True]


def test_folders_with_equal_files_are_known_once_and_a_missing_one_says_how_to_forget_it(
    divided: Path, root: Path, tmp_path: Path
) -> None:
    copies = [shutil.copytree(divided, tmp_path / name) for name in ("one", "two", "three")]
    assert len({resolve(each, root)[0] for each in (divided, *copies)}) == 1
    for each in (divided, *copies[:2]):
        shutil.rmtree(each)
    (known,) = ImageFolder().known(root)
    assert (known.place(root), known.present(root)) == (str(copies[2]), True)
    resolve(copies[2], root, size=4)
    assert len(list(ImageFolder().known(root))) == 2
    shutil.rmtree(copies[2])
    assert [each.present(root) for each in ImageFolder().known(root)] == [False, False]
    assert f"delete {root / image_folder.HOME}" in known.by_hand(root)
