"""The HDF5 files of EfficientMORL's authors, https://zenodo.org/records/4895643, and files of `emorl-data export hdf5`.

A file has one group for each split, `train`, `test` or, in exported files, `val`, with the arrays

    imgs     [N, H, W, C]      0 to 255, as bytes or floats; C is 3, or 1 for gray
    masks    [N, E, H, W, 1]   non-zero where the entity is visible; entity 0 is the background, and each pixel has
                               exactly one entity
    factors  [N, E, columns]   optional: a row for each entity, a column for each factor, one of them `visibility`

A discrete factor is stored as the number of its class, from 1, as in DeepMind's TFRecords. Entities of visibility 0 are
not in the scene; without factors, entities without a pixel are not.

One assumption about the published files is unconfirmed: that `factors` of CLEVR is one array with the columns x, y, z,
rotation, size, material, shape, color and visibility in this order. Its shape and values are checked. The images and
masks of other published files are read without factors. Exported files describe their columns in the attribute `emorl`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
from jaxtyping import Num, UInt8

from emorl.data.generate.clevr_scene import FACTORS
from emorl.data.images import MAX_LABEL
from emorl.data.records import Factor, Record, Source, Value, file_provenance, label_map
from emorl.data.schema import parse
from emorl.errors import DataError, reason

SPLITS = ("train", "val", "test")
CLEVR_COLUMNS = ("x", "y", "z", "rotation", "size", "material", "shape", "color", "visibility")
ATTRIBUTE = "emorl"

_BLOCK = 1 << 28  # maximum number of bytes read at once
_NO_FACTORS = "read only images and masks with --factors false"
_REMEDY = "give one of the authors' files or one that emorl-data export wrote, and fetch it again if it is damaged"


@dataclass(frozen=True)
class Contents:
    """Description of a file's contents that its arrays do not contain.

    Args:
        dataset: name of the data set.
        variant: variant of the data set.
        factors: factors of the objects.
        columns: names of the columns of the array `factors`: the factors and `visibility`.
        crop: the crop that the images show, if not whole frames; earlier versions did not record it.

    >>> PUBLISHED["clevr6"].columns[-1]
    'visibility'
    """

    dataset: str
    variant: str
    factors: tuple[Factor, ...]
    columns: tuple[str, ...]
    crop: str | None = None


_CLEVR_FACTORS = tuple(factor for factor in FACTORS if factor.name in CLEVR_COLUMNS)
_CLEVR = Contents("clevr", "standard", _CLEVR_FACTORS, CLEVR_COLUMNS)
PUBLISHED = {  # by the beginning of the file's name
    "tetrominoes": Contents("tetrominoes", "standard", (), ()),
    "multi_dsprites_colored_on_grayscale": Contents("multi_dsprites", "colored_on_grayscale", (), ()),
    "clevr6": _CLEVR,
    "clevr10": _CLEVR,
}


class HDF5File(Source):
    """A source over the scenes of an HDF5 file, one split after the other.

    The authors' files are identified by the beginning of their published names. For other files, the name of the file
    is the name of the data set.

    Args:
        path: the file.
        factors: whether to read the factors, if the file has them.

    Attributes:
        splits: indices of the scenes of each group.
        left_out: names of other groups and arrays in the file.

    Raises:
        DataError: if the file cannot be read or has a different layout.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "mine.h5")
    >>> with h5py.File(path, "w") as file:
    ...     file["train/imgs"] = np.zeros((5, 8, 8, 3), np.uint8)
    ...     file["train/masks"] = np.ones((5, 1, 8, 8, 1), np.uint8)
    >>> source = HDF5File(path)
    >>> source.dataset, source.image_size, source.splits
    ('mine', (8, 8), {'train': range(0, 5)})
    """

    random_access = True

    def __init__(self, path: str | PathLike[str], factors: bool = True) -> None:
        self.path = Path(path)
        with _open(self.path) as file:
            contents, described = _contents(file, self.path), ATTRIBUTE in file.attrs
            groups = [split for split in SPLITS if split in file]
            self.left_out = [name for name in file if name not in SPLITS]
            has_factors = factors and any(f"{split}/factors" in file for split in groups)
            if has_factors and not contents.columns:
                expected = "factors of known columns, as of the authors' CLEVR files and of exported ones"
                raise DataError.of(self.path, expected=expected, got="unknown columns", remedy=_NO_FACTORS)
            self._columns = contents.columns if has_factors else ()
            masks = [_arrays(file, split, self._columns)[1].shape for split in groups]
        if len({shape[1:] for shape in masks}) != 1:
            expected, got = f"groups of {', '.join(SPLITS)} with masks of one shape", f"groups {groups} with {masks}"
            raise DataError.of(self.path, expected=expected, got=got, remedy=_REMEDY)
        _, entities, height, width, _ = masks[0]
        if not 0 < entities <= MAX_LABEL + 1:
            expected, got = f"masks of 1 to {MAX_LABEL + 1} entities, with the background", f"{entities}"
            raise DataError.of(self.path, expected=expected, got=got, remedy=_REMEDY)
        stops = itertools.accumulate((shape[0] for shape in masks), initial=0)
        self.splits = dict(zip(groups, itertools.starmap(range, itertools.pairwise(stops)), strict=True))
        self.dataset, self.variant, self._crop = contents.dataset, contents.variant, contents.crop
        self.image_size, self.max_objects = (height, width), max(1, entities - 1)
        if self.path.name.startswith("clevr6") and not described:  # even if the file has masks of more
            self.max_objects = min(6, self.max_objects)
        self.factors = contents.factors if has_factors else ()

    @cached_property
    def provenance(self) -> dict[str, str | int]:
        """Name and checksum of the file, and the crop that its images show."""
        return file_provenance(self.path) | ({} if self._crop is None else {"crop": self._crop})

    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the scenes from index `start` on.

        Raises:
            DataError: if the file is damaged or has a different layout.
        """
        with _open(self.path) as file:
            for split, indices in self.splits.items():
                first = max(0, start - indices.start)
                for number, row in enumerate(_rows(_arrays(file, split, self._columns), first), first):
                    try:
                        record = self._record(*row)
                    except DataError as error:
                        raise DataError(f"{self.path}: {split}[{number}]: {error}") from error
                    yield record

    def _record(self, image: np.ndarray, masks: np.ndarray, factors: np.ndarray | None = None) -> Record:
        covered = masks[..., 0] > 0
        columns = {} if factors is None else dict(zip(self._columns, factors.T, strict=True))
        visible = np.asarray(columns["visibility"] > 0 if columns else covered.any(axis=(1, 2)))
        segmentation, entities = label_map(covered.astype(np.uint8), visible)
        objects = [{f.name: _value(f, float(columns[f.name][entity])) for f in self.factors} for entity in entities]
        return Record(_picture(image), segmentation, objects)


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """Open a file, and convert errors of reading it to a `DataError`."""
    try:
        with path.open("rb"):  # its error message is shorter than h5py's
            pass
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError.of(path, expected="a readable HDF5 file", got=reason(error), remedy=_REMEDY) from error


