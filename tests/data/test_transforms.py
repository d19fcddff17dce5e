"""Named crops and resizing."""

import numpy as np
import pytest
from PIL import Image

from emorl.data.transforms import BOXES, crop_box, fit
from emorl.errors import DataError


def coordinates(height, width):
    """Return an image whose pixels contain their position: row, column, 0."""
    row, column = np.indices((height, width))
    return np.stack((row, column % 256, column // 256), axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("crop", "rows", "columns"),
    [
        ("emorl", slice(29, 221), slice(64, 256)),
        ("center", slice(24, 216), slice(64, 256)),
        ("square", slice(0, 240), slice(40, 280)),
    ],
)
def test_crops_of_a_clevr_frame(crop, rows, columns):
    frame = coordinates(240, 320)
    np.testing.assert_array_equal(
        fit(frame, crop, rows.stop - rows.start, Image.Resampling.BICUBIC), frame[rows, columns]
    )


def test_emorl_scales_with_the_frame():
    assert BOXES["emorl"](480, 640) == (128, 58, 512, 442)


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(7, 7, slice(0, 7), slice(0, 7)), (9, 5, slice(2, 7), slice(0, 5)), (5, 9, slice(0, 5), slice(2, 7))],
)
def test_square_is_centered_whichever_side_is_longer(height, width, rows, columns):
    image = coordinates(height, width)
    side = min(height, width)
    np.testing.assert_array_equal(fit(image, "square", side, Image.Resampling.BICUBIC), image[rows, columns])


@pytest.mark.parametrize(("height", "width"), [(5, 8), (8, 5), (6, 8), (7, 7)])
def test_the_box_of_padding_says_where_the_image_is(height, width):
    image = coordinates(height, width) + 1
    left, upper, right, lower = crop_box(height, width, "pad")
    square = fit(image, "pad", right - left, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(square[-upper : height - upper, -left : width - left], image)
    assert right - left == lower - upper == max(height, width)


@pytest.mark.parametrize("crop", ["square", "center", "emorl"])
@pytest.mark.parametrize(("height", "width"), [(120, 160), (240, 320), (480, 640), (768, 1024)])
def test_boxes_are_squares_within_the_frame(crop, height, width):
    left, upper, right, lower = BOXES[crop](height, width)
    assert 0 < right - left == lower - upper
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height


@pytest.mark.parametrize(("height", "width"), [(240, 240), (320, 240), (128, 128)])
def test_emorl_crop_of_another_aspect(height, width):
    with pytest.raises(DataError, match=rf"crop 'emorl': expected CLEVR frames, .* got {height}x{width}; choose"):
        fit(coordinates(height, width), "emorl", 96, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [16, 35, 50])
def test_a_segmentation_keeps_its_labels(size):
    labels = np.random.default_rng(0).choice(np.array([0, 3, 7, 255], np.uint8), (40, 30))
    fitted = fit(labels, "square", size, Image.Resampling.NEAREST)
    assert fitted.shape == (size, size)
    assert fitted.dtype == np.uint8
    assert set(np.unique(fitted)) <= {0, 3, 7, 255}


@pytest.mark.parametrize("crop", ["square", "center", "emorl"])
def test_image_and_segmentation_stay_aligned(crop):
    labels = np.zeros((240, 320), np.uint8)
    labels[100:150, 130:200] = 1
    image = np.repeat(labels[..., None] * 255, 3, axis=-1)
    shown = fit(image, crop, 64, Image.Resampling.BICUBIC)[..., 0] > 127
    assert (shown == (fit(labels, crop, 64, Image.Resampling.NEAREST) == 1)).mean() > 0.98


def test_an_image_of_the_right_size_is_returned_unchanged():
    image = coordinates(35, 35)
    assert np.shares_memory(fit(image, "square", 35, Image.Resampling.BICUBIC), image)


def test_an_image_can_be_enlarged():
    assert (
        fit(np.full((4, 6, 3), 9, np.uint8), "square", 11, Image.Resampling.BICUBIC).tolist() == [[[9] * 3] * 11] * 11
    )
