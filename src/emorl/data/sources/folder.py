"""Any folder of images, with or without masks: one's own renders, photographs, another data set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.data.images import files_provenance, find_images, read_image, read_labels, renumber
from emorl.data.records import Record, Source
from emorl.data.shards.samples import MAX_PIXELS
from emorl.data.transforms import fit
from emorl.errors import DataError

_ONE_SIZE = "give all images one size: a square of N pixels cut out of the middle of each with --size N"


class ImageFolder(Source):
    """A source over the PNG and JPEG images of a folder, in the order of their names.

    Objects have no factors. Labels may have gaps: the objects are numbered consecutively. Without masks everything is
    background.

    Args:
        images: the folder of images.
        masks: a folder that has for the image `NAME.jpg` or `NAME.png` either `NAME.png`, a label map in greyscale or
            with a palette, 0 being the background, or a folder `NAME` of PNG images, one for each object and none for
            the background, black where the object is not. Masks have the size of the image, upright as it is seen.
        size: side of the largest centred square of each image after resizing, in pixels; without it the images are
            taken as they are, and must all have the size of the first one.
        max_objects: largest number of objects in a scene; counted in the masks unless given, 1 without masks.

    Raises:
        DataError: if there are no images, the first one cannot be read, or objects have to be counted and masks cannot
            be read.
    """

    variant = "folder"  # whatever its name, it is not the data set of that name
    factors = ()
    random_access = True

    def __init__(
        self,
        images: str | PathLike[str],
        masks: str | PathLike[str] | None = None,
        size: int | None = None,
        max_objects: int | None = None,
    ) -> None:
        self.folder = Path(images)
        self.masks = None if masks is None else Path(masks)
        self.size = size
        self.paths = find_images(self.folder)
        self.dataset = self.folder.resolve().name
        self.image_size = self._image_size()
        self.max_objects = max_objects or self._count_objects()

    @cached_property
    def provenance(self) -> dict[str, str | int]:
        """Name of the folder, number and checksum of the images and masks."""
        masks = () if self.masks is None else sorted(self.masks.rglob("*.png"))
        return files_provenance(self.folder, (*self.paths, *masks))

    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the scenes from index `start` on.

        Raises:
            DataError: on an image or mask that is missing, damaged or of another size.
        """
        return map(self._scene, self.paths[start:])

    def _scene(self, path: Path) -> Record:
        image = read_image(path)
        labels = np.zeros(image.shape[:2], np.uint8) if self.masks is None else read_masks(self.masks, path.stem)
        _require_size(f"{self.masks}: {path.stem}", labels, image.shape[:2], "save masks in the size of their image")
        segmentation, objects = renumber(self._crop(labels, Image.Resampling.NEAREST), path)
        image = self._crop(image, Image.Resampling.BICUBIC)
        _require_size(f"{path}", image, self.image_size, _ONE_SIZE)
        return Record(image, segmentation, [{} for _ in objects])

    def _crop(
        self, pixels: UInt8[np.ndarray, "height width *channels"], resample: Image.Resampling
    ) -> UInt8[np.ndarray, "new_height new_width *channels"]:
        return pixels if self.size is None else fit(pixels, "square", self.size, resample)

    def _image_size(self) -> tuple[int, int]:
        height, width = (self.size, self.size) if self.size else read_image(self.paths[0]).shape[:2]
        if height * width > MAX_PIXELS:
            expected, got = f"images of at most {MAX_PIXELS} pixels", f"{height}x{width}"
            raise DataError.of(self.folder, expected=expected, got=got, remedy="choose a smaller size with --size")
        return height, width

    def _count_objects(self) -> int:
        """Return the largest number of objects that are seen in a scene."""
        if self.masks is None:
            return 1
        bar = tqdm(self.paths, "counting objects", unit="image", disable=None, leave=False)
        maps = (self._crop(read_masks(self.masks, path.stem), Image.Resampling.NEAREST) for path in bar)
        return max(1, *(np.unique(labels[labels > 0]).size for labels in maps))


def read_masks(folder: Path, name: str) -> UInt8[np.ndarray, "height width"]:
    """Return the segmentation of the image of that name: from a label map, or from a folder of binary masks.

    Raises:
        DataError: if there is neither, or masks are damaged, overlap, differ in size or are of more than 255 objects.
    """
    label_map, masks = folder / f"{name}.png", folder / name
    if label_map.is_file():
        return renumber(read_labels(label_map), label_map)[0]
    if masks.is_dir():
        return renumber(_combine(masks), masks)[0]
    expected, remedy = f"a label map {name}.png or a folder {name} of binary masks", "check the path and the names"
    raise DataError.of(folder, expected=expected, got="neither", remedy=remedy)


def _combine(folder: Path) -> Int[np.ndarray, "height width"]:
    """Number the binary masks of a folder, in the order of their names."""
    paths = sorted(folder.glob("*.png"))
    if not paths:
        remedy = "add the masks, or for an image without objects a black one"
        raise DataError.of(folder, expected="binary masks (.png)", got="none", remedy=remedy)
    labels = np.zeros_like(read_labels(paths[0]))
    for number, path in enumerate(paths, start=1):
        mask = read_labels(path) > 0
        _require_size(f"{path}", mask, labels.shape, "save all masks in the size of their image")
        if labels[mask].any():
            remedy = "give each pixel to one object, or convert to label maps"
            raise DataError.of(path, expected="masks that do not overlap", got="a pixel of two objects", remedy=remedy)
        labels[mask] = number
    return labels


def _require_size(where: str, pixels: np.ndarray, size: tuple[int, ...], remedy: str) -> None:
    if pixels.shape[:2] != size:
        expected, got = (f"{height}x{width} pixels (height x width)" for height, width in (size, pixels.shape[:2]))
        raise DataError.of(where, expected=expected, got=got, remedy=remedy)
