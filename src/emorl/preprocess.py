"""Preprocessing: from pictures of any kind to the input of a trained model."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from emorl.data.images import pixels_of, read_image
from emorl.data.transforms import Crop, crop_box, fit
from emorl.errors import DataError, warn

Picture = str | PathLike[str] | Image.Image | np.ndarray | Tensor
_URL = re.compile(r"[A-Za-z][\w+.-]+:/|data:")  # with one slash as a Path
_KINDS = "a path, a PIL image, an array [H, W, 3], a tensor [3, H, W], or gray [H, W], 8-bit or float in [0, 1]"


def preprocess(images: Picture | Sequence[Picture], size: int, crop: Crop) -> Float[Tensor, "batch 3 size size"]:
    """Crop and resize pictures like the training images, and warn of what is cut away.

    Args:
        images: a picture, a batch of them as an array [B, H, W, 3] or a tensor [B, 3, H, W], or a list of pictures; an
            array or a tensor [H, W] is a gray picture. A PIL image is converted as a file is: it is rotated
            upright by its EXIF orientation, and has a single frame.
        size: side of the square images, in pixels.
        crop: name of the crop, see `emorl.data.transforms`.

    Returns:
        Images in [0, 1]. Pictures that must be resized are first rounded to 8 bits, like the training images.

    Raises:
        DataError: if a file or a PIL image cannot be used, see `read_image`, or the crop does not apply to a picture.
        ValueError: if a picture has another type, shape or range.

    >>> preprocess([np.zeros((480, 480, 3), np.uint8), torch.rand(3, 64, 64)], size=64, crop="square").shape
    torch.Size([2, 3, 64, 64])
    """
    listed = images if isinstance(images, list | tuple) else _unstacked(images)
    if not listed:
        raise ValueError("Expected at least one picture, got none.")
    return torch.stack([_fitted(image, index, size, crop) for index, image in enumerate(listed)])


def _unstacked(images: Picture | Sequence[Picture]) -> Sequence[Picture]:
    return list(images) if isinstance(images, np.ndarray | Tensor) and images.ndim == 4 else [images]  # type: ignore[list-item]


def _fitted(image: Picture, index: int, size: int, crop: Crop) -> Float[Tensor, "3 size size"]:
    name = str(image) if isinstance(image, str | PathLike) else f"picture {index}"
    pixels = _pixels(image, name)
    height, width = pixels.shape[:2]
    left, upper, right, lower = crop_box(height, width, crop)
    if left > 0 or upper > 0 or right < width or lower < height:
        warn(
            f"{name}: the crop '{crop}' of {width}x{height} pixels keeps columns {left} to {right - 1} and rows "
            f"{upper} to {lower - 1}; the rest is cut away"
        )
    inside = left >= 0 and upper >= 0 and right <= width and lower <= height
    if pixels.dtype != np.uint8 and inside and (right - left, lower - upper) == (size, size):
        square = np.ascontiguousarray(pixels[upper:lower, left:right])
        return torch.from_numpy(square.astype(np.float32)).permute(2, 0, 1)
    eight_bit = pixels if pixels.dtype == np.uint8 else np.rint(pixels * 255).astype(np.uint8)
    square = fit(eight_bit, crop, size, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1) / 255


def _pixels(image: Picture, name: str) -> np.ndarray:
    """Return 8-bit pixels, or floats in [0, 1], [H, W, 3]."""
    if isinstance(image, str | PathLike):
        return _read(os.path.expanduser(image), name)
    if isinstance(image, Image.Image):
        image = pixels_of(image, name)
    if not hasattr(image, "__array__"):
        raise ValueError(f"Expected {_KINDS}, or a list of them, got {name}, an object of type {type(image).__name__}.")
    shape = list(np.shape(image))
    if isinstance(image, Tensor):
        if image.is_meta or image.layout != torch.strided:
            got = f"{name}, a tensor {shape}, {image.layout}, on {image.device}"
            raise ValueError(f"Expected a dense tensor with values, got {got}.")
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
        image = np.moveaxis(image, 0, -1) if image.ndim == 3 else image
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    shaped = pixels.ndim == 3 and pixels.shape[-1] == 3 and pixels.size > 0
    floats = np.issubdtype(pixels.dtype, np.floating)
    if not shaped or not (pixels.dtype == np.uint8 or (floats and pixels.min() >= 0 and pixels.max() <= 1)):
        values = f" in [{pixels.min()}, {pixels.max()}]" if shaped else ""
        raise ValueError(f"Expected {_KINDS}, got {name}, {pixels.dtype} of shape {shape}{values}.")
    return pixels


def _read(path: str, name: str) -> UInt8[np.ndarray, "height width 3"]:
    if _URL.match(path) and not os.path.exists(path):
        raise DataError.of(name, expected="a path", got="a URL", remedy="download the image and give its path")
    return read_image(Path(path))
