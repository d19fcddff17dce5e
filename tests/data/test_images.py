"""Reading image files and label maps, of every mode and orientation."""

import contextlib
import io
import zlib
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from emorl.data.images import FORMATS as FILE_FORMATS
from emorl.data.images import (
    IMAGE_SUFFIXES,
    files_provenance,
    read_image,
    read_labels,
    read_mask,
    read_size,
    renumber,
)
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
def test_gray_becomes_rgb(tmp_path, mode):
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


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, PIXELS), (3, PIXELS[::-1, ::-1]), (6, np.rot90(PIXELS, -1)), (8, np.rot90(PIXELS)), (2, PIXELS[:, ::-1])],
)
def test_exif_orientation_is_applied(tmp_path, kind, orientation, upright):
    (tmp_path / "a.png").write_bytes(encode(kind, exif=turned(orientation)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), upright)
    assert read_size(tmp_path / "a.png") == upright.shape[:2]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", [*range(11), 255])
def test_the_size_is_that_after_exif_rotation(tmp_path, kind, orientation):
    (tmp_path / "a.png").write_bytes(encode(kind, exif=turned(orientation)))
    size = read_image(tmp_path / "a.png").shape[:2]
    assert read_size(tmp_path / "a.png") == size == ((9, 6) if 5 <= orientation <= 8 else (6, 9))


def test_invalid_exif_with_an_orientation_is_applied(tmp_path):
    entries = bytes.fromhex("1201030001000000060000001a010a000100000026000000")  # orientation 6, a signed fraction
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + entries + bytes(4) + b"\xff" * 4 + bytes(4)
    (tmp_path / "a.jpg").write_bytes(encode("JPEG", exif=exif))
    assert read_image(tmp_path / "a.jpg").shape == (9, 6, 3)
    assert read_size(tmp_path / "a.jpg") == (9, 6)


def test_damaged_exif_is_ignored(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert read_image(tmp_path / "a.jpg").shape == (6, 9, 3)


def test_a_16_bit_gray_image_is_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(
        DataError, match=r"a\.png: expected an RGB or grayscale image, got the mode I;16; convert it to"
    ):
        read_image(tmp_path / "a.png")


def picture(mode, alpha=255):
    """An image of `PIXELS` in a mode, with an opacity."""
    image = Image.fromarray(PIXELS)
    if mode == "P":  # with an alpha for each color
        image = image.quantize(16)
        image.info["transparency"] = bytes([alpha] * 16)
        return image
    if mode == "RGB":  # with one color, or none, that is transparent
        image.info["transparency"] = tuple(PIXELS[0, 0].tolist()) if alpha < 255 else (1, 2, 3)
        return image
    if mode in ("RGBA", "LA"):
        image.putalpha(alpha)
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path, mode):
    picture(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(picture(mode).convert("RGBA"))[..., :3])
    picture(mode, alpha=100).save(tmp_path / "a.png")
    with pytest.raises(
        DataError, match=r"a\.png: expected an opaque image, got transparent pixels \(alpha .*\); put it"
    ):
        read_image(tmp_path / "a.png")


FORMATS = {
    "BMP": {},
    "GIF": {},
    "PNG": {},
    "PPM": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
}


