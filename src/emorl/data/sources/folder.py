"""A folder of images, with or without masks: photographs, renders or another data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.data.folders import find_images
from emorl.data.images import MAX_LABEL, files_provenance, read_image, read_size, renumber
from emorl.data.records import Record, Source
from emorl.data.shards.samples import MAX_PIXELS
from emorl.data.sources.masks import Masks, Survey, require_size
from emorl.data.transforms import Crop, describe_cut, fit
from emorl.errors import DataError

_ONE_SIZE = "give all images one size: a square of N pixels cut out of the middle of each with --size N"


class ImageFolder(Source):
    """A source over the images of a folder, sorted by name.

    Objects have no factors. Labels may have gaps; objects are renumbered consecutively. Without masks everything is
    background. With masks, all masks are read first, to count objects.

    Args:
        images: folder of images in the formats `emorl.data.images.FORMATS`.
        masks: folder that contains for the image `NAME.jpg` either `NAME.png`, a label map in grayscale or with a
            palette (0 is the background), or a folder `NAME` of black and white images, one for each object and none
            for the background, white where the object is. Masks have the size of the upright image.
        size: side of the square images after cropping and resizing, in pixels; without it images are not changed, and
            must all have the size of the first.
        max_objects: maximum number of objects in a scene; by default counted in the masks, or 1 without masks.
        crop: part of each image to keep, see `MultiObjectDataModule`.
        ignore: void label in label maps, such as 255; its pixels become background, also in scores.
        recursive: whether to read subfolders as well; their masks are in subfolders of the same names.

    Attributes:
        survey: statistics of the masks; None without masks.

    Raises:
        DataError: if there are no images, the first image or a mask cannot be read, options are inconsistent, no label
            map contains the label to ignore, or an image has more than `max_objects` objects.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (128, 96)).save(folder / "a.png")
    >>> source = ImageFolder(folder, size=64)
    >>> next(source.records()).image.shape
    (64, 64, 3)
    """

    variant = "folder"  # a folder named like a published data set is not that data set
    factors = ()
    random_access = True

    def __init__(
        self,
        images: str | PathLike[str],
        masks: str | PathLike[str] | None = None,
        size: int | None = None,
        max_objects: int | None = None,
        crop: Crop = "square",
        ignore: int | None = None,
        recursive: bool = False,
    ) -> None:
        self.folder = Path(images)
        self.size = size
        self.crop: Crop = crop
        self.ignore = ignore
        self._check_options(masks, max_objects, recursive)
        self.paths, self._keys, self._left_out = find_images(self.folder, recursive)
        self.masks = None if masks is None else Masks(Path(masks), self._keys, ignore)
        self.dataset = self.folder.resolve().name
        self.image_size = self._image_size()
        self.survey = self._read_masks(max_objects)
        self.max_objects = max_objects or (1 if self.survey is None else max(1, self.survey.most))

    @cached_property
    def provenance(self) -> dict[str, str | int]:
        """Name of the folder, number and checksum of the images and masks, and the options of reading them."""
        masks = () if self.masks is None else self.masks.paths
        options: dict[str, str | int] = {} if self.crop == "square" else {"crop": self.crop}
        if self.ignore is not None:
            options["ignore"] = self.ignore
        return {**files_provenance(self.folder, (*self.paths, *masks)), **options}

    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the scenes from index `start` on.

        Raises:
            DataError: if an image or mask is missing, damaged or of a wrong size.
        """
        return (self._scene(path, key) for path, key in zip(self.paths[start:], self._keys[start:], strict=True))

    def remarks(self) -> Iterator[str]:
        """Yield a line for skipped files, for images that are cut, and for suspicious masks."""
        if self._left_out:
            yield self._left_out
        if self.masks is not None and self.masks.left_out:
            yield self.masks.left_out
        if self.size is not None:
            sizes = Counter(size for path in self.paths if (size := read_size(path)))
            if cut := describe_cut(sizes, self.crop):
                yield f"{self.folder}: {cut}"
        if self.masks is not None and self.survey is not None:
            yield from (f"{self.masks.folder}: {warning}" for warning in self.survey.warnings())

    def _scene(self, path: Path, key: str) -> Record:
        image = read_image(path)
        labels = np.zeros(image.shape[:2], np.uint8) if self.masks is None else self.masks.read(key)[0]
        if self.masks is not None:
            remedy = "save masks in the size of their image"
            require_size(f"{self.masks.folder}: {key}", labels, image.shape[:2], remedy)
        segmentation, objects = renumber(self._crop(labels, f"{path}"), path)
        image = self._crop(image, f"{path}", Image.Resampling.BICUBIC)
        require_size(f"{path}", image, self.image_size, _ONE_SIZE)
        return Record(image, segmentation, [{} for _ in objects])

    def _crop(
        self,
        pixels: UInt8[np.ndarray, "height width *channels"],
        where: str,
        resample: Image.Resampling = Image.Resampling.NEAREST,
    ) -> UInt8[np.ndarray, "new_height new_width *channels"]:
        try:
            return pixels if self.size is None else fit(pixels, self.crop, self.size, resample)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    def _check_options(self, masks: str | PathLike[str] | None, max_objects: int | None, recursive: bool) -> None:
        if max_objects is not None and max_objects > MAX_LABEL:
            got, remedy = f"{max_objects}", "leave it out to count the objects"
            raise DataError.of("max_objects", expected=f"1 to {MAX_LABEL}", got=got, remedy=remedy)
        if self.crop != "square" and self.size is None:
            expected, got = "a size for the crop in pixels", "none"
            raise DataError.of(f"crop {self.crop!r}", expected=expected, got=got, remedy="add --size")
        if self.ignore is not None and masks is None:
            remedy = "add --masks, or leave --ignore out"
            raise DataError.of("ignore", expected="masks with that label", got="no masks", remedy=remedy)
        if masks is not None and recursive and Path(masks).resolve().is_relative_to(self.folder.resolve()):
            expected, got = "a folder outside of the images' folder, which is read recursively", "one inside"
            raise DataError.of(masks, expected=expected, got=got, remedy="move the masks")

    def _image_size(self) -> tuple[int, int]:
        height, width = (self.size, self.size) if self.size else read_image(self.paths[0]).shape[:2]
        if height * width > MAX_PIXELS:
            expected, got = f"images of at most {MAX_PIXELS} pixels", f"{height}x{width}"
            raise DataError.of(self.folder, expected=expected, got=got, remedy="choose a smaller size with --size")
        return height, width

    def _read_masks(self, max_objects: int | None) -> Survey | None:
        if self.masks is None:
            return None
        bar = tqdm(self._keys, "counting objects", unit="image", disable=None, leave=False)
        survey = Survey.of(self.masks, bar, self._crop)
        if max_objects is not None and survey.most > max_objects:
            expected, remedy = f"at most {max_objects} objects in an image", "raise --max_objects, or leave it out"
            raise DataError.of(self.masks.folder, expected=expected, got=f"{survey.most}", remedy=remedy)
        return survey