def _contents(file: h5py.File, path: Path) -> Contents:
    """Return the description in a file, or that of the published file of the same name."""
    if ATTRIBUTE in file.attrs:
        where = f"{path}: attribute {ATTRIBUTE}"
        try:
            value = json.loads(file.attrs[ATTRIBUTE])
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError.of(where, expected="JSON", got=f"{error}", remedy=_REMEDY) from error
        contents: Contents = parse(Contents, {"crop": None} | value if isinstance(value, dict) else value, where)
        return contents
    known = (contents for name, contents in PUBLISHED.items() if path.name.startswith(name))
    return next(known, Contents(path.stem, "standard", (), ()))


def _arrays(file: h5py.File, split: str, columns: tuple[str, ...]) -> list[h5py.Dataset]:
    """Return images, masks and, if columns are given, factors of a split."""
    images = _array(file, f"{split}/imgs", "N", "H", "W", "C")
    scenes, height, width, _ = images.shape
    masks = _array(file, f"{split}/masks", scenes, "E", height, width, 1, kinds="uifb")
    if not columns:
        return [images, masks]
    return [images, masks, _array(file, f"{split}/factors", scenes, masks.shape[1], len(columns), remedy=_NO_FACTORS)]


def _array(file: h5py.File, name: str, *shape: int | str, kinds: str = "uif", remedy: str = _REMEDY) -> h5py.Dataset:
    """Return an array after checking its kind of dtype and its shape, in which letters stand for any length."""
    array = file.get(name)
    found = isinstance(array, h5py.Dataset) and array.dtype.kind in kinds
    got = array.shape if found else ()
    if len(got) == len(shape) and all(isinstance(a, str) or a == b for a, b in zip(shape, got, strict=True)):
        return array
    where, expected = f"{file.filename}: {name}", f"numbers of the shape [{', '.join(map(str, shape))}]"
    raise DataError.of(where, expected=expected, got=f"{list(got)}" if found else "no such array", remedy=remedy)


def _rows(arrays: list[h5py.Dataset], first: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the rows from `first` on, read in blocks of a whole chunk, so that each chunk is decompressed once."""
    row = sum(array.dtype.itemsize * math.prod(array.shape[1:]) for array in arrays)
    chunk = max(array.chunks[0] if array.chunks else 1 for array in arrays)
    size = max(1, min(chunk, _BLOCK // max(1, row)))
    for begin in range(first - first % size, len(arrays[0]), size):
        block = [array[begin : begin + size] for array in arrays]
        yield from itertools.islice(zip(*block, strict=True), max(0, first - begin), None)


def _picture(image: Num[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "height width 3"]:
    """Return an image as 8-bit RGB, also if it is gray."""
    channels = image.shape[-1]
    with np.errstate(invalid="ignore"):  # of the conversion
        pixels = image.astype(np.uint8)
    if channels not in (1, 3) or (pixels != image).any():
        expected = "3 channels or 1 of whole numbers from 0 to 255"
        got = f"{channels} of {image.min()} to {image.max()}"
        raise DataError.of("imgs", expected=expected, got=got, remedy=_REMEDY)
    return np.repeat(pixels, 3 // channels, axis=-1)


def _value(factor: Factor, number: float) -> Value:
    """Return a continuous factor unchanged, and for a discrete one the name of its class."""
    if factor.kind == "continuous":
        return number
    if number not in range(1, len(factor.classes) + 1):
        expected = f"a class of 1 to {len(factor.classes)}"
        raise DataError.of(f"factor {factor.name!r}", expected=expected, got=f"{number}", remedy=_NO_FACTORS)
    return factor.classes[int(number) - 1]
