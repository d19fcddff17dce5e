"""Pictures of any kind as input of a trained model."""

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
    with pytest.warns(UserWarning, match=kept):
        assert preprocess(np.zeros((*shape, 3), np.uint8), 12, crop).shape == (1, 3, 12, 12)


@pytest.mark.parametrize(
    "bad",
    [
        *(PIXELS.astype(np.int64), PIXELS / 1.0, PIXELS[..., :2], np.zeros((0, 4, 3), np.uint8)),
        *(torch.rand(4, 12, 12), torch.rand(3, 12, 12) - 0.5, np.full((4, 4, 3), np.nan), []),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(bad):
    with pytest.raises(ValueError, match=r"^Expected .*, got .*\.$"):
        preprocess(bad, 12, "square")


def test_transparency_is_refused():
    with pytest.raises(DataError, match="expected an opaque image, got transparency"):
        preprocess(Image.new("RGBA", (4, 4), (0, 0, 0, 9)), 12, "square")


def test_a_model_takes_its_own_pictures(tmp_path):
    model = load_pretrained("tetrominoes")
    with torch.inference_mode():
        assert model.reconstruct(model.preprocess(kinds(tmp_path)[0])).masks.shape == (1, 4, 1, 35, 35)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1, 255])
def test_a_padded_picture_is_whole(scale):
    """And nothing is said of it."""
    pixels = PIXELS[:12] if scale == 1 else PIXELS[:12] / 255
    (padded,) = preprocess(pixels, 24, "pad")
    torch.testing.assert_close(padded[:, 6:18], torch.from_numpy(PIXELS[:12]).permute(2, 0, 1) / 255)
    assert not padded[:, :6].any()
    assert not padded[:, 18:].any()
