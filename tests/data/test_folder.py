"""Folders of images as a source, with and without masks."""

import os
import re
import subprocess
import sys
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image
from stored import records_of

from emorl.data.cli import main
from emorl.data.records import check_record
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import verify
from emorl.data.sources.folder import ImageFolder
from emorl.data.sources.masks import Masks
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
    save(tmp_path / "masks/a.PNG", labels((7, 0, 0), (3, 6, 6)))
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
    assert ImageFolder(images, masks, size=1).max_objects == 1  # a single pixel remains


def test_images_of_any_size_are_cropped_to_squares_of_one(images, masks):
    save(images / "a.png", np.full((30, 24, 3), (10, 200, 30), np.uint8))
    mask = np.zeros((30, 24), np.uint8)
    mask[:2], mask[10:20, :12] = 1, 2  # the first object is above the square
    save(masks / "a.PNG", mask)
    record, *others = ImageFolder(images, masks, size=8).records()
    assert {other.image.shape for other in (record, *others)} == {(8, 8, 3)}
    assert (record.image == (10, 200, 30)).all()
    assert np.unique(record.segmentation).tolist() == [0, 1]
    assert record.segmentation[4, :4].tolist() == [1] * 4
    assert len(record.factors) == 1


def test_a_photograph_is_rotated_upright_with_its_mask(images, masks):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(images / "a.png", np.rot90(PIXELS["a"]), exif=exif)  # stored rotated
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
        (lambda masks: save(masks / "b.png", PIXELS["b"]), r"b\.png: expected a label map in gray.*, got the mode RGB"),
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


def test_more_objects_than_max_objects(images, masks):
    with pytest.raises(DataError, match=r"masks: expected at most 2 objects in an image, got 3; raise --max_objects"):
        ImageFolder(images, masks, max_objects=2)


def test_a_file_to_which_the_crop_does_not_apply_is_named(images, masks):
    save(masks / "b.png", labels()[1:])
    with pytest.raises(DataError, match=r"masks: b: crop 'emorl': expected CLEVR frames"):
        ImageFolder(images, masks, size=8, crop="emorl")
    save(images / "b.png", PIXELS["b"][1:])
    with pytest.raises(DataError, match=r"b\.png: crop 'emorl': expected CLEVR frames"):
        list(ImageFolder(images, size=8, crop="emorl").records())


def test_masks_have_the_names_of_images_in_any_form_of_unicode(tmp_path):
    save(tmp_path / "photos" / normalize("NFD", "\u00e9.png"), PIXELS["a"])
    save(tmp_path / "photos" / normalize("NFC", "\u00fc.png"), PIXELS["a"])
    save(tmp_path / "masks" / normalize("NFC", "\u00e9.png"), labels((1, 0, 0)))
    save(tmp_path / "masks" / normalize("NFD", "\u00fc") / "0.png", labels((1, 0, 0)))
    source = ImageFolder(tmp_path / "photos", tmp_path / "masks")
    assert [record.segmentation.max() for record in source.records()] == [1, 1]


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
        Masks(tmp_path, ["a"]).read("a")


def test_provenance_covers_the_masks(images, masks):
    before = ImageFolder(images, masks).provenance
    assert (before["folder"], before["files"]) == ("photos", 8)
    save(masks / "c/2.png", labels((1, 6, 10)))
    assert ImageFolder(images, masks).provenance != before


def test_the_files_of_masks_are_read_as_images_are(images, masks):
    (masks / "c/1.png").rename(masks / "c/1.PNG")
    with Image.open(masks / "c/2.png") as mask:
        mask.point(lambda value: 255 * (value > 0)).save(masks / "c/2.jpg", quality=60)
    (masks / "c/2.png").unlink()
    (masks / "c/._3.png").write_bytes(b"of a Mac")
    (masks / "._b.png").write_bytes(b"of a Mac")
    (masks / "b.png").unlink()
    save(masks / "b.Tiff", labels((2, 5, 5)))
    _, b, c = ImageFolder(images, masks).records()
    np.testing.assert_array_equal(b.segmentation, labels((1, 5, 5)))
    np.testing.assert_array_equal(c.segmentation, labels((1, 1, 1), (2, 6, 2), (3, 6, 9)))


def test_a_jpeg_is_no_label_map(images, masks):
    (masks / "b.png").unlink()
    save(masks / "b.jpg", labels((2, 5, 5)))
    with pytest.raises(DataError, match=r"b\.jpg: expected a label map .*, got a JPEG, which changes labels"):
        ImageFolder(images, masks)


