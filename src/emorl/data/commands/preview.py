"""A contact sheet: scenes with their segmentations, if they have any."""

import itertools
import os

import torch
from jaxtyping import UInt8
from torch import Tensor

from emorl.data.records import Record
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import read_records
from emorl.viz import PAGE, colorize, sheet

SCENES_PER_ROW = 4


def contact_sheet(
    root: str | os.PathLike[str], split: str | None = None, count: int = 16
) -> UInt8[Tensor, "3 height width"]:
    """Arrange the first scenes of a split, each image to the left of its colored segmentation.

    If all of these scenes are background, as without masks, there are only images.
    Rows are labeled with the index of their first scene in the split.

    Args:
        root: folder of the data set: a local path or a URL.
        split: name of the split; by default the first.
        count: maximum number of scenes.

    Returns:
        The picture.

    Raises:
        DataError: if the split does not exist, or the data set is damaged.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.data.write.selection import consecutive
    >>> from emorl.data.write.writer import write_shards
    >>> folder = tempfile.mkdtemp()
    >>> _ = write_shards(consecutive(Tetrominoes(num_scenes=4, seed=0), {"train": 4}), folder)
    >>> contact_sheet(folder, count=4).dtype
    torch.uint8
    """
    manifest = Manifest.load(root)
    name = split or next(iter(manifest.splits), "")
    records = list(itertools.islice(read_records(root, manifest, name), count))
    columns = ["image", "objects"] if any(record.segmentation.any() for record in records) else ["image"]
    tiles = torch.stack([tile for record in records for tile in _tiles(record)[: len(columns)]])
    wide = min(len(columns) * SCENES_PER_ROW, len(tiles))
    missing = -len(tiles) % wide
    filled = torch.cat((tiles, torch.full_like(tiles[:1], PAGE).expand(missing, -1, -1, -1)))
    places = range(0, len(tiles) // len(columns), wide // len(columns))
    return sheet(
        filled.view(-1, wide, *tiles.shape[1:]), columns * (wide // len(columns)), [f"{name} {i}" for i in places]
    )


def _tiles(record: Record) -> tuple[Tensor, Tensor]:
    image = torch.from_numpy(record.image).movedim(-1, 0)
    return image, colorize(torch.from_numpy(record.segmentation))
