"""Files of images and label maps, and folders of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageOps
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.data.records import file_provenance
from emorl.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_LABEL = 255

_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)


def find_images(folder: Path) -> tuple[Path, ...]:
    """Return the PNG and JPEG files of a folder, sorted by name.

    Raises:
        DataError: if it is no folder, holds none, or two that differ in their suffix alone.
    """
    if not folder.is_dir():
        raise DataError.of(folder, expected="a folder", got="no such folder", remedy="check the path")
    paths = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES))
    if not paths:
        expected = f"a folder with images in it ({', '.join(IMAGE_SUFFIXES)}), or with shards and their manifest.json"
        raise DataError.of(folder, expected=expected, got="neither", remedy="check the path, or convert the images")
    if twins := sorted(stem for stem, count in Counter(path.stem for path in paths).items() if count > 1):
        raise DataError.of(folder, expected="one image of each name", got=f"several {twins}", remedy="rename them")
    return paths


@contextmanager
def open_image(path: Path, modes: Sequence[str], expected: str, remedy: str) -> Iterator[Image.Image]:
    """Open an image of one of Pillow's modes; whatever goes wrong while it is decoded is a `DataError`.

    Args:
        path: the file.
        modes: the modes that are welcome.
        expected: what they are, in words.
        remedy: what to do about an image of another mode.

    Raises:
        DataError: if it is no image, damaged, or of another mode.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            mode = image.mode
            if mode in modes:
                yield image
                return
    except _ERRORS as error:
        got = f"{getattr(error, 'strerror', None) or error}"
        raise DataError.of(path, expected="an image", got=got, remedy="remove or replace the file") from error
    raise DataError.of(path, expected=expected, got=f"the mode {mode}", remedy=remedy)


def read_image(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """Read a picture as 8-bit RGB, turned upright as its EXIF data says.

    Raises:
        DataError: if it is no image, or of a mode whose colours cannot be told, such as transparency.
    """
    with open_image(path, ("RGB", "L", "1"), "an RGB or greyscale image", "convert it to RGB") as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def read_labels(path: Path) -> Integer[np.ndarray, "height width"]:
    """Read a label map: the pixels of a greyscale image of any depth, or the palette indices of a palette image.

    Raises:
        DataError: if it is no image, or one of colours.
    """
    expected, remedy = "a label map in greyscale or with a palette", "save the labels, not their colours, as a PNG"
    with open_image(path, ("L", "P", "I;16", "1"), expected, remedy) as image:
        return np.asarray(image).astype(np.int32)


def renumber(
    labels: Integer[np.ndarray, "height width"], where: Path
) -> tuple[UInt8[np.ndarray, "height width"], list[int]]:
    """Number the objects of a label map consecutively from 1; 0 stays the background.

    Args:
        labels: any labels from 0 on.
        where: the file, for the error.

    Returns:
        The segmentation, and the former labels of its objects in their order.

    Raises:
        DataError: if there are more than 255 objects.
    """
    kept = [int(label) for label in np.unique(labels) if label]
    if len(kept) > MAX_LABEL:
        remedy = "check that the file is a label map with one label for each object"
        raise DataError.of(where, expected=f"at most {MAX_LABEL} objects", got=f"{len(kept)}", remedy=remedy)
    return np.searchsorted([0, *kept], labels).astype(np.uint8), kept


def files_provenance(folder: Path, paths: Sequence[Path]) -> dict[str, str | int]:
    """Return the name of a folder, the number of its files and a checksum of all their names and contents.

    Raises:
        DataError: if a file cannot be read.
    """
    checksum = hashlib.sha256()
    for path in tqdm(paths, "checksum", unit="file", disable=None, leave=False):
        checksum.update(f"{path.parent.name}/{path.name} {file_provenance(path)['sha256']}\n".encode())
    return {"folder": folder.resolve().name, "files": len(paths), "sha256": checksum.hexdigest()}
