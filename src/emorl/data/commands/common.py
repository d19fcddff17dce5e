"""Defaults and final step of the commands that write a data set."""

import os
from collections.abc import Mapping

from jsonargparse.typing import NonNegativeInt, PositiveInt

from emorl.data.write.selection import Selection
from emorl.data.write.writer import SHARD_SIZE as SAMPLES
from emorl.data.write.writer import write_shards
from emorl.errors import printable

TRAIN, VAL, TEST = map(NonNegativeInt, (60000, 320, 320))  # the splits of the paper, and one for validation
SHARD_SIZE, PROCESSES = map(PositiveInt, (SAMPLES, os.cpu_count() or 1))


def write(selections: Mapping[str, Selection], out: str, shard_size: int, processes: int = 1) -> None:
    """Write a data set and print its splits and checksum."""
    manifest = write_shards(selections, out, shard_size, processes)
    splits = ", ".join(f"{split.samples} {name}" for name, split in manifest.splits.items())
    print(printable(f"{out}: {manifest.dataset}, {splits}, manifest checksum {manifest.checksum}"))
