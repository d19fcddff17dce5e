"""Shards as a map-style torch data set, for training without Lightning."""

from __future__ import annotations

import io
import operator
import os
import tarfile
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch.utils.data import Dataset, default_collate

from emorl.data.records import Label, checked_labels
from emorl.data.shards.cache import REMEDY, fetch_shard
from emorl.data.shards.manifest import Manifest, Shard
from emorl.data.shards.samples import Sample, read_parts
from emorl.data.transforms import Crop, fit
from emorl.errors import DataError, reason
from emorl.files import is_url
from emorl.ranges import counts, path_like

Places = list[tuple[str, dict[str, tuple[int, int]]]]  # per scene: its key, and offset and size of each member


class Scenes(Dataset[dict[str, Any]]):
    """The scenes of one split, by index: ``scenes[0]``, ``len(scenes)``, or in a `DataLoader` with any workers.

    A scene is a dictionary: ``image`` (uint8, [3, H, W]), ``segmentation`` (uint8, [H, W], 0 is the background),
    ``key`` and ``index``; a `DataLoader` stacks them into batches. With ``labels=("segmentation", "factors")`` it also
    contains ``factors``, a dictionary for each object, where object i of the segmentation is at i - 1. The number of
    objects varies between scenes: with factors, give `collate` to the `DataLoader`, as ``collate_fn=Scenes.collate``.

    Each process verifies the checksum of a shard before its first read. After that, single scenes are read from the
    file by their offset.

    Args:
        root: local folder of shards with its ``manifest.json``, as ``emorl-data`` writes it.
        split: name of the split.
        image_size: side of square images and segmentations, in pixels; by default the stored size.
        crop: crop before resizing, used if ``image_size`` is given; see `MultiObjectDataModule`.
        labels: labels to read in addition to the images; by default the segmentation.

    Raises:
        DataError: if the shards or the split do not exist, or ``labels`` are not labels; on reading a scene, if its
            shard is damaged.
        TypeError: if ``root`` is not a path.
        ValueError: if ``image_size`` is not a whole number of 1 or more; on reading a scene, if there is no such crop.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.data.write.selection import consecutive
    >>> from emorl.data.write.writer import write_shards
    >>> folder = tempfile.mkdtemp()
    >>> _ = write_shards(consecutive(Tetrominoes(num_scenes=4, seed=0), {"train": 4}), folder)
    >>> scenes = Scenes(folder, "train")
    >>> len(scenes), scenes[0]["image"].shape, int(scenes[0]["segmentation"].max())
    (4, torch.Size([3, 35, 35]), 3)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        image_size: int | None = None,
        crop: Crop = "square",
        labels: Sequence[Label] = ("segmentation",),
    ) -> None:
        path_like(root=root)
        if image_size is not None:
            counts(1, image_size=image_size)
        if is_url(root):
            remedy = "copy the folder, or stream it with MultiObjectDataModule"
            raise DataError.of(root, expected="a local folder", got="a URL", remedy=remedy)
        self.root = Path(os.path.expanduser(root))
        self.manifest = Manifest.load(self.root)
        self.shards = self.manifest.split(split, root).shards
        self.image_size = image_size
        self.crop: Crop = self.manifest.crop_left(crop)
        self.labels = checked_labels(labels)
        self._ends = list(accumulate(shard.samples for shard in self.shards))
        self._places: dict[int, Places] = {}  # by shard number

    @staticmethod
    def collate(scenes: list[dict[str, Any]]) -> dict[str, Any]:
        """Return scenes as a batch: stacked tensors, and ``factors`` as a list of one entry for each scene.

        Raises:
            ValueError: if there are no scenes.

        >>> image = torch.zeros(3, 2, 2, dtype=torch.uint8)
        >>> batch = Scenes.collate([{"image": image, "factors": [{"x": 1.0}]}, {"image": image, "factors": []}])
        >>> batch["image"].shape, batch["factors"]
        (torch.Size([2, 3, 2, 2]), [[{'x': 1.0}], []])
        """
        if not scenes:
            raise ValueError("Expected one scene or more, got none.")
        stacked = default_collate([{key: scene[key] for key in scene if key != "factors"} for scene in scenes])
        factors = [scene["factors"] for scene in scenes if "factors" in scene]
        return {**stacked, "factors": factors} if factors else dict(stacked)

    def __len__(self) -> int:
        """Return the number of scenes."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read a scene; a negative index counts from the end."""
        try:
            index = operator.index(index)
        except TypeError as error:
            remedy = "Use torch.utils.data.Subset for several scenes."
            raise TypeError(f"Expected an integer index, got {index!r}. {remedy}") from error
        if not -len(self) <= index < len(self):
            raise IndexError(f"Expected an index of {-len(self)} or more, and below {len(self)}, got {index}.")
        index %= len(self)
        image, segmentation, factors = read_parts(self._sample(index), self.manifest, self.labels)
        scene: dict[str, Any] = {"index": index, "key": self._key(index)}
        if self.image_size is not None:
            image = fit(image, self.crop, self.image_size, Image.Resampling.BICUBIC)
            if segmentation is not None:
                segmentation = fit(segmentation, self.crop, self.image_size, Image.Resampling.NEAREST)
        scene["image"] = torch.from_numpy(image.transpose(2, 0, 1).copy())
        if segmentation is not None:
            scene["segmentation"] = torch.from_numpy(segmentation.copy())
        if factors is not None:
            scene["factors"] = factors
        return scene

    def _locate(self, index: int) -> tuple[Shard, str, dict[str, tuple[int, int]]]:
        number = bisect_right(self._ends, index)
        if number not in self._places:
            self._places[number] = _places(self.root, self.shards[number])
        place = index - (self._ends[number - 1] if number else 0)
        return self.shards[number], *self._places[number][place]

    def _key(self, index: int) -> str:
        return self._locate(index)[1]

    def _sample(self, index: int) -> Sample:
        shard, key, members = self._locate(index)
        path = self.root / shard.name
        sample: dict[str, Any] = {"__key__": key, "__url__": str(path)}
        try:
            with path.open("rb") as stream:
                for name, (start, size) in members.items():
                    stream.seek(start)
                    sample[name] = stream.read(size)
        except OSError as error:
            raise DataError.of(path, expected="a shard", got=reason(error), remedy=REMEDY) from error
        return cast(Sample, sample)


def _places(root: Path, shard: Shard) -> Places:
    """Return the offsets of the scenes in a shard, after comparing it with the manifest."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(fetch_shard(root, shard)), mode="r:") as archive:
            for member in archive:
                key, _, name = member.name.partition(".")
                found.setdefault(key, {})[name] = (member.offset_data, member.size)
    except tarfile.TarError as error:
        where = root / shard.name
        raise DataError.of(where, expected="a tar file of scenes", got=f"{error}", remedy=REMEDY) from error
    members = Sample.__required_keys__ - {"__key__", "__url__"}
    if len(found) != shard.samples or any(sample.keys() != members for sample in found.values()):
        got = f"{len(found)} scenes, or incomplete ones"
        raise DataError.of(root / shard.name, expected=f"{shard.samples} whole scenes", got=got, remedy=REMEDY)
    return list(found.items())
