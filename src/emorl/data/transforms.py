"""Named crops and resizing: from a stored scene to the model's input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from emorl.errors import DataError

Crop = Literal["square", "center", "emorl", "pad"]
Box = tuple[int, int, int, int]  # left, upper, right, lower


def square_box(height: int, width: int) -> Box:
    """Return the largest centered square.

    >>> square_box(96, 128)
    (16, 0, 112, 96)
    """
    return _centered(height, width, min(height, width))


def center_box(height: int, width: int) -> Box:
    """Return the centered square of 0.8 times the shorter side: rows 24:216 of CLEVR's 240 (ClevrTex, GENESIS).

    >>> center_box(240, 320)
    (64, 24, 256, 216)
    """
    return _centered(height, width, max(1, round(0.8 * min(height, width))))


def emorl_box(height: int, width: int) -> Box:
    """Return rows 29:221 and columns 64:256 of CLEVR's 240x320 frames (EfficientMORL, Slot Attention, IODINE).

    Raises:
        DataError: if the frame is not 4:3.

    >>> emorl_box(240, 320)
    (64, 29, 256, 221)
    """
    if 4 * height != 3 * width:
        raise DataError.of(
            "crop 'emorl'",
            expected="CLEVR frames, 240x320 or another 4:3 size",
            got=f"{height}x{width}",
            remedy="choose the crop 'square', 'center' or 'pad'",
        )
    left, upper, side = (round(edge * height / 240) for edge in (64, 29, 192))
    return left, upper, left + side, upper + side


def pad_box(height: int, width: int) -> Box:
    """Return the smallest square that contains the centered image; edges outside the image are negative or exceed it.

    >>> pad_box(96, 128)
    (0, -16, 128, 112)
    """
    return _centered(height, width, max(height, width))


BOXES: dict[Crop, Callable[[int, int], Box]] = {
    "square": square_box,
    "center": center_box,
    "emorl": emorl_box,
    "pad": pad_box,
}


def crop_box(height: int, width: int, crop: Crop) -> Box:
    """Return the square that a crop takes from a stored image, in its pixels: left, upper, right, lower.

    >>> crop_box(96, 128, "square"), crop_box(96, 128, "pad")
    ((16, 0, 112, 96), (0, -16, 128, 112))

    Raises:
        DataError: if the crop does not apply to images of this size.
        ValueError: if there is no such crop.
    """
    if crop not in list(BOXES):
        raise ValueError(f"Expected one of the crops {', '.join(BOXES)}, got {crop!r}.")
    return BOXES[crop](height, width)


def fit(
    pixels: UInt8[np.ndarray, "height width *channels"], crop: Crop, size: int, resample: Image.Resampling
) -> UInt8[np.ndarray, "size size *channels"]:
    """Crop to a square and resize to ``size`` x ``size``; bicubic for images, nearest for label maps.

    ``pad`` fills with 0: black in images, background in label maps.

    Returns:
        The square image or label map.

    Raises:
        DataError: if the crop does not apply to images of this size.

    >>> fit(np.zeros((96, 128, 3), np.uint8), "square", 64, Image.Resampling.BICUBIC).shape
    (64, 64, 3)
    """
    height, width = pixels.shape[:2]
    left, upper, right, lower = crop_box(height, width, crop)
    inside = pixels[max(0, upper) : lower, max(0, left) : right]
    rows, columns = (max(1, round(side * size / (right - left))) for side in inside.shape[:2])
    if inside.shape[:2] != (rows, columns):
        inside = np.asarray(Image.fromarray(inside).resize((columns, rows), resample))
    if (rows, columns) == (size, size):
        return inside
    square = np.zeros((size, size, *pixels.shape[2:]), np.uint8)
    first_row, first_column = (size - rows) // 2, (size - columns) // 2
    square[first_row : first_row + rows, first_column : first_column + columns] = inside
    return square


def describe_cut(sizes: Mapping[tuple[int, int], int], crop: Crop) -> str:
    """Describe in a sentence what a crop cuts away; empty if it keeps everything.

    Args:
        sizes: number of images of each height and width.
        crop: name of the crop.

    Returns:
        The sentence, or an empty text.

    >>> describe_cut({(96, 128): 2, (64, 64): 3}, "square")
    "the crop 'square' cuts 2 of 5 images, such as one of 96x128 (height x width) to rows 0:96, columns 16:112; \
the crop 'pad' keeps them whole"
    >>> describe_cut({(96, 128): 1}, "square")
    "the crop 'square' cuts the image of 96x128 (height x width) to rows 0:96, columns 16:112; \
the crop 'pad' keeps it whole"
    """
    cut = {}
    for (height, width), number in sizes.items():
        with suppress(DataError):  # reading such an image raises it again
            left, upper, right, lower = crop_box(height, width, crop)
            if left > 0 or upper > 0 or right < width or lower < height:
                cut[(height, width)] = number, f"rows {upper}:{lower}, columns {left}:{right}"
    if not cut:
        return ""
    ((height, width), (_, kept)) = max(cut.items(), key=lambda item: item[1][0])
    number, total = sum(number for number, _ in cut.values()), sum(sizes.values())
    example = f"{height}x{width} (height x width) to {kept}"
    if total == 1:
        return f"the crop {crop!r} cuts the image of {example}; the crop 'pad' keeps it whole"
    which, them = ("such as one", "them") if number > 1 else ("one", "it")
    return f"the crop {crop!r} cuts {number} of {total} images, {which} of {example}; the crop 'pad' keeps {them} whole"


def _centered(height: int, width: int, side: int) -> Box:
    left, upper = (int((edge - side) / 2) for edge in (width, height))  # also if negative, rounded to 0 as in `fit`
    return left, upper, left + side, upper + side
