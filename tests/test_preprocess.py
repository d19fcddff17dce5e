"""Pictures of any kind as input of a trained model."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from emorl import load_pretrained
from emorl.data.transforms import fit
from emorl.errors import DataError
from emorl.preprocess import preprocess

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)


def kinds(tmp_path):
    """Return the same picture as everything that it may be."""
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    pictures = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(PIXELS), PIXELS, PIXELS / 255]
    opaque = Image.fromarray(PIXELS).convert("RGBA")
    return [*pictures, tensor, tensor / 255, (tensor / 255).double(), opaque, PIXELS[None], tensor[None]]


@pytest.mark.parametrize("size", [12, 24])
def test_every_kind_of_picture_becomes_the_same_tensor(tmp_path, size):
    expected = torch.from_numpy(np.array(fit(PIXELS, "square", size, Image.Resampling.BICUBIC))).permute(2, 0, 1) / 255
    pictures = kinds(tmp_path)
    for picture in pictures:
        found = preprocess(picture, size, "square")
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected[None], rtol=0, atol=1e-6)
    assert preprocess(pictures[:9], size, "square").shape == (9, 3, size, size)


def test_floats_of_the_right_size_are_not_rounded():
    images = torch.rand(2, 3, 12, 12)
    assert torch.equal(preprocess(images, 12, "square"), images)


@pytest.mark.parametrize(
    ("crop", "shape", "kept"),
    [
        ("square", (96, 128), r"the crop 'square' of 128x96 pixels keeps columns 16 to 111 and rows 0 to 95"),
        ("center", (20, 20), r"the crop 'center' of 20x20 pixels keeps columns 2 to 17 and rows 2 to 17"),
    ],
)
def test_it_says_what_it_cuts_away(crop, shape, kept):
    picture = np.zeros((*shape, 3), np.uint8)
    model = load_pretrained("tetrominoes")
    for size, fitted in ((12, lambda: preprocess(picture, 12, crop)), (35, lambda: model.preprocess(picture, crop))):
        with pytest.warns(UserWarning, match=kept) as told:
            assert fitted().shape == (1, 3, size, size)
        assert [warning.filename for warning in told] == [__file__]


@pytest.mark.parametrize(
    "bad",
    [
        *(PIXELS.astype(np.int64), PIXELS / 1.0, PIXELS[..., :2], np.zeros((0, 4, 3), np.uint8)),
        *(torch.rand(4, 12, 12), torch.rand(3, 12, 12) - 0.5, np.full((4, 4, 3), np.nan), []),
        Image.new("RGB", (0, 4)),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(bad):
    with pytest.raises(ValueError, match=r"^Expected .*, got .*\.$"):
        preprocess(bad, 12, "square")


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        *(
            ((PIXELS for _ in range(2)), "generator"),
            ({"a.png"}, "set"),
            (io.BytesIO(b""), "BytesIO"),
            (None, "NoneType"),
        ),
        *((b"", "bytes"), ({}.values(), "dict_values"), ([[PIXELS]], "list"), (3, "int")),
    ],
)
def test_an_object_of_another_type_is_refused_with_the_types_that_are_not(bad, kind):
    with pytest.raises(ValueError, match=rf"or a list of them, got picture 0, an object of type {kind}\.$"):
        preprocess(bad, 12, "square")


@pytest.mark.parametrize("shape", [(3, 12, 12), (2, 3, 12, 12), (12, 12)])
def test_a_tensor_without_values_is_refused(shape):
    for tensor in (torch.rand(shape, device="meta"), torch.rand(shape).to_sparse()):
        with pytest.raises(ValueError, match=r"^Expected a dense tensor with values, got picture 0, a tensor \["):
            preprocess(tensor, 12, "square")


def test_transparency_is_refused():
    with pytest.raises(DataError, match="expected an opaque image, got transparent pixels"):
        preprocess(Image.new("RGBA", (4, 4), (0, 0, 0, 9)), 12, "square")


def saved_cases():
    """Return files, by name, that a model cannot take as they are or must rotate."""
    image, exif = Image.fromarray(PIXELS[:12]), Image.Exif()
    exif[0x0112] = 6
    gray = np.full((12, 24), 40000, np.uint16)
    return {
        "turned.png": (image, {"exif": exif}),
        "turned.tiff": (image, {"exif": exif}),
        "turned.jpg": (image, {"exif": exif}),
        "frames.gif": (image, {"save_all": True, "append_images": [Image.new("RGB", (24, 12))]}),
        "deep.png": (Image.fromarray(gray), {}),
        "deep.tiff": (Image.fromarray(gray.astype(np.int32)), {}),
        "float.tiff": (Image.fromarray(np.full((12, 24), 0.5, np.float32)), {}),
        "print.jpg": (image.convert("CMYK"), {}),
        "clear.png": (Image.new("RGBA", (24, 12), (0, 0, 0, 9)), {}),
    }


@pytest.mark.parametrize("name", saved_cases())
def test_a_pil_image_is_taken_or_refused_as_its_file_is(name, tmp_path):
    image, options = saved_cases()[name]
    image.save(tmp_path / name, **options)

    def taken(picture):
        try:
            return preprocess(picture, 12, "pad").tolist()
        except DataError as error:
            return str(error).partition(": ")[2]

    expected = taken(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        assert taken(opened) == taken([opened])
        assert taken(opened) == expected
    assert isinstance(expected, list) == name.startswith("turned")


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "CMYK"])
def test_a_pil_image_of_another_mode_is_refused(mode):
    told = f"^picture 0: expected an RGB or grayscale image, got the mode {mode}; convert it to 8-bit RGB$"
    with pytest.raises(DataError, match=told):
        preprocess(Image.new(mode, (4, 4)), 12, "square")


def test_a_pil_image_whose_file_is_closed_is_refused(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pass
    with pytest.raises(DataError, match=r"^picture 0: expected an image, got .*; open the image again"):
        preprocess(image, 12, "square")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("https://example.org/a.png", "expected a path, got a URL; download the image and give its path"),
        (Path("s3://bucket/a.png"), "expected a path, got a URL; download"),
        ("data:image/png;base64,AAAA", "expected a path, got a URL; download"),
        (".", "got Is a directory; give the files of the folder, as a list"),
        ("missing.png", "got No such file or directory; check the path"),
        ("a.png/b.png", "got Not a directory; check the path"),
        ("~nobody-by-this-name/a.png", "got No such file or directory; check the path"),
    ],
)
def test_a_path_that_cannot_be_read_is_told_with_a_fitting_remedy(path, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PIXELS).save("a.png")
    with pytest.raises(DataError, match=re.escape(told)) as raised:
        preprocess([Image.fromarray(PIXELS), path], 24, "square")
    assert "\n" not in str(raised.value)


def test_a_model_takes_its_own_pictures(tmp_path):
    model = load_pretrained("tetrominoes")
    with torch.inference_mode():
        assert model.reconstruct(model.preprocess(kinds(tmp_path)[0])).masks.shape == (1, 4, 1, 35, 35)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(11, 12, 3), (12, 11, 3), (12, 12, 3), (7, 12, 3)])
def test_a_padded_picture_is_square(shape, dtype):
    assert preprocess(np.zeros(shape, dtype), 12, "pad").shape == (1, 3, 12, 12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1, 255])
def test_a_padded_picture_is_whole(scale):
    """And nothing is said of it."""
    pixels = PIXELS[:12] if scale == 1 else PIXELS[:12] / 255
    (padded,) = preprocess(pixels, 24, "pad")
    torch.testing.assert_close(padded[:, 6:18], torch.from_numpy(PIXELS[:12]).permute(2, 0, 1) / 255)
    assert not padded[:, :6].any()
    assert not padded[:, 18:].any()


def test_an_error_names_the_shape_that_was_given():
    with pytest.raises(ValueError, match=r"float32 of shape \[60, 80, 3\]\."):
        preprocess(torch.zeros(60, 80, 3), 12, "square")
