"""Shards to batches: what runs inside a loader's workers."""

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
    """One scene, ready for a batch."""

    key: str
    image: UInt8[np.ndarray, "size size 3"]
    segmentation: UInt8[np.ndarray, "label_size label_size"] | None = None  # None if it was not read
    factors: Objects | None = None  # of each object, object i at i - 1; None likewise
    box: Box = (0, 0, 0, 0)  # of the stored image that the image shows, see `crop_box`; of none if this pads a batch


Decode = Callable[[], Scene]
Read = Callable[[Indices], Iterator[tuple[int, Decode]]]
"""Yields each index in turn with a function that decodes its scene; -1 pads a batch and is not read."""

Plan = Callable[[int], tuple[Indices, Sequence[Indices]]]
"""Gives a worker its indices in storage order, and the order in which to yield them, window by window."""


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
        labels: what is read beside the images; what is not read is not checked either.
        cache: local folder that keeps shards from URLs.

    Raises:
        DataError: if the stored images show another crop already.
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
        """Fetch each shard once, however many of its samples are asked for; twice where its end comes before its start.

        An epoch begins anywhere in a shard, and ends there.
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
    """Reads plain images.

    Args:
        paths: the image files.
        keys: the name of each.
        crop: name of the crop.
        size: side of the square images, in pixels.
    """

    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    crop: Crop
    size: int

    def __call__(self, indices: Indices) -> Iterator[tuple[int, Decode]]:
        """Open nothing yet."""
        for index in map(int, indices):
            yield index, partial(blank, self.size, self.size) if index < 0 else partial(self._decode, index)

    def _decode(self, index: int) -> Scene:
        parts = Parts(read_image(self.paths[index]), None, None)
        try:
            return fitted(self.keys[index], parts, self.crop, self.size, self.size)
        except DataError as error:
            raise DataError(f"{self.paths[index]}: {error}") from error


class SceneStream(IterableDataset[Batch]):
    """Batches of scenes, in the order that a plan gives to each worker.

    Args:
        read: reads scenes by index.
        plan: the order of each worker.
        batch_size: scenes of a batch.
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
            held.clear()  # before the next window is read


def fitted(key: str, parts: Record | Parts, crop: Crop, size: int, label_size: int) -> Scene:
    """Crop and resize a stored scene; arguments as of `ShardReader`.

    Raises:
        DataError: if the crop does not suit the image.
    """
    image, segmentation, factors = parts
    box = crop_box(image.shape[0], image.shape[1], crop)
    image = fit(image, crop, size, Image.Resampling.BICUBIC)
    if segmentation is not None:
        segmentation = fit(segmentation, crop, label_size, Image.Resampling.NEAREST)
    return Scene(key, image, segmentation, factors, box)


def collate(scenes: Sequence[tuple[int, Scene]]) -> Batch:
    """Stack scenes to a batch; the images stay 8-bit until they are on the device."""
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
    """Return the scene that pads a batch: black, with no object."""
    segmentation = np.zeros((label_size, label_size), np.uint8) if "segmentation" in labels else None
    factors: Objects | None = [] if "factors" in labels else None
    return Scene("", np.zeros((size, size, 3), np.uint8), segmentation, factors)
