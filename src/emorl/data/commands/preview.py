"""A contact sheet: scenes beside their segmentations."""

import itertools
import os

import torch
from jaxtyping import UInt8
from torch import Tensor

from emorl.data.records import Record
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import read_records
from emorl.viz import colourise, grid

TILE = 128  # pixels that a smaller image is enlarged towards, by a whole factor
SCENES_PER_ROW = 4


def contact_sheet(
    root: str | os.PathLike[str], split: str | None = None, count: int = 16
) -> UInt8[Tensor, "3 height width"]:
    """Lay out the first scenes of a split, each image to the left of its coloured segmentation.

    Args:
        root: folder of the data set: a local path or a URL.
        split: name of the split; the first one unless given.
        count: number of scenes; fewer are shown if there are fewer.

    Raises:
        DataError: if the data set has no such split, or is damaged.
    """
    manifest = Manifest.load(root)
    name = split or next(iter(manifest.splits), "")
    records = itertools.islice(read_records(root, manifest, name), count)
    tiles = torch.stack([tile for record in records for tile in _tiles(record)])
    factor = max(1, TILE // max(manifest.image_size))
    enlarged = tiles.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    return grid(enlarged, columns=min(2 * SCENES_PER_ROW, len(tiles)))


def _tiles(record: Record) -> tuple[Tensor, Tensor]:
    image = torch.from_numpy(record.image).movedim(-1, 0)
    return image, colourise(torch.from_numpy(record.segmentation))
