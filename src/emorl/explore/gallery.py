"""The scenes that the explorer shows, and those that determine the ranges of latent dimensions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from emorl.data.folders import find_images
from emorl.data.generate.generated import GeneratedSource
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.images import read_image
from emorl.data.transforms import fit
from emorl.errors import DataError

SHOWN = 12  # number of scenes that the page offers
STUDIED = 96  # largest number of scenes that determine the range of each latent dimension; the first ones are shown

GENERATORS: dict[int, tuple[str, Callable[..., GeneratedSource]]] = {  # by the side of their images in pixels
    35: ("Tetrominoes", Tetrominoes),
    64: ("Multi-dSprites", MultiDSprites),
}
RENDERED = {96: ("CLEVR6", "clevr6.png")}  # their generator needs Blender: the first test scenes, as tiles of a picture

logger = logging.getLogger(__name__)


class Gallery(NamedTuple):
    """Scenes in a model's input size.

    >>> Gallery("photos", np.zeros((12, 64, 64, 3), np.uint8)).title
    'photos'
    """

    title: str  # title of the data set
    images: UInt8[np.ndarray, "scenes size size 3"]


def example_scenes(size: int, model: str = "model") -> Gallery:
    """Return test scenes of the data set with images of the given side in pixels: generated ones, or stored ones.

    Args:
        size: side of the model's images in pixels.
        model: name of the model, for the error message.

    Raises:
        DataError: if there is no data set of this size.

    >>> gallery = example_scenes(35)
    >>> gallery.title, gallery.images.shape
    ('Tetrominoes', (96, 35, 35, 3))
    """
    if size in RENDERED:
        title, name = RENDERED[size]
        with resources.as_file(resources.files("emorl.explore") / "scenes" / name) as path:
            return Gallery(title, tiles(read_image(path), size))
    if size not in GENERATORS:
        known = ", ".join(f"{side}x{side} ({title})" for side, (title, _) in sorted({**GENERATORS, **RENDERED}.items()))
        remedy = "give a folder of images with --images"
        raise DataError.of(model, expected=f"a model for images of {known}", got=f"{size}x{size}", remedy=remedy)
    title, generator = GENERATORS[size]
    source = generator(num_scenes=STUDIED, split="test")
    return Gallery(title, np.stack([record.image for record in source.records()]))


def tiles(picture: UInt8[np.ndarray, "height width 3"], size: int) -> UInt8[np.ndarray, "scenes size size 3"]:
    """Cut a picture into square tiles, row by row.

    >>> tiles(np.zeros((4, 6, 3), np.uint8), 2).shape
    (6, 2, 2, 3)
    """
    rows, columns = (side // size for side in picture.shape[:2])
    return picture.reshape(rows, size, columns, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)


def from_folder(folder: Path, size: int) -> Gallery:
    """Read a folder of images; each is cropped to its centered square and resized, as the page does with uploads.

    Raises:
        DataError: if there are no images, or one cannot be read.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (128, 96)).save(folder / "a.png")
    >>> from_folder(folder, 64).images.shape
    (1, 64, 64, 3)
    """
    found = find_images(folder)
    if found.left_out:
        logger.warning("%s", found.left_out)
    images = [fit(read_image(path), "square", size, Image.Resampling.BICUBIC) for path in found.paths[:STUDIED]]
    return Gallery(folder.resolve().name, np.stack(images))
