"""From shards to batches: the code that runs in a loader's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from emorl.data.images import read_image
from emorl.data.records import Label, Objects, Parts, Record
from emorl.data.shards.manifest import Manifest, Shard
from emorl.data.shards.samples import Sample, read_parts, read_shard
from emorl.data.stream.plan import Indices
from emorl.data.transforms import Box, Crop, crop_box, fit
from emorl.errors import DataError
from emorl.types import Batch


class Scene(NamedTuple):
    """One cropped and resized scene.

    >>> Scene("test-00000000", np.zeros((64, 64, 3), np.uint8)).segmentation is None
    True
    """

    key: str
    image: UInt8[np.ndarray, "size size 3"]
    segmentation: UInt8[np.ndarray, "label_size label_size"] | None = None  # None if it was not read
    factors: Objects | None = None  # object i at i - 1; None if they were not read
    box: Box = (0, 0, 0, 0)  # crop of the stored image, see `crop_box`; zeros if the scene pads a batch


Decode = Callable[[], Scene]
Read = Callable[[Indices], Iterator[tuple[int, Decode]]]
"""Yields each index with a function that decodes its scene; -1 pads a batch and is not read."""

Plan = Callable[[int], tuple[Indices, Sequence[Indices]]]
"""Maps a worker to its indices in storage order, and to the shuffled windows in which to yield them."""


@dataclass(frozen=True)
class ShardReader:
    """Reads the scenes of one split.

    Args:
        root: folder of the data set: a local path or a URL.
        manifest: the data set's manifest.
        split: name of the split.
        crop: name of the crop.
        size: side of the square images, in pixels.
        label_size: side of the square segmentations, in pixels.
        labels: labels to read in addition to the images; others are not checked.
        cache: local folder for shards from URLs.

    Raises:
        DataError: if the stored images already show a different crop.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.data.write.selection import consecutive
    >>> from emorl.data.write.writer import write_shards
    >>> folder = tempfile.mkdtemp()
    >>> manifest = write_shards(consecutive(Tetrominoes(num_scenes=2, seed=0), {"test": 2}), folder)
    >>> read = ShardReader(folder, manifest, "test", "square", size=64, label_size=64)
    >>> [(index, decode().image.shape) for index, decode in read(np.array([1]))]
    [(1, (64, 64, 3))]
    """

    root: str
    manifest: Manifest
    split: str
    crop: Crop
    size: int
    label_size: int
    labels: tuple[Label, ...] = ("segmentation",)
    cache: str | None = None

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The split's shards, in storage order."""
        return self.manifest.splits[self.split].shards

    def __call__(self, indices: Indices) -> Iterator[tuple[int, Decode]]:
        """Yield the scenes at ``indices``; each shard is fetched once.

        An epoch can begin in the middle of a shard and end in the same shard, which is then fetched twice.
        """
        starts = np.cumsum([0, *(shard.samples for shard in self.shards)])
        numbers = np.searchsorted(starts, indices, side="right") - 1  # -1 of a padding index
        runs = np.cumsum(np.diff(indices, prepend=indices[:1]) < 0)
        places = zip(runs.tolist(), numbers.tolist(), indices.tolist(), strict=True)
        for (_, number), group in groupby(places, key=lambda place: place[:2]):
            wanted = [index for *_, index in group]
            if number < 0:
                yield from ((index, partial(blank, self.size, self.label_size, self.labels)) for index in wanted)
            else:
                yield from self._from_shard(number, {index - int(starts[number]): index for index in wanted})

    def _from_shard(self, number: int, wanted: dict[int, int]) -> Iterator[tuple[int, Decode]]:
        for place, sample in enumerate(read_shard(self.root, self.shards[number], self.cache)):
            if place in wanted:
                yield wanted[place], partial(self._decode, sample)

    def _decode(self, sample: Sample) -> Scene:
        parts = read_parts(sample, self.manifest, self.labels)
        return fitted(sample["__key__"], parts, self.manifest.crop_left(self.crop), self.size, self.label_size)