@pytest.mark.parametrize("other", ["a.tif", "a/0.png"])
def test_two_kinds_of_masks_for_an_image(images, masks, other):
    save(masks / other, labels((1, 0, 0)))
    with pytest.raises(DataError, match=r"masks: expected one label map of a, or .*, got .*a\.PNG.*; remove all"):
        ImageFolder(images, masks)


def test_subfolders_have_masks_in_subfolders(images, masks):
    save(images / "x/a.png", PIXELS["b"])
    save(images / "x/y/b.png", PIXELS["c"])
    save(masks / "x/a.png", labels((4, 0, 0)))
    save(masks / "x/y/b/0.png", labels((4, 4, 4)))
    source = ImageFolder(images, masks, recursive=True)
    records = list(source.records())
    assert len(records) == 5
    np.testing.assert_array_equal(records[3].segmentation, labels((1, 0, 0)))
    np.testing.assert_array_equal(records[4].segmentation, labels((1, 4, 4)))
    np.testing.assert_array_equal(next(source.records(3)).image, PIXELS["b"])


def test_skipped_files_are_reported(images, masks):
    (images / "notes.txt").touch()
    save(images / "x/a.png", PIXELS["a"])
    (masks / "b.npy").touch()
    save(masks / "d.png", labels())
    assert list(ImageFolder(images, masks).remarks()) == [
        f"{images}: skipped 1 file without an image suffix (notes.txt) "
        "and 1 subfolder (x; the option recursive reads them)",
        f"{masks}: skipped 1 file without an image suffix (b.npy) and 1 mask without an image (d.png)",
    ]


def test_cut_images_are_reported(images):
    (remark,) = ImageFolder(images, size=8).remarks()
    assert "cuts 3 of 3 images, such as one of 12x16 (height x width) to rows 0:12, columns 2:14" in remark
    assert list(ImageFolder(images, size=8, crop="pad").remarks()) == []


def test_padding_keeps_all_with_background_around(images, masks):
    source = ImageFolder(images, masks, size=16, crop="pad")
    record = next(source.records())
    np.testing.assert_array_equal(record.image[2:14], PIXELS["a"])
    np.testing.assert_array_equal(record.segmentation[2:14], labels((2, 0, 0), (1, 6, 6)))
    assert not record.image[[0, 1, 14, 15]].any()
    assert not record.segmentation[[0, 1, 14, 15]].any()
    assert source.provenance != ImageFolder(images, masks, size=16).provenance


def outlined(*boxes):
    """A label map like PASCAL VOC's: each object has an outline of label 255."""
    pixels = np.zeros(SIZE, np.uint8)
    for label, top, left in boxes:
        pixels[top : top + 6, left : left + 6] = 255
        pixels[top + 1 : top + 5, left + 1 : left + 5] = label
    return pixels


def test_void_becomes_background_with_ignore(images, masks):
    save(masks / "b.png", outlined((1, 0, 0), (2, 6, 8)))
    void, ignored = ImageFolder(images, masks), ImageFolder(images, masks, ignore=255)
    assert (void.survey.labels, ignored.survey.labels) == ((1, 2, 3, 7, 255), (1, 2, 3, 7))
    expected = np.where(outlined((1, 0, 0), (2, 6, 8)) == 255, 0, outlined((1, 0, 0), (2, 6, 8)))
    records = list(ignored.records())
    np.testing.assert_array_equal(records[1].segmentation, expected)
    assert len(records[2].factors) == 3  # masks of single objects may be 255
    (warning,) = void.remarks()
    assert warning.startswith(
        f"{masks}: the label 255 is counted as an object, and labels are unevenly spaced (1, 2, 3,"
    )
    assert "..., 255)" in warning
    assert "add --ignore 255" in warning
    assert list(ignored.remarks()) == []
    assert void.provenance != ignored.provenance


@pytest.mark.parametrize("found", [(15, 120, 255), (100, 200, 255), (1, 2, 65535), (3, 700, 65535), (1, 255)])
def test_a_possible_void_label_is_reported_for_any_spacing_of_labels(tmp_path, found):
    save(tmp_path / "images/a.png", PIXELS["a"])
    save(tmp_path / "masks/a.png", np.resize(np.uint16((0, *found)), SIZE))
    source = ImageFolder(tmp_path / "images", tmp_path / "masks")
    assert any(f"if it marks pixels without a label, add --ignore {found[-1]}" in remark for remark in source.remarks())
    assert list(ImageFolder(source.folder, tmp_path / "masks", ignore=found[-1]).remarks()) == []


