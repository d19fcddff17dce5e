"""What every study starts from: a trained model, and scenes with all that is known about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from emorl import pretrained
from emorl.cpu import tune_cpu
from emorl.data.records import Objects
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import read_records
from emorl.data.transforms import fit
from emorl.model import Inference
from emorl.module import EfficientMORLModule
from emorl.types import Batch

BATCH = 32


class Scenes(NamedTuple):
    """Scenes as a model sees them, with their truth."""

    image: UInt8[Tensor, "n 3 h w"]  # 0 to 255
    segmentation: UInt8[Tensor, "n h w"]  # 0 = background, i = object i
    factors: list[Objects]  # of each scene: a dictionary for each object, object i at i - 1

    @property
    def checksum(self) -> str:
        """SHA-256 of images and segmentations."""
        digest = sha256(self.image.numpy().data)
        digest.update(self.segmentation.numpy().data)
        return digest.hexdigest()

    def batches(self, size: int = BATCH) -> Iterator[Batch]:
        """Yield all scenes, in batches."""
        return map(self.batch, self.places(size))

    def places(self, size: int = BATCH) -> list[range]:
        """Return the places of the scenes of each batch."""
        total = len(self.image)
        return [range(start, min(start + size, total)) for start in range(0, total, size)]

    def batch(self, places: Sequence[int]) -> Batch:
        """Return the scenes at some places as one batch; an image's index is its place."""
        index = torch.tensor(places)
        return {
            "image": self.image[index],
            "index": index,
            "key": [f"{place}" for place in places],
            "segmentation": self.segmentation[index],
        }


def load_module(model: str) -> EfficientMORLModule:
    """Load a trained model, in evaluation mode, onto the first GPU or else the CPU.

    Args:
        model: path of a checkpoint of ``emorl fit``, or name of shipped weights.

    Raises:
        DataError: if it is neither.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        tune_cpu()
    return pretrained.load_module(model).to(device)


def load_scenes(data: str, module: EfficientMORLModule, split: str = "test", count: int = 320) -> Scenes:
    """Load the first scenes of a split, cropped and resized as the model wants them.

    Args:
        data: folder of shards: a local path or a URL.
        module: the model.
        split: name of the split.
        count: scenes; fewer if the split has fewer.

    Raises:
        DataError: if the data set has no such split, or is damaged.
    """
    images, segmentations, factors = [], [], []
    for record in islice(read_records(data, Manifest.load(data), split), count):
        images.append(fit(record.image, module.crop, module.image_size, Image.Resampling.BICUBIC))
        segmentations.append(fit(record.segmentation, module.crop, module.image_size, Image.Resampling.NEAREST))
        factors.append(record.factors)
    image, segmentation = (torch.from_numpy(np.stack(arrays)) for arrays in (images, segmentations))
    return Scenes(image.movedim(-1, 1).contiguous(), segmentation, factors)


def joined(parts: Sequence[Scenes]) -> Scenes:
    """Return all scenes, one part after another."""
    image, segmentation, factors = zip(*parts, strict=True)
    return Scenes(torch.cat(image), torch.cat(segmentation), list(chain(*factors)))


def infer(
    module: EfficientMORLModule, batch: Batch, steps: int, num_slots: int | None = None, seed: int = 0
) -> Inference:
    """Infer the slots of a batch, without a graph, with the draws of ``emorl test``, or of another seed."""
    image = batch["image"].to(module.device).to(module.network.bottom_up.initial_mean.dtype) / 255
    with torch.no_grad():
        return module.network(image, steps, num_slots, module.test_noise(batch, seed))  # type: ignore[no-any-return]
