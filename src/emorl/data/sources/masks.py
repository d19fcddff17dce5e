"""A folder of masks: which file belongs to which image, what it says, and what looks wrong in all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from emorl.data.folders import NAMED, describe_left_out, key_of, list_folder, some
from emorl.data.images import read_labels, read_mask, renumber
from emorl.errors import DataError

VOIDS = (255, 65535)  # labels that data sets give to pixels without a label, the largest of 8 and 16 bits


class Masks:
    """The masks of images: for the key `NAME` a label map `NAME.png`, or masks `NAME/*.png`, one for each object.

    Suffixes are those of images, in any case.

    Args:
        folder: the folder.
        keys: keys of the images.
        ignore: label of pixels without a label in label maps, which become background.

    Attributes:
        paths: the files that belong to images, sorted.
        left_out: what does not, in one line; empty if nothing.

    Raises:
        DataError: if it is no folder.
    """

    def __init__(self, folder: Path, keys: Sequence[str], ignore: int | None = None) -> None:
        self.folder = folder
        self.ignore = ignore
        self._maps: dict[str, list[Path]] = {key: [] for key in keys}
        self._objects: dict[str, list[Path]] = {key: [] for key in keys}
        strays = []
        listing = list_folder(folder, recursive=True)
        for path in listing.images:
            key, parent = key_of(path, folder), path.parent.relative_to(folder).as_posix()
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
        return bool(self._maps[key])

    def read(self, key: str) -> tuple[UInt8[np.ndarray, "height width"], list[int], int]:
        """Return the segmentation of an image, the former labels of its objects, and how many pixels are ignored.

        Raises:
            DataError: if there is none or more than one, or masks are damaged, overlap, differ in size or are of more
                than 255 objects.
        """
        maps, objects = self._maps[key], self._objects[key]
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
            remedy = "add the masks, or for an image without objects a black one"
            raise DataError.of(self.folder / key, expected="binary masks (.png)", got="none", remedy=remedy)
        expected, remedy = f"a label map {key}.png or a folder {key} of binary masks", "check the path and the names"
        raise DataError.of(self.folder, expected=expected, got="neither", remedy=remedy)


class Survey(NamedTuple):
    """What the masks of all images hold.

    Attributes:
        images: number of images.
        objects: objects in all of them.
        most: objects in one of them, at most.
        mapped: objects in label maps.
        tiny: of these, those of a handful of pixels.
        labels: all labels of label maps but the background's.
    """

    images: int
    objects: int
    most: int
    mapped: int
    tiny: int
    labels: tuple[int, ...]

    @classmethod
    def of(cls, masks: Masks, keys: Iterable[str], crop: Callable[[np.ndarray], np.ndarray]) -> Survey:
        """Read the masks of all images.

        Args:
            masks: the masks.
            keys: keys of the images.
            crop: crops a segmentation to what is kept of it.

        Raises:
            DataError: as `Masks.read`, or if no label map has the label that is to be ignored.
        """
        counts, mapped, tiny, labels, void = [], 0, 0, set(), 0
        for key in keys:
            whole, former, ignored = masks.read(key)
            void += ignored
            segmentation = crop(whole)
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
        """Yield what looks wrong, a line each."""
        if 2 * self.tiny > self.mapped:
            yield (
                f"{self.tiny} of {self.mapped} objects in label maps have a handful of pixels: gray levels of an "
                "anti-aliased mask? Resize label maps with nearest neighbor, or give a binary mask for each object."
            )
            return  # gray levels are unevenly spaced, too
        gaps = np.diff((0, *self.labels))
        if len(gaps) > 1 and (void := self.labels[-1]) in VOIDS and np.ptp(gaps) > 1:
            yield (
                f"the label {void} is counted as an object, and labels are unevenly spaced ({_listed(self.labels)}): "
                f"if it marks pixels without a label, add --ignore {void}."
            )


def _listed(labels: Sequence[int]) -> str:
    """Write labels, of many the first ones and the last."""
    return some([*map(str, labels)]) + (f", {labels[-1]}" if len(labels) > NAMED else "")


def _combine(paths: Sequence[Path]) -> Integer[np.ndarray, "height width"]:
    """Number the masks of objects, in the order of their names."""
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
    """Check the height and width of pixels.

    Raises:
        DataError: if they are others.
    """
    if pixels.shape[:2] != size:
        expected, got = (f"{height}x{width} pixels (height x width)" for height, width in (size, pixels.shape[:2]))
        raise DataError.of(where, expected=expected, got=got, remedy=remedy)
