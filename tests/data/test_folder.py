import re

import numpy as np
import pytest
from PIL import Image

from emorl.data.cli import main
from emorl.data.records import check_record
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import decode_sample, read_shard, verify
from emorl.data.sources.folder import ImageFolder, read_masks
from emorl.errors import DataError

SIZE = (12, 16)  # height and width
RANDOM = np.random.default_rng(0)
PIXELS = {name: RANDOM.integers(0, 256, (*SIZE, 3), np.uint8) for name in ("a", "b", "c")}


def labels(*boxes):
    """A label map of one box for each (label, top, left)."""
    pixels = np.zeros(SIZE, np.uint8)
    for label, top, left in boxes:
        pixels[top : top + 4, left : left + 4] = label
    return pixels


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def images(tmp_path):
    for name, pixels in PIXELS.items():
        save(tmp_path / "photos" / f"{name}.png", pixels)
    return tmp_path / "photos"


@pytest.fixture
def masks(tmp_path):
    save(tmp_path / "masks/a.png", labels((7, 0, 0), (3, 6, 6)))
    save(tmp_path / "masks/b.png", labels())
    for number, box in enumerate([(255, 1, 1), (1, 6, 2), (9, 6, 9)]):
        save(tmp_path / f"masks/c/{number}.png", labels(box))
    return tmp_path / "masks"


def test_images_without_masks_are_background(images):
    source = ImageFolder(images)
    records = list(source.records())
    for record, pixels in zip(records, PIXELS.values(), strict=True):
        check_record(record, source)
        np.testing.assert_array_equal(record.image, pixels)
        assert not record.segmentation.any()
        assert record.factors == []
    assert (source.dataset, source.variant, source.image_size, source.max_objects) == ("photos", "folder", SIZE, 1)
    np.testing.assert_array_equal(next(source.records(2)).image, PIXELS["c"])


def test_masks_are_label_maps_or_folders_of_binary_masks(images, masks):
    source = ImageFolder(images, masks)
    a, b, c = source.records()
    np.testing.assert_array_equal(a.segmentation, labels((2, 0, 0), (1, 6, 6)))
    assert not b.segmentation.any()
    np.testing.assert_array_equal(c.segmentation, labels((1, 1, 1), (2, 6, 2), (3, 6, 9)))
    assert [len(record.factors) for record in (a, b, c)] == [2, 0, 3]
    assert source.max_objects == 3
    for record in (a, b, c):
        check_record(record, source)


def test_objects_are_counted_unless_their_number_is_given(images, masks):
    assert ImageFolder(images, masks, max_objects=10).max_objects == 10
    assert ImageFolder(images, max_objects=4).max_objects == 4
    assert ImageFolder(images, masks, size=1).max_objects == 1  # a single pixel is left


def test_images_of_any_size_are_cropped_to_squares_of_one(images, masks):
    save(images / "a.png", np.full((30, 24, 3), (10, 200, 30), np.uint8))
    mask = np.zeros((30, 24), np.uint8)
    mask[:2], mask[10:20, :12] = 1, 2  # the first one is above the square
    save(masks / "a.png", mask)
    record, *others = ImageFolder(images, masks, size=8).records()
    assert {other.image.shape for other in (record, *others)} == {(8, 8, 3)}
    assert (record.image == (10, 200, 30)).all()
    assert np.unique(record.segmentation).tolist() == [0, 1]
    assert record.segmentation[4, :4].tolist() == [1] * 4
    assert len(record.factors) == 1


def test_a_photograph_is_turned_upright_with_its_mask(images, masks):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(images / "a.png", np.rot90(PIXELS["a"]), exif=exif)  # stored lying on its side
    record = next(ImageFolder(images, masks).records())
    np.testing.assert_array_equal(record.image, PIXELS["a"])
    np.testing.assert_array_equal(record.segmentation, labels((2, 0, 0), (1, 6, 6)))