@pytest.mark.parametrize(("kind", "options"), FORMATS.items(), ids=FORMATS)
def test_formats_without_loss_are_read_exactly(tmp_path, kind, options):
    image = Image.fromarray(PIXELS // 64 * 64)  # of few colors, for a palette
    (tmp_path / "a.png").write_bytes(encode(kind, image, **options))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_several_frames_are_refused(tmp_path, kind):
    (tmp_path / "a.gif").write_bytes(encode(kind, save_all=True, append_images=[Image.new("RGB", (9, 6))]))
    with pytest.raises(DataError, match=r"a\.gif: expected a single image, got 2 frames; save the frame that you need"):
        read_image(tmp_path / "a.gif")


def test_a_jpeg_with_a_preview_is_read(tmp_path):
    image = Image.new("RGB", (40, 30), (200, 40, 90))
    (tmp_path / "a.jpg").write_bytes(encode("MPO", image, save_all=True, append_images=[image.resize((4, 3))]))
    assert read_image(tmp_path / "a.jpg").shape == (30, 40, 3)


def test_a_cmyk_jpeg_is_refused(tmp_path):
    Image.new("CMYK", (2, 2)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="got the mode CMYK"):
        read_image(tmp_path / "a.jpg")


def short_header():
    """A PNG whose first chunk has a wrong length, for which Pillow raises a ValueError."""
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


SEEDS = [
    *(encode("PNG", picture(mode), exif=turned(6)) for mode in ("RGB", "L", "1", "P", "RGBA")),
    *(encode("JPEG", exif=turned(6), **options) for options in ({}, {"progressive": True})),
    *(encode("WEBP", picture(mode), exif=turned(6)) for mode in ("RGB", "RGBA")),
    *(encode("TIFF", picture("L"), compression=c) for c in (None, "tiff_lzw", "jpeg", "packbits", "tiff_deflate")),
    encode("TIFF", picture("1"), compression="group4"),
    *(encode(kind, Image.fromarray(PIXELS).quantize(16)) for kind in ("GIF", "BMP")),
    encode("PPM"),
]


def damaged(content, random):
    """Change, delete, repeat or truncate bytes of a file, half of the time near its start."""
    content = bytearray(content)
    for _ in range(random.choice((1, 2, 4, 8))):
        place = random.randrange(max(1, min(len(content), random.choice((64, 400, 10**6)))))
        change = random.randrange(5)
        if change == 0:
            content[place : place + 1] = bytes([random.randrange(256)])
        elif change == 1:
            del content[place : place + random.randrange(1, 9)]
        elif change == 2:
            content[place : place + 4] = random.choice((0, 2**31 - 1, 2**32 - 1, 65535)).to_bytes(
                4, random.choice(("big", "little"))
            )
        elif change == 3:
            content[place:place] = content[:4]
        else:
            del content[random.randrange(len(content) + 1) :]
    return bytes(content)


@pytest.mark.parametrize("seed", range(4))
def test_any_bytes_are_read_or_refused_without_output(tmp_path, seed, capfd):
    random, path = Random(seed), tmp_path / "a.png"
    for _ in range(150):
        path.write_bytes(damaged(random.choice(SEEDS), random))
        for read in (read_image, read_labels, read_mask):
            with contextlib.suppress(DataError):
                assert read(path).size
        read_size(path)
    assert capfd.readouterr() == ("", "")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    for side in (9500, 20000):  # Pillow warns of the first, and refuses the second
        content = bytearray(encode("PNG"))
        content[16:24] = side.to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.png: expected an image, got Image size .* exceeds limit"):
            read_image(tmp_path / "a.png")


def test_suffixes_are_those_of_the_formats_that_are_read():
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FILE_FORMATS}
    assert set(IMAGE_SUFFIXES) == known - {".pfm"}  # of floating point


def test_other_formats_are_refused_regardless_of_suffix(tmp_path):
    (tmp_path / "a.png").write_bytes(encode("PCX"))
    with pytest.raises(DataError, match="expected an image, got cannot identify image file"):
        read_image(tmp_path / "a.png")


LABELS = np.array([[0, 3], [7, 200]])


def label_image(mode):
    if mode == "P":
        image = Image.fromarray(LABELS.astype(np.uint8)).convert("P")
        image.putpalette([9, 9, 9] * 256)  # one color: labels are only in the indices
        return image
    if mode == "LA":
        return Image.fromarray(LABELS.astype(np.uint8)).convert("LA")
    return Image.fromarray(LABELS.astype({"L": np.uint8, "I;16": np.uint16}[mode]))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "I;16"])
def test_label_maps_are_read_as_they_are(tmp_path, mode):
    label_image(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), LABELS)


