"""Reading of image, label map and mask files; every failure raises a `DataError`."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL import ExifTags, Image
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.data.records import file_provenance
from emorl.errors import DataError, reason

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm"),
    *(".pnm", ".apng"),
)
MAX_LABEL = 255

_PICTURES = ("RGB", "L", "1", "P", "LA", "PA", "RGBA", "RGBa")  # modes that convert to RGB unambiguously
_LABELS = ("L", "P", "1", "I", "I;16", "I;16B")
_TURNS = {  # transform that makes an image upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REMEDIES = {
    FileNotFoundError: "check the path",
    NotADirectoryError: "check the path",
    IsADirectoryError: "give the files of the folder, as a list",
    PermissionError: "check its permissions",
}
_COLORED = 64  # difference of channels that lossy compression of gray does not reach

T = TypeVar("T")


def read_image(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """Read an image as 8-bit RGB, rotated upright by its EXIF orientation; an opaque alpha channel is dropped.

    Returns:
        Its pixels, 0 to 255.

    Raises:
        DataError: if the file is not an image of `FORMATS`, is damaged, has transparent pixels or several frames, or
            has a mode without an unambiguous conversion to RGB, such as CMYK or 16-bit gray.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "image.png")
    >>> Image.new("L", (4, 3)).save(path)
    >>> read_image(path).shape
    (3, 4, 3)
    """
    return _decode(path, lambda image, _: _rgb(path, image))


def pixels_of(image: Image.Image, where: object) -> UInt8[np.ndarray, "height width 3"]:
    """Return the pixels of a PIL image as `read_image` reads those of a file.

    Args:
        image: the image.
        where: its name in error messages.

    Raises:
        DataError: as `read_image`.

    >>> pixels_of(Image.new("L", (4, 3)), "picture 0").shape
    (3, 4, 3)
    """
    with _reported(where, "open the image again, and use it before its file is closed"):
        return _rgb(where, _upright(where, image)[0])


def read_colors(path: Path, remedy: str) -> UInt8[np.ndarray, "height width 3"]:
    """Read an RGB image and drop its alpha channel, for data sets whose alpha channel carries no information.

    Args:
        path: the file.
        remedy: advice in the error message.

    Returns:
        Its pixels, 0 to 255.

    Raises:
        DataError: if the file is not such an image.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "image.png")
    >>> Image.new("RGBA", (4, 3)).save(path)
    >>> read_colors(path, "unpack the archive again").shape
    (3, 4, 3)
    """

    def take(image: Image.Image, _: str) -> np.ndarray:
        _require_mode(path, image, ("RGB", "RGBA"), "an RGB image", remedy)
        return np.asarray(image.convert("RGB"))

    return _decode(path, take)


def read_labels(path: Path) -> Integer[np.ndarray, "height width"]:
    """Read a label map: the pixels of a grayscale image of any depth, or the palette indices of a palette image.

    Returns:
        The label of each pixel.

    Raises:
        DataError: if the file is not an image, is a JPEG, a color image or transparent, or has negative labels.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "labels.png")
    >>> Image.fromarray(np.array([[0, 7]], np.uint8)).save(path)
    >>> read_labels(path).tolist()
    [[0, 7]]
    """

    def take(image: Image.Image, kind: str) -> np.ndarray:
        expected, remedy = "a label map in grayscale or with a palette", "save the labels, not their colors, as a PNG"
        if kind == "JPEG":
            raise DataError.of(path, expected=expected, got="a JPEG, which changes labels", remedy=remedy)
        return _labels(path, image, expected, remedy)

    return _decode(path, take)


def read_mask(path: Path) -> Bool[np.ndarray, "height width"]:
    """Read the mask of one object: pixels above half of the largest value belong to it.

    In JPEG and WebP, which may be lossy, the threshold is half of white. A mask may be saved as RGB or with a palette
    if all colors are gray, and with an opaque alpha channel.

    Returns:
        Whether each pixel belongs to the object.

    Raises:
        DataError: if the file is not an image, or is a color image or transparent.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "mask.png")
    >>> Image.fromarray(np.array([[0, 255]], np.uint8)).save(path)
    >>> read_mask(path).tolist()
    [[False, True]]
    """

    def take(image: Image.Image, kind: str) -> np.ndarray:
        expected, remedy = "a black and white mask", "save the mask in black and white, as a PNG"
        lossy = kind in ("JPEG", "WEBP")
        if image.mode in _LABELS and image.mode != "P" and not lossy:  # the indices of a palette may be in any order
            labels = _labels(path, image, expected, remedy)
            return np.asarray(labels > labels.max() / 2)
        _require_mode(path, image, _PICTURES, expected, remedy)
        pixels = _opaque(path, image)
        if np.ptp(pixels, axis=-1).max() > (_COLORED if lossy else 0):
            raise DataError.of(path, expected=expected, got="colors", remedy=remedy)
        gray = pixels[..., 1]
        return np.asarray(gray > (127 if lossy else gray.max() / 2))

    return _decode(path, take)


def read_size(path: Path) -> tuple[int, int] | None:
    """Return height and width of an image after its EXIF rotation, from its header; None if it cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "image.png")
    >>> Image.new("L", (4, 3)).save(path)
    >>> read_size(path)
    (3, 4)
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            turned = image.format != "TIFF" and 5 <= _orientation(image) <= 8  # Pillow already rotates TIFF
            return (width, height) if turned else (height, width)
    except Exception:  # decoders raise errors of any class; reading the image reports them
        return None