def test_images_of_other_sizes_need_a_size(images):
    save(images / "b.png", PIXELS["b"][1:])
    records = ImageFolder(images).records()
    next(records)
    with pytest.raises(DataError, match=r"b\.png: expected 12x16 pixels .*, got 11x16 pixels .* with --size N"):
        next(records)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda masks: (masks / "b.png").unlink(), r"a label map b\.png or a folder b of binary masks, got neither"),
        (lambda masks: save(masks / "b.png", labels()[1:]), r"masks: b: expected 12x16 pixels .*, got 11x16"),
        (lambda masks: save(masks / "b.png", PIXELS["b"]), r"b\.png: expected a label map in grey.*, got the mode RGB"),
        (lambda masks: (masks / "b.png").write_bytes(b"PNG"), r"b\.png: expected an image, got cannot identify"),
        (lambda masks: save(masks / "c/3.png", labels((1, 7, 3))), r"c/3\.png: expected masks that do not overlap"),
        (lambda masks: save(masks / "c/3.png", labels()[:, 1:]), r"c/3\.png: expected 12x16 pixels .*, got 12x15"),
        (lambda masks: [path.unlink() for path in (masks / "c").iterdir()], r"c: expected binary masks .*, got none"),
        (lambda masks: save(masks / "b.png", np.arange(300, dtype=np.uint16)[None]), "at most 255 objects, got 299"),
    ],
)
def test_masks_that_cannot_be_used(images, masks, spoil, message):
    spoil(masks)
    with pytest.raises(DataError, match=message):
        list(ImageFolder(images, masks, max_objects=3).records())


def test_objects_that_cannot_be_counted(images, masks):
    (masks / "b.png").unlink()
    with pytest.raises(DataError, match=r"a label map b\.png or a folder b"):
        ImageFolder(images, masks)


def test_more_objects_than_were_promised(images, masks):
    source = ImageFolder(images, masks, max_objects=2)
    with pytest.raises(DataError, match="at most 2, got label 3 of 3 objects"):
        check_record(list(source.records())[2], source)


def test_a_picture_too_large_for_shards(images, monkeypatch):
    monkeypatch.setattr("emorl.data.sources.folder.MAX_PIXELS", 100)
    with pytest.raises(DataError, match="expected images of at most 100 pixels, got 12x16; choose a smaller size"):
        ImageFolder(images)
    assert ImageFolder(images, size=10).image_size == (10, 10)


def test_a_mask_of_256_objects(tmp_path):
    for number in range(256):
        mask = np.zeros((16, 16), bool)
        mask.flat[number] = True
        save(tmp_path / f"a/{number}.png", mask)
    with pytest.raises(DataError, match="a: expected at most 255 objects, got 256"):
        read_masks(tmp_path, "a")


def test_provenance_covers_the_masks(images, masks):
    before = ImageFolder(images, masks).provenance
    assert (before["folder"], before["files"]) == ("photos", 8)
    save(masks / "c/2.png", labels((1, 6, 10)))
    assert ImageFolder(images, masks).provenance != before


def records_of(out, split):
    shards = Manifest.load(out).splits[split].shards
    return [decode_sample(sample) for shard in shards for sample in read_shard(out, shard)]


def test_convert(images, masks, tmp_path, capsys):
    out = tmp_path / "out"
    assert not main(["convert", "folder", str(images), str(out), "--masks", str(masks), "--processes", "1"])
    assert "photos, 3 train, manifest checksum" in capsys.readouterr().out
    assert verify(out) == []
    for record, expected in zip(records_of(out, "train"), ImageFolder(images, masks).records(), strict=True):
        np.testing.assert_array_equal(record.image, expected.image)
        np.testing.assert_array_equal(record.segmentation, expected.segmentation)
        assert record.factors == expected.factors


def test_convert_takes_splits_in_order(images, tmp_path):
    out = tmp_path / "out"
    assert not main(
        ["convert", "folder", str(images), str(out), "--train", "2", "--test", "1", "--size", "8", "--processes", "1"]
    )
    assert {name: split.samples for name, split in Manifest.load(out).splits.items()} == {"train": 2, "test": 1}
    assert Manifest.load(out).image_size == (8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: expected a folder, got no such folder; check the path"),
        (["photos", "--masks", "nowhere"], r"nowhere: expected a label map a\.png or a folder a of binary masks"),
        (["photos", "--train", "4"], "photos: expected a record 3, .* got the end of the source; choose smaller"),
        (["photos", "--max_objects", "256"], "max_objects: expected 1 to 255, got 256"),
    ],
)
def test_wrong_arguments(images, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "folder", arguments[0], "out", *arguments[1:], "--processes", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("emorl-data: error: ")
    assert re.search(message, line)
    assert not (tmp_path / "out" / "manifest.json").exists()
