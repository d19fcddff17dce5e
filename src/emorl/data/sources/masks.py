"""A folder of masks: matching files to images, reading them, and warnings about suspicious labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np
from jaxtyping import Integer, UInt8

from emorl.data.folders import NAMED, describe_left_out, key_of, list_folder, some
from emorl.data.images import read_labels, read_mask, renumber
from emorl.errors import DataError

VOIDS = (255, 65535)  # common void labels: the maximum of 8 and of 16 bits


class Masks:
    """The masks of images: for the key `NAME` a label map `NAME.png`, or masks `NAME/*.png`, one for each object.

    Files can have any image suffix, in upper or lower case.

    Args:
        folder: the folder.
        keys: keys of the images.
        ignore: void label in label maps, whose pixels become background.

    Attributes:
        paths: the files that belong to images, sorted.
        left_out: one line about other files; empty if there are none.

    Raises:
        DataError: if the path is not a folder.

    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.fromarray(np.array([[0, 7]], np.uint8)).save(folder / "a.png")
    >>> segmentation, labels, _ = Masks(folder, keys=["a"]).read("a")
    >>> segmentation.tolist(), labels
    ([[0, 1]], [7])
    """

    def __init__(self, folder: Path, keys: Sequence[str], ignore: int | None = None) -> None:
        self.folder = folder
        self.ignore = ignore
        self._maps: dict[str, list[Path]] = {_composed(key): [] for key in keys}
        self._objects: dict[str, list[Path]] = {key: [] for key in self._maps}
        strays = []
        listing = list_folder(folder, recursive=True)
        for path in listing.images:
            key, parent = map(_composed, (key_of(path, folder), path.parent.relative_to(folder).as_posix()))
            if key in self._maps:
                self._maps[key].append(path)
            elif parent in self._objects:
                self._objects[parent].append(path)
            else:
                strays.append(path)
        self.paths = sorted(path for found in (self._maps, self._objects) for paths in found.values() for path in paths)
        left_out = describe_left_out(folder, listing, strays)
        self.left_out = left_out and f"{folder}: {left_out}"

    def is_label_map(self, key: str) -> bool:
        """Return whether an image has a label map rather than masks of its objects."""
        return bool(self._maps[_composed(key)])

    def read(self, key: str) -> tuple[UInt8[np.ndarray, "height width"], list[int], int]:
        """Return the segmentation of an image, the original labels of its objects, and the number of void pixels.

        Raises:
            DataError: if the image has no mask or several label maps, or if masks are damaged, overlap, differ in size
                or contain more than 255 objects.
        """
        maps, objects = self._maps[_composed(key)], self._objects[_composed(key)]
        if len(maps) + bool(objects) > 1:
            expected = f"one label map of {key}, or a folder of its masks"
            got = some([path.name for path in (*maps, *objects)])
            raise DataError.of(self.folder, expected=expected, got=got, remedy="remove all but one")
        if maps:
            labels = read_labels(maps[0])
            void = labels == self.ignore
            return *renumber(np.where(void, 0, labels), maps[0]), int(np.sum(void))
        if objects:
            return *renumber(_combine(objects), self.folder / key), 0
        if (self.folder / key).is_dir():
            remedy = "add the masks, or a black mask if the image has no objects"
            raise DataError.of(self.folder / key, expected="binary masks (.png)", got="none", remedy=remedy)
        expected, remedy = f"a label map {key}.png or a folder {key} of binary masks", "check the path and the names"
        raise DataError.of(self.folder, expected=expected, got="neither", remedy=remedy)


class Survey(NamedTuple):
    """Statistics of the masks of all images.

    Attributes:
        images: number of images.
        objects: number of objects in all images.
        most: maximum number of objects in an image.
        mapped: number of objects in label maps.
        tiny: number of objects in label maps that have only a few pixels.
        labels: all labels of label maps except the background's.

    >>> survey = Survey(images=1, objects=2, most=2, mapped=2, tiny=0, labels=(1, 2, 255))
    >>> list(survey.warnings())[0][:42]
    'the label 255 is counted as an object, and'
    """

    images: int
    objects: int
    most: int
    mapped: int
    tiny: int
    labels: tuple[int, ...]

    @classmethod
    def of(cls, masks: Masks, keys: Iterable[str], crop: Callable[[np.ndarray, str], np.ndarray]) -> Survey:
        """Read the masks of all images.

        Args:
            masks: the masks.
            keys: keys of the images.
            crop: function that crops a segmentation, given also its name for error messages.

        Raises:
            DataError: as `Masks.read`, or if no label map contains the label to ignore.
        """
        counts, mapped, tiny, labels, void = [], 0, 0, set(), 0
        for key in keys:
            whole, former, ignored = masks.read(key)
            void += ignored
            segmentation = crop(whole, f"{masks.folder}: {key}")
            seen = np.bincount(segmentation.ravel(), minlength=len(former) + 1)[1:]
            counts.append(int((seen > 0).sum()))
            if masks.is_label_map(key):
                mapped += counts[-1]
                tiny += int(((seen > 0) & (seen <= max(8, segmentation.size // 20000))).sum())
                labels.update(former)
        if masks.ignore is not None and not void:
            known = f"labels are {_listed(sorted(labels))}" if labels else "there is no other label"
            got, remedy = f"{masks.ignore}, which none of them has", f"correct it ({known}), or leave it out"
            raise DataError.of(
                "ignore", expected=f"a label of the label maps in {masks.folder}", got=got, remedy=remedy
            )
        return cls(len(counts), sum(counts), max(counts), mapped, tiny, tuple(sorted(labels)))

    def warnings(self) -> Iterator[str]:
        """Yield a line for each suspicious property."""
        if 2 * self.tiny > self.mapped:
            yield (
                f"{self.tiny} of {self.mapped} objects in label maps have only a few pixels, possibly the gray levels "
                "of an anti-aliased mask. Resize label maps with nearest neighbor, or give a binary mask per object."
            )
            return  # gray levels are also unevenly spaced, which the next check would report
        gaps = np.diff((0, *self.labels))
        if len(gaps) > 1 and (void := self.labels[-1]) in VOIDS and np.ptp(gaps) > 1:
            yield (
                f"the label {void} is counted as an object, and labels are unevenly spaced ({_listed(self.labels)}): "
                f"if it marks pixels without a label, add --ignore {void}."
            )


def _composed(key: str) -> str:
    """Return a key with each accent in one character with its letter; macOS separates them, other systems do not."""
    return normalize("NFC", key)


def _listed(labels: Sequence[int]) -> str:
    """Write labels as text; if there are many, only the first ones and the last."""
    return some([*map(str, labels)]) + (f", {labels[-1]}" if len(labels) > NAMED else "")


def _combine(paths: Sequence[Path]) -> Integer[np.ndarray, "height width"]:
    """Combine the masks of objects to a label map, numbered in the order of their names."""
    labels = np.zeros_like(read_mask(paths[0]), np.int32)
    for number, path in enumerate(paths, start=1):
        mask = read_mask(path)
        require_size(f"{path}", mask, labels.shape, "save all masks in the size of their image")
        if labels[mask].any():
            remedy = "give each pixel to one object, or convert to label maps"
            raise DataError.of(path, expected="masks that do not overlap", got="a pixel of two objects", remedy=remedy)
        labels[mask] = number
    return labels


def require_size(where: str, pixels: np.ndarray, size: tuple[int, ...], remedy: str) -> None:
    """Check the height and width of an array of pixels.

    Raises:
        DataError: if they differ from ``size``.

    >>> require_size("a.png", np.zeros((4, 6)), (4, 6), "resize it")
    """
    if pixels.shape[:2] != size:
        expected, got = (f"{height}x{width} pixels (height x width)" for height, width in (size, pixels.shape[:2]))
        raise DataError.of(where, expected=expected, got=got, remedy=remedy)