@dataclass(frozen=True)
class ImageReader:
    """Reads image files.

    Args:
        paths: the image files.
        keys: key of each image.
        crop: name of the crop.
        size: side of the square images, in pixels.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.png")
    >>> Image.new("RGB", (128, 96)).save(path)
    >>> read = ImageReader((path,), ("a",), "square", size=64)
    >>> [decode().key for _, decode in read(np.array([0]))]
    ['a']
    """

    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    crop: Crop
    size: int

    def __call__(self, indices: Indices) -> Iterator[tuple[int, Decode]]:
        """Yield each index with a function that opens and decodes its image."""
        for index in map(int, indices):
            yield index, partial(blank, self.size, self.size) if index < 0 else partial(self._decode, index)

    def _decode(self, index: int) -> Scene:
        parts = Parts(read_image(self.paths[index]), None, None)
        try:
            return fitted(self.keys[index], parts, self.crop, self.size, self.size)
        except DataError as error:
            raise DataError(f"{self.paths[index]}: {error}") from error


class SceneStream(IterableDataset[Batch]):
    """An iterable data set of batches, in each worker's planned order.

    Args:
        read: reads scenes by index.
        plan: the order of each worker.
        batch_size: scenes per batch.

    >>> def read(indices):
    ...     return ((int(i), lambda: blank(8, 8)) for i in indices)
    >>> stream = SceneStream(read, plan=lambda worker: (np.array([0, 1, 2]), [np.array([2, 0, 1])]), batch_size=2)
    >>> [batch["index"].tolist() for batch in stream]
    [[2, 0], [1]]
    """

    def __init__(self, read: Read, plan: Plan, batch_size: int) -> None:
        self.read = read
        self.plan = plan
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current worker."""
        worker = get_worker_info()
        scenes = self._scenes(0 if worker is None else worker.id)
        while batch := list(islice(scenes, self.batch_size)):
            yield collate(batch)

    def _scenes(self, worker: int) -> Iterator[tuple[int, Scene]]:
        stored, windows = self.plan(worker)
        source = self.read(stored)
        for window in windows:
            held = dict(islice(source, len(window)))
            for index in map(int, window):
                yield index, held[index]()
            held.clear()  # free memory before the next window is read


def fitted(key: str, parts: Record | Parts, crop: Crop, size: int, label_size: int) -> Scene:
    """Crop and resize a stored scene; arguments as in `ShardReader`.

    Returns:
        The scene, as pixels and labels of the requested sizes.

    Raises:
        DataError: if the crop does not apply to images of this size.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> fitted("0", Tetrominoes(num_scenes=1).scene(0), "square", size=64, label_size=35).image.shape
    (64, 64, 3)
    """
    image, segmentation, factors = parts
    box = crop_box(image.shape[0], image.shape[1], crop)
    image = fit(image, crop, size, Image.Resampling.BICUBIC)
    if segmentation is not None:
        segmentation = fit(segmentation, crop, label_size, Image.Resampling.NEAREST)
    return Scene(key, image, segmentation, factors, box)


def collate(scenes: Sequence[tuple[int, Scene]]) -> Batch:
    """Stack scenes with their indices into a batch, of 8-bit images [B, 3, H, W].

    Returns:
        The batch.

    >>> collate([(0, blank(8, 8)), (1, blank(8, 8))])["image"].shape
    torch.Size([2, 3, 8, 8])
    """
    images = np.stack([scene.image for _, scene in scenes]).transpose(0, 3, 1, 2)
    batch: Batch = {
        "image": torch.from_numpy(np.ascontiguousarray(images)),
        "index": torch.tensor([index for index, _ in scenes]),
        "key": [scene.key for _, scene in scenes],
        "box": torch.tensor([scene.box for _, scene in scenes]),
    }
    segmentations = [scene.segmentation for _, scene in scenes if scene.segmentation is not None]
    if segmentations:
        batch["segmentation"] = torch.from_numpy(np.stack(segmentations))
    factors = [scene.factors for _, scene in scenes if scene.factors is not None]
    if factors:
        batch["factors"] = factors
    return batch


def blank(size: int, label_size: int, labels: tuple[Label, ...] = ()) -> Scene:
    """Return the scene that pads a batch: black, without objects.

    >>> blank(8, 8, labels=("segmentation",)).segmentation.shape
    (8, 8)
    """
    segmentation = np.zeros((label_size, label_size), np.uint8) if "segmentation" in labels else None
    factors: Objects | None = [] if "factors" in labels else None
    return Scene("", np.zeros((size, size, 3), np.uint8), segmentation, factors)