def test_a_black_and_white_image_is_a_label_map_of_one_object(tmp_path):
    Image.fromarray(LABELS > 5).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), [[0, 0], [1, 1]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_label_map_in_colors_is_refused(tmp_path, mode):
    Image.new(mode, (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: expected a label map in gray.*, got the mode RGB"):
        read_labels(tmp_path / "a.png")


def test_a_label_map_in_a_jpeg_is_refused(tmp_path):
    Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: expected a label map .*, got a JPEG, which changes labels; save"):
        read_labels(tmp_path / "a.jpg")


def test_negative_labels_are_refused(tmp_path):
    Image.fromarray(np.array([[0, -3]], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="expected labels of at least 0, got -3; renumber"):
        read_labels(tmp_path / "a.tif")


MASK = np.zeros((32, 32), bool)
MASK[8:24, 4:20] = True


@pytest.mark.parametrize("white", [1, 9, 255])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_a_mask_is_where_pixels_are_above_half(tmp_path, kind, white):
    if kind != "GIF" or white == 255:  # GIF has a palette
        (tmp_path / "a.png").write_bytes(
            encode(kind, Image.fromarray(np.where(MASK, white, white // 3).astype(np.uint8)))
        )
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), MASK)


@pytest.mark.parametrize("colors", [(0, 255), (255, 0)])
def test_a_mask_with_a_palette_is_read_by_its_colors(tmp_path, colors):
    image = Image.fromarray((np.uint8(MASK) * 255 == colors[1]).astype(np.uint8), "L").convert("P")
    image.putpalette([level for color in colors for level in 3 * [color]])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), MASK)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_mask_may_be_compressed_with_loss(tmp_path, kind, mode):
    for mask in (MASK, np.zeros_like(MASK)):
        (tmp_path / "a.jpg").write_bytes(encode(kind, Image.fromarray(np.uint8(mask) * 255).convert(mode), quality=60))
        np.testing.assert_array_equal(read_mask(tmp_path / "a.jpg"), mask)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("RGB", "RGBA", "LA")),
        *(("TIFF", mode) for mode in ("RGB", "RGBA", "LA")),
        *(("BMP", "RGB"), ("PPM", "RGB"), ("WEBP", "RGBA")),
    ],
)
@pytest.mark.parametrize("white", [1, 255])
def test_a_mask_may_be_saved_in_colors_and_with_an_opaque_alpha(tmp_path, kind, mode, white):
    for mask in (MASK, np.zeros_like(MASK)):
        gray = np.uint8(mask) * (255 if kind == "WEBP" else white)
        image = Image.fromarray(gray).convert(mode)
        (tmp_path / "a.png").write_bytes(encode(kind, image))
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), mask)


@pytest.mark.parametrize("read", [read_mask, read_labels])
def test_transparent_masks_and_label_maps_are_refused(tmp_path, read):
    image = Image.fromarray(np.uint8(MASK) * 255).convert("LA")
    image.putalpha(100)
    image.save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: expected an opaque image, got transparent pixels \(alpha 100\)"):
        read(tmp_path / "a.png")


def test_a_mask_of_colors_of_little_difference_is_refused(tmp_path):
    Image.fromarray(np.uint8(MASK)[..., None] * np.uint8([0, 0, 30])).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"expected a black and white mask, got colors"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_mask_of_colors_is_refused(tmp_path, kind):
    (tmp_path / "a.jpg").write_bytes(encode(kind))
    with pytest.raises(DataError, match=r"a\.jpg: expected a black and white mask, got .*; save the mask in black and"):
        read_mask(tmp_path / "a.jpg")


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


def test_provenance_is_the_same_for_any_path_to_the_folder(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    (tmp_path / "link").symlink_to("photos")
    monkeypatch.chdir(tmp_path / "photos")
    folders = [tmp_path / "photos", tmp_path / "link", Path()]
    first, *others = [files_provenance(folder, [folder / "a.png"]) for folder in folders]
    assert others == [first, first]


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
