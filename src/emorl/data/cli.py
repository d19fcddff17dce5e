"""`emorl-data`: make, check and look at data sets. A further data set is a further entry of `COMMANDS`."""

import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from jsonargparse.typing import NonNegativeInt, PositiveInt
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.data import shards
from emorl.data.errors import DataError
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.manifest import Manifest
from emorl.data.preview import contact_sheet
from emorl.data.selection import Selection, consecutive
from emorl.data.sources.tetrominoes import TetrominoesTFRecords
from emorl.data.sources.tfrecord import read_records
from emorl.data.writer import SHARD_SIZE, write_shards
from emorl.viz import save_png

_DESCRIPTION = "Make, check and look at data sets of shards."
_TRAIN, _TEST = map(NonNegativeInt, (60000, 320))  # the splits of the paper
_SHARD_SIZE, _COUNT = map(PositiveInt, (SHARD_SIZE, 16))


def generate_tetrominoes(
    out: str,
    train: NonNegativeInt = _TRAIN,
    val: NonNegativeInt = _TEST,
    test: NonNegativeInt = _TEST,
    seed: int = 0,
    shard_size: PositiveInt = _SHARD_SIZE,
) -> None:
    """Generate Tetrominoes, three tetrominoes on 35x35 black pixels, drawn as the published ones; no download needed.

    Args:
        out: Folder of the data set, new or empty. After an interruption the same command goes on where it stopped.
        train: Number of training scenes.
        val: Number of validation scenes.
        test: Number of test scenes.
        seed: Chooses the scenes. The same seed gives the same bytes; each split has scenes of its own.
        shard_size: Samples in a shard.
    """
    sizes = {"train": train, "val": val, "test": test}
    splits = {split: Selection(Tetrominoes(n, seed, split), range(n)) for split, n in sizes.items() if n}
    _write(splits, out, shard_size)


def convert_tetrominoes(
    source: str,
    out: str,
    train: NonNegativeInt | None = None,
    val: NonNegativeInt | None = None,
    test: NonNegativeInt | None = None,
    shard_size: PositiveInt = _SHARD_SIZE,
) -> None:
    """Convert DeepMind's Tetrominoes: the splits are taken from the file in order, first train, then val, then test.

    Unless a split is given they are the paper's, 60000 train and 320 test; a file too short for them is one test split.

    Args:
        source: The file gs://multi-object-datasets/tetrominoes/tetrominoes_train.tfrecords, compressed as it is or not.
        out: Folder of the data set, new or empty. After an interruption the same command goes on where it stopped.
        train: Number of training scenes.
        val: Number of validation scenes.
        test: Number of test scenes.
        shard_size: Samples in a shard.
    """
    given = {"train": train, "val": val, "test": test}
    sizes = {split: samples or 0 for split, samples in given.items()}
    if set(given.values()) == {None}:
        sizes = _paper_splits(Path(source), sizes={"train": _TRAIN, "test": _TEST})
    _write(consecutive(TetrominoesTFRecords(source), sizes), out, shard_size)


def info(folder: str) -> None:
    """Describe a data set.

    Args:
        folder: Folder of the data set: a local path or a URL.
    """
    manifest = Manifest.load(folder)
    height, width = manifest.image_size
    print(f"data set    {manifest.dataset}, variant {manifest.variant}")
    print(f"source      {', '.join(f'{key} {value}' for key, value in manifest.source.items())}")
    print(f"images      {height} x {width} pixels (height x width)")
    print(f"objects     at most {manifest.max_objects}: {manifest.slots} slots with the background's")
    for factor in manifest.factors:
        print(f"factor      {factor.name}, {factor.kind} {' '.join(factor.classes)}".rstrip())
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards) / 1e6
        indices = f"source indices {split.indices[0]} to {split.indices[1] - 1}"
        print(f"split       {name}: {split.samples} samples, {indices}, shards: {len(split.shards)}, {size:.1f} MB")
    print(f"checksum    {manifest.checksum}")


def verify(folder: str) -> int:
    """Check every shard, sample, label and factor of a data set; the exit status is 1 if something is wrong.

    Args:
        folder: Folder of the data set: a local path or a URL.
    """
    problems = shards.verify(folder)
    for problem in problems:
        print(problem)
    print(f"{folder}: {f'{len(problems)} problems' if problems else 'everything is in order'}")
    return 1 if problems else 0


def preview(folder: str, output: str = "preview.png", split: str | None = None, count: PositiveInt = _COUNT) -> None:
    """Draw the first scenes of a data set, each beside its segmentation.

    Args:
        folder: Folder of the data set: a local path or a URL.
        output: PNG file to write.
        split: Name of the split; the first one unless given.
        count: Number of scenes.
    """
    save_png(contact_sheet(folder, split, count), output)
    print(output)


COMMANDS: dict[str, Any] = {
    "generate": {"_help": "Generate a data set.", "tetrominoes": generate_tetrominoes},
    "convert": {"_help": "Convert a published data set.", "tetrominoes": convert_tetrominoes},
    "info": info,
    "verify": verify,
    "preview": preview,
}


def main(args: list[str] | None = None) -> int | None:
    """Run `emorl-data`; errors of data and files are one line on stderr and status 2."""
    try:
        status: int | None = auto_cli(COMMANDS, args=args, prog="emorl-data", description=_DESCRIPTION)
    except (DataError, OSError) as error:
        print(f"emorl-data: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("emorl-data: interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    return status


def _paper_splits(path: Path, sizes: dict[str, int]) -> dict[str, int]:
    """Return the paper's splits if the file is long enough, otherwise all of it as test data."""
    needed = sum(sizes.values())
    records = tqdm(islice(read_records(path), needed), "counting", needed, unit="record", disable=None, leave=False)
    count = sum(1 for _ in records)
    return sizes if count == needed else {"test": count}


def _write(selections: Mapping[str, Selection], out: str, shard_size: int) -> None:
    manifest = write_shards(selections, out, shard_size)
    splits = ", ".join(f"{split.samples} {name}" for name, split in manifest.splits.items())
    print(f"{out}: {manifest.dataset}, {splits}, manifest checksum {manifest.checksum}")
