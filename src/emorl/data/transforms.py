"""Crop and resize, by name: a scene as stored to a scene as the model sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from emorl.errors import DataError

Crop = Literal["square", "center", "emorl"]
Box = tuple[int, int, int, int]  # left, upper, right, lower


def square_box(height: int, width: int) -> Box:
    """Return the largest centred square."""
    return _centred(height, width, min(height, width))


def center_box(height: int, width: int) -> Box:
    """Return the centred square of 0.8 times the shorter side: rows 24:216 of CLEVR's 240 (ClevrTex, GENESIS)."""
    return _centred(height, width, round(0.8 * min(height, width)))


def emorl_box(height: int, width: int) -> Box:
    """Return rows 29:221 and columns 64:256 of CLEVR's 240x320 frames (EfficientMORL, Slot Attention, IODINE).

    Raises:
        DataError: if the frame is not 4:3.
    """
    if 4 * height != 3 * width:
        raise DataError.of(
            "crop 'emorl'",
            expected="CLEVR frames, 240x320 or another 4:3 size",
            got=f"{height}x{width}",
            remedy="choose the crop 'square' or 'center'",
        )
    left, upper, side = (round(edge * height / 240) for edge in (64, 29, 192))
    return left, upper, left + side, upper + side


BOXES: dict[Crop, Callable[[int, int], Box]] = {"square": square_box, "center": center_box, "emorl": emorl_box}


def fit(
    pixels: UInt8[np.ndarray, "height width *channels"], crop: Crop, size: int, resample: Image.Resampling
) -> UInt8[np.ndarray, "size size *channels"]:
    """Crop to a square and resize to ``size`` x ``size``; bicubic for images, nearest for label maps.

    Raises:
        DataError: if the crop does not suit the image.
    """
    height, width = pixels.shape[:2]
    left, upper, right, lower = BOXES[crop](height, width)
    square = pixels[upper:lower, left:right]
    if square.shape[:2] == (size, size):
        return square
    return np.asarray(Image.fromarray(square).resize((size, size), resample))


def _centred(height: int, width: int, side: int) -> Box:
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side
