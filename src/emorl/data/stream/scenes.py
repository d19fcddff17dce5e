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
from emorl.data.shards.manifest import Manifest, Shard
from emorl.data.shards.samples import Sample, read_record, read_shard
from emorl.data.stream.plan import Indices
from emorl.data.transforms import Crop, fit
from emorl.types import Batch


class Scene(NamedTuple):
    """One scene, ready for a batch."""

    key: str
    image: UInt8[np.ndarray, "size size 3"]
    segmentation: UInt8[np.ndarray, "label_size label_size"] | None  # None for plain images


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
        cache: local folder that keeps shards from URLs.
    """

    root: str
    manifest: Manifest
    split: str
    crop: Crop
    size: int
    label_size: int
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
                yield from ((index, partial(blank, self.size, self.label_size)) for index in wanted)
            else:
                yield from self._from_shard(number, {index - int(starts[number]): index for index in wanted})

    def _from_shard(self, number: int, wanted: dict[int, int]) -> Iterator[tuple[int, Decode]]:
        for place, sample in enumerate(read_shard(self.root, self.shards[number], self.cache)):
            if place in wanted:
                yield wanted[place], partial(self._decode, sample)

    def _decode(self, sample: Sample) -> Scene:
        record = read_record(sample, self.manifest)
        image = fit(record.image, self.crop, self.size, Image.Resampling.BICUBIC)
        segmentation = fit(record.segmentation, self.crop, self.label_size, Image.Resampling.NEAREST)
        return Scene(sample["__key__"], image, segmentation)


@dataclass(frozen=True)
class ImageReader:
    """Reads plain images.

    Args:
        paths: the image files.
        crop: name of the crop.
        size: side of the square images, in pixels.
    """

    paths: tuple[Path, ...]
    crop: Crop
    size: int

    def __call__(self, indices: Indices) -> Iterator[tuple[int, Decode]]:
        """Open nothing yet."""
        for index in map(int, indices):
            yield index, partial(blank, self.size) if index < 0 else partial(self._decode, self.paths[index])

    def _decode(self, path: Path) -> Scene:
        image = fit(read_image(path), self.crop, self.size, Image.Resampling.BICUBIC)
        return Scene(path.stem, image, None)


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


def collate(scenes: Sequence[tuple[int, Scene]]) -> Batch:
    """Stack scenes to a batch; the images stay 8-bit until they are on the device."""
    images = np.stack([scene.image for _, scene in scenes]).transpose(0, 3, 1, 2)
    batch: Batch = {
        "image": torch.from_numpy(np.ascontiguousarray(images)),
        "index": torch.tensor([index for index, _ in scenes]),
        "key": [scene.key for _, scene in scenes],
    }
    segmentations = [scene.segmentation for _, scene in scenes if scene.segmentation is not None]
    if segmentations:
        batch["segmentation"] = torch.from_numpy(np.stack(segmentations))
    return batch


def blank(size: int, label_size: int | None = None) -> Scene:
    """Return the scene that pads a batch, without a segmentation if that has no size."""
    segmentation = None if label_size is None else np.zeros((label_size, label_size), np.uint8)
    return Scene("", np.zeros((size, size, 3), np.uint8), segmentation)