def renumber(
    labels: Integer[np.ndarray, "height width"], where: Path
) -> tuple[UInt8[np.ndarray, "height width"], list[int]]:
    """Number the objects of a label map consecutively from 1; 0 remains the background.

    Args:
        labels: non-negative labels.
        where: the file, for error messages.

    Returns:
        The segmentation, and the original labels of its objects in order.

    Raises:
        DataError: if there are more than 255 objects.

    >>> renumber(np.array([[0, 7, 300]]), Path("labels.png"))
    (array([[0, 1, 2]], dtype=uint8), [7, 300])
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

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.png")
    >>> path.touch()
    >>> files_provenance(path.parent, [path])["files"]
    1
    """
    checksum = hashlib.sha256()
    for path in tqdm(paths, "checksum", unit="file", disable=None, leave=False):
        parent = path.parent.resolve().name  # the same for any path to the folder
        checksum.update(os.fsencode(f"{parent}/{path.name} {file_provenance(path)['sha256']}\n"))
    return {"folder": folder.resolve().name, "files": len(paths), "sha256": checksum.hexdigest()}


def _decode(path: Path, take: Callable[[Image.Image, str], T]) -> T:
    """Call ``take`` with the only image of a file, rotated upright, and the name of its format; return its result.

    Raises:
        DataError: on any failure.
    """
    with _reported(path, "remove or replace the file"):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as image:
            return take(*_upright(path, image))


@contextmanager
def _reported(where: object, remedy: str) -> Iterator[None]:
    """Report every failure as a `DataError`, and no warnings.

    On damaged files, Pillow's decoders raise errors of any class, and warnings that do not name the file.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except DataError:
        raise
    except Exception as error:
        remedy = next((advice for kind, advice in _REMEDIES.items() if isinstance(error, kind)), remedy)
        raise DataError.of(where, expected="an image", got=reason(error), remedy=remedy) from error


def _upright(where: object, image: Image.Image) -> tuple[Image.Image, str]:
    """Return an image with a single frame, rotated upright, and the name of its format."""
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # a JPEG with a preview after it
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and kind != "JPEG":
        got, remedy = f"{frames} frames", "save the frame that you need as an image"
        raise DataError.of(where, expected="a single image", got=got, remedy=remedy)
    with _quiet_libtiff(kind):
        image.load()
    turn = _TURNS.get(_orientation(image))
    return (image if turn is None else image.transpose(turn)), kind


@contextmanager
def _quiet_libtiff(kind: str) -> Iterator[None]:
    """Discard the messages that libtiff writes directly to stderr; the raised error reports the damage."""
    if kind != "TIFF":
        yield
        return
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1, which is upright, if it is missing or damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _rgb(where: object, image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """Return the pixels of an image whose mode has an unambiguous conversion to RGB."""
    _require_mode(where, image, _PICTURES, "an RGB or grayscale image", "convert it to 8-bit RGB")
    return _opaque(where, image)


def _opaque(where: object, image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """Return the colors of an image without transparent pixels."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if (lowest := image.getchannel("A").getextrema()[0]) != 255:
            got, remedy = f"transparent pixels (alpha {lowest})", "put it on a background and save it as RGB"
            raise DataError.of(where, expected="an opaque image", got=got, remedy=remedy)
    return np.asarray(image.convert("RGB"))


def _labels(path: Path, image: Image.Image, expected: str, remedy: str) -> np.ndarray:
    if image.mode == "LA":
        return _opaque(path, image)[..., 1].astype(np.int32)
    _require_mode(path, image, _LABELS, expected, remedy)
    labels = np.asarray(image).astype(np.int32)
    if labels.min() < 0:
        raise DataError.of(path, expected="labels of at least 0", got=f"{labels.min()}", remedy="renumber the labels")
    return labels


def _require_mode(where: object, image: Image.Image, modes: Sequence[str], expected: str, remedy: str) -> None:
    if image.mode not in modes:
        raise DataError.of(where, expected=expected, got=f"the mode {image.mode}", remedy=remedy)
