import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emorl.data.images import files_provenance, find_images, read_image, read_labels, renumber
from emorl.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
ORIENTATION = 0x0112


def encode(kind, image=None, **options):
    stream = io.BytesIO()
    (Image.fromarray(PIXELS) if image is None else image).save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def test_an_rgb_png_is_read_exactly(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_becomes_rgb(tmp_path, mode):
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read[..., 0], Image.fromarray(PIXELS).convert(mode).convert("L"))
    assert (read == read[..., :1]).all()


def test_a_jpeg_is_read(tmp_path):
    Image.new("RGB", (9, 6), (200, 40, 90)).save(tmp_path / "a.jpg", quality=95)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (6, 9, 3)
    assert np.abs(read.astype(int) - (200, 40, 90)).max() <= 4


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, PIXELS), (3, PIXELS[::-1, ::-1]), (6, np.rot90(PIXELS, -1)), (8, np.rot90(PIXELS)), (2, PIXELS[:, ::-1])],
)
def test_exif_turns_the_picture_upright(tmp_path, orientation, upright):
    (tmp_path / "a.png").write_bytes(encode("PNG", exif=turned(orientation)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), upright)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_a_mode_whose_colours_cannot_be_told(tmp_path, mode):
    image = Image.fromarray(np.zeros((2, 2), np.uint16)) if mode == "I;16" else Image.new(mode, (2, 2))
    image.save(tmp_path / "a.png")
    with pytest.raises(
        DataError, match=r"a\.png: expected an RGB or greyscale image, got the mode .*; convert it to RGB"
    ):
        read_image(tmp_path / "a.png")


def test_a_cmyk_jpeg_is_refused(tmp_path):
    Image.new("CMYK", (2, 2)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="got the mode CMYK"):
        read_image(tmp_path / "a.jpg")


def short_header():
    """A PNG whose first chunk says that it is too short: Pillow raises a ValueError."""
    content = bytearray(encode("PNG"))
    content[11] -= 1
    return bytes(content)


BROKEN = {
    "empty": b"",
    "text": b"not an image",
    "cut png": encode("PNG")[:-40],
    "cut jpeg": encode("JPEG")[:100],
    "short header": short_header(),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: expected an image, got .*; remove or replace the file"):
        read_image(tmp_path / "a.png")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "a.png"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's own remarks on what it skips
@given(kind=st.sampled_from(["PNG", "JPEG"]), place=st.integers(0, 400), flip=st.integers(1, 255))
def test_any_damage_is_read_or_refused(scratch, kind, place, flip):
    content = bytearray(encode(kind, exif=turned(6)))
    content[place % len(content)] ^= flip
    scratch.write_bytes(content)
    with contextlib.suppress(DataError):
        assert read_image(scratch).shape[2] == 3


def test_other_formats_are_refused_whatever_their_name(tmp_path):
    (tmp_path / "a.png").write_bytes(encode("GIF"))
    with pytest.raises(DataError, match="expected an image, got cannot identify image file"):
        read_image(tmp_path / "a.png")


LABELS = np.array([[0, 3], [7, 200]])


def label_image(mode):
    if mode == "P":
        image = Image.fromarray(LABELS.astype(np.uint8)).convert("P")
        image.putpalette([9, 9, 9] * 256)  # the same colour everywhere: only the indices tell the labels
        return image
    return Image.fromarray(LABELS.astype({"L": np.uint8, "I;16": np.uint16}[mode]))


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_label_maps_are_read_as_they_are(tmp_path, mode):
    label_image(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), LABELS)


def test_a_black_and_white_image_is_a_label_map_of_one_object(tmp_path):
    Image.fromarray(LABELS > 5).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), [[0, 0], [1, 1]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_label_map_in_colours_is_refused(tmp_path, mode):
    Image.new(mode, (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: expected a label map in grey.*, got the mode RGB"):
        read_labels(tmp_path / "a.png")


def test_labels_are_renumbered_in_their_order(tmp_path):
    segmentation, former = renumber(LABELS * 300, tmp_path)
    np.testing.assert_array_equal(segmentation, np.array([[0, 1], [2, 3]], np.uint8), strict=True)
    assert former == [900, 2100, 60000]


def test_without_background_no_object_is_lost(tmp_path):
    np.testing.assert_array_equal(renumber(np.array([[5, 5, 2]]), tmp_path)[0], [[2, 2, 1]])


@pytest.mark.parametrize("objects", [255, 256])
def test_at_most_255_objects(tmp_path, objects):
    labels = np.arange(objects + 1)[None]
    if objects <= 255:
        np.testing.assert_array_equal(renumber(labels, tmp_path)[0], labels)
    else:
        with pytest.raises(DataError, match="expected at most 255 objects, got 256; check that"):
            renumber(labels, tmp_path / "a.png")


def test_provenance_follows_names_and_contents(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / "a.png", folder / "b.png"]
    for path in paths:
        path.write_bytes(path.stem.encode())
    first = files_provenance(folder, paths)
    assert (first["folder"], first["files"]) == ("photos", 2)
    paths[1].write_bytes(b"c")
    changed = files_provenance(folder, paths)
    paths[1] = paths[1].rename(folder / "c.png")
    assert len({str(source["sha256"]) for source in (first, changed, files_provenance(folder, paths))}) == 3


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "c.jpeg"):
        Image.new("RGB", (9, 6)).save(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_images_come_in_the_order_of_their_names(folder):
    assert [path.name for path in find_images(folder)] == ["a.JPG", "b.png", "c.jpeg"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="nowhere: expected a folder, got no such folder; check the path"):
        find_images(tmp_path / "nowhere")


def test_a_folder_without_images(tmp_path):
    (tmp_path / "a.gif").touch()
    with pytest.raises(DataError, match=r"with images in it \(\.png, \.jpg, \.jpeg\), or .* got neither; check"):
        find_images(tmp_path)


def test_two_images_of_one_name(folder):
    Image.new("RGB", (2, 2)).save(folder / "a.png")
    with pytest.raises(DataError, match=r"expected one image of each name, got several \['a'\]; rename them"):
        find_images(folder)