@pytest.mark.parametrize("ignore", [300, 254, 65535])
def test_a_label_that_no_label_map_has_cannot_be_ignored(images, masks, ignore):
    save(masks / "b.png", outlined((1, 0, 0), (2, 6, 8)))
    message = f"ignore: expected a label of the label maps in .*masks, got {ignore}, which none of them has; "
    with pytest.raises(DataError, match=message + r"correct it \(labels are 1, 2, 3, \.\.\., 255\), or leave it out"):
        ImageFolder(images, masks, ignore=ignore)


@pytest.mark.parametrize(
    "boxes", [[(255, 0, 0)], [(128, 0, 0), (255, 0, 8)], [(85, 0, 0), (170, 0, 8), (255, 6, 0)], [(1, 0, 0), (2, 6, 6)]]
)
def test_other_labels_are_not_taken_for_void(tmp_path, boxes):
    save(tmp_path / "images/a.png", PIXELS["a"])
    save(tmp_path / "masks/a.png", labels(*boxes))
    assert list(ImageFolder(tmp_path / "images", tmp_path / "masks").remarks()) == []


def test_gray_levels_of_an_antialiased_mask_are_reported(tmp_path, capsys, caplog):
    row, column = np.indices((128, 128)) - 63.5
    disk = Image.fromarray(np.uint8(row**2 + column**2 < 40**2) * 255)
    save(tmp_path / "images/a.png", np.zeros((32, 32, 3), np.uint8))
    for mode in ("BILINEAR", "NEAREST"):
        save(tmp_path / "masks/a.png", np.asarray(disk.resize((32, 32), Image.Resampling[mode])))
        caplog.clear()
        arguments = [str(tmp_path / name) for name in ("images", mode)]
        assert not main(["convert", "folder", *arguments, "--masks", str(tmp_path / "masks"), "--processes", "1"])
        objects = capsys.readouterr().out.splitlines()[0]
        warnings = [record.getMessage() for record in caplog.records]
        if mode == "BILINEAR":
            assert int(re.search(r"masks: (\d+) objects counted, at most \1 in an image", objects)[1]) > 15
            (warning,) = warnings
            assert "have only a few pixels, possibly the gray levels of an anti-aliased mask" in warning
        else:
            assert (objects, warnings) == (f"{tmp_path / 'masks'}: 1 object counted, at most 1 in an image", [])


def test_names_of_any_bytes(tmp_path, capsys):
    folder, out = (tmp_path / os.fsdecode(name) for name in (b"im\xff\nages", b"out\xff"))
    for name in (b"a\xff", b"new\nline", b"-dash", b"a:b", b"  ", b"x" * 251):
        save(folder / os.fsdecode(name + b".png"), PIXELS["a"])
        save(tmp_path / "masks" / os.fsdecode(name + b".png"), labels((1, 0, 0)))
    masks = ("--masks", str(tmp_path / "masks"))
    assert not main(["convert", "folder", str(folder), str(out), *masks, "--processes", "1"])
    assert "out\\udcff: im\\udcff\\nages, 6 train, manifest checksum" in capsys.readouterr().out.splitlines()[-1]
    assert verify(out) == []
    assert not main(["info", str(out)])
    (folder / os.fsdecode(b"a\xff.png")).write_bytes(b"damaged")
    assert main(["convert", "folder", str(folder), str(tmp_path / "again"), "--processes", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "im\\udcff\\nages/a\\udcff.png: expected an image, got cannot identify" in line


def test_convert(images, masks, tmp_path, capsys):
    out = tmp_path / "out"
    assert not main(["convert", "folder", str(images), str(out), "--masks", str(masks), "--processes", "1"])
    assert "photos, 3 train, manifest checksum" in capsys.readouterr().out
    assert verify(out) == []
    for record, expected in zip(records_of(out, "train"), ImageFolder(images, masks).records(), strict=True):
        np.testing.assert_array_equal(record.image, expected.image)
        np.testing.assert_array_equal(record.segmentation, expected.segmentation)
        assert record.factors == expected.factors


def test_convert_starts_again_after_an_image_was_replaced(images, tmp_path, caplog, capsys):
    """The shards finished before contain images of the former folder."""
    out, command = tmp_path / "out", ["convert", "folder", str(images), str(tmp_path / "out"), "--shard_size", "1"]
    (images / "c.png").write_bytes(b"no image")
    assert main(command) == 2
    assert [path.name for path in out.glob("*.tar")]
    save(images / "c.png", PIXELS["c"])
    save(images / "a.png", PIXELS["b"])
    (images / "c.png").unlink()
    (out / "train-000009.tar").touch()  # finished, but killed before it was recorded
    assert not main(command)
    assert "out: the source has changed; all shards are written again." in caplog.text
    assert "out: removing shards that its splits do not need: train-000009.tar" in caplog.text
    assert verify(out) == []
    np.testing.assert_array_equal(next(iter(records_of(out, "train"))).image, PIXELS["b"])


def test_a_finished_data_set_whose_images_changed_is_told_in_words(images, tmp_path, capsys):
    command = ["convert", "folder", str(images), str(tmp_path / "out")]
    assert not main(command)
    save(images / "a.png", PIXELS["b"])
    assert main(command) == 2
    told = "got a finished one of photos with images or other source files that have changed since; choose another"
    assert told in capsys.readouterr().err
    assert main([*command, "--size", "8"]) == 2
    assert "{" not in capsys.readouterr().err


# An interruption while a process starts: it runs the program's module before anything else.
INTERRUPTED = """
import os, signal, sys
if __name__ == "__main__":
    from emorl.data.cli import main
    sys.exit(main(sys.argv[1:]))
os.kill(os.getpid(), signal.SIGINT)
"""


def test_ctrl_c_while_processes_start_prints_nothing_of_theirs(images, tmp_path):
    (tmp_path / "program.py").write_text(INTERRUPTED)
    words = ["convert", "folder", images, tmp_path / "out", "--shard_size", "1", "--processes", "2"]
    ran = subprocess.run([sys.executable, tmp_path / "program.py", *words], capture_output=True, text=True)
    assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), ran.stderr


def test_convert_does_not_overwrite_shards_of_another_folder(images, tmp_path, capsys):
    out = tmp_path / "out"
    images.rename(tmp_path / "others")
    save(images / "a.png", PIXELS["a"])
    (images / "b.png").write_bytes(b"no image")
    in_order = ["--shard_size", "1", "--processes", "1"]  # a.png is written before b.png fails
    assert main(["convert", "folder", str(images), str(out), *in_order]) == 2
    assert main(["convert", "folder", str(tmp_path / "others"), str(out), *in_order]) == 2
    assert "expected a new folder, or this data set to resume, got an unfinished one" in capsys.readouterr().err


def test_info_does_not_count_objects_without_masks(images, tmp_path, capsys):
    assert not main(["convert", "folder", str(images), str(tmp_path / "out")])
    assert not main(["info", str(tmp_path / "out")])
    assert "at most 1: 2 slots with the background; without masks, choose" in capsys.readouterr().out


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
        (["photos", "--masks", "nowhere"], r"nowhere: expected a folder, got no such folder; check the path"),
        (["photos", "--train", "3", "--val", "2"], r"photos: expected at most 3 scenes .*, got 3 train \+ 2 val = 5"),
        (["photos", "--crop", "pad"], "crop 'pad': expected a size for the crop .*, got none; add --size"),
        (["photos", "--ignore", "255"], "ignore: expected masks with that label, got no masks; add --masks"),
        (["photos", "--masks", "masks", "--ignore", "300"], "ignore: expected a label of the label maps in masks, got"),
        (
            ["photos", "--masks", "photos/x", "--recursive", "true"],
            "photos/x: expected a folder outside of the images' folder",
        ),
        (["photos", "--max_objects", "256"], "max_objects: expected 1 to 255, got 256"),
    ],
)
def test_wrong_arguments(images, masks, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "folder", arguments[0], "out", *arguments[1:], "--processes", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("emorl-data: error: ")
    assert re.search(message, line)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ((), ("--recursive",), 4),
        (("--recursive",), (), 4),
        ((), ("--recursive", "--size", "8"), 4),
        ((), ("--recursive", "true"), 4),
        ((), ("--recursive=true",), 4),
        ((), ("--recursive", "false"), 3),
        ((), (), 3),
    ],
)
def test_recursive_is_a_flag(images, tmp_path, before, after, count):
    save(images / "x/a.png", PIXELS["b"])
    out = tmp_path / "out"
    assert not main(["convert", "folder", *before, str(images), str(out), *after, "--processes", "1"])
    assert Manifest.load(out).splits["train"].samples == count
