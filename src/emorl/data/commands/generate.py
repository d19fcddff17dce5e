"""`emorl-data generate`: data sets that are generated instead of downloaded."""

from math import isqrt
from typing import Literal

from jsonargparse.typing import NonNegativeInt, PositiveInt

from emorl.data.commands.common import PROCESSES, SHARD_SIZE, TEST, TRAIN, VAL, write
from emorl.data.generate.clevr import Clevr
from emorl.data.generate.clevr_render import MIN_SIZE, find_blender
from emorl.data.generate.clevr_scene import MAX_OBJECTS, MIN_OBJECTS
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.shards.samples import MAX_PIXELS
from emorl.data.sources.splits import PRESETS
from emorl.data.write.selection import Selection
from emorl.errors import DataError

CLEVR_TRAIN, CLEVR_SHARD_SIZE = NonNegativeInt(15000), PositiveInt(100)  # a shard is rendered within a minute or two

TetrominoesVariant = Literal[
    "standard", "trominoes", "pentominoes", "new_colors", "one_object", "two_objects", "four_objects", "five_objects"
]


def tetrominoes(
    out: str,
    variant: TetrominoesVariant = "standard",
    train: NonNegativeInt = TRAIN,
    val: NonNegativeInt = VAL,
    test: NonNegativeInt = TEST,
    seed: int = 0,
    shard_size: PositiveInt = SHARD_SIZE,
    processes: PositiveInt = PROCESSES,
) -> None:
    """Generate Tetrominoes, three tetrominoes on 35x35 black pixels, like the published ones; no download.

    Args:
        out: Folder of the data set, new or empty. After an interruption the same command resumes.
        variant: As published, or with other shapes, colors or numbers of objects.
        train: Number of training scenes.
        val: Number of validation scenes.
        test: Number of test scenes.
        seed: Seed of the scenes. The same seed gives the same bytes; splits have different scenes.
        shard_size: Scenes in a shard.
        processes: Number of processes that draw. The bytes are the same for any number.

    Example:
        ```console
        emorl-data generate tetrominoes data/tetrominoes
        ```
    """
    sizes = {"train": train, "val": val, "test": test}
    splits = {s: Selection(Tetrominoes(n, seed, s, variant), range(n)) for s, n in sizes.items() if n}
    write(splits, out, shard_size, processes)


def multi_dsprites(
    out: str,
    variant: Literal["colored_on_grayscale", "colored_on_colored", "binarized"] = "colored_on_grayscale",
    train: NonNegativeInt = TRAIN,
    val: NonNegativeInt = VAL,
    test: NonNegativeInt = TEST,
    seed: int = 0,
    shard_size: PositiveInt = SHARD_SIZE,
    processes: PositiveInt = PROCESSES,
) -> None:
    """Generate Multi-dSprites, squares, ellipses and hearts on 64x64 pixels, like the published ones; no download.

    Args:
        out: Folder of the data set, new or empty. After an interruption the same command resumes.
        variant: 2 to 5 colored sprites on gray, 1 to 4 colored ones on a color, or 2 to 3 white ones on black.
        train: Number of training scenes.
        val: Number of validation scenes.
        test: Number of test scenes.
        seed: Seed of the scenes. The same seed gives the same bytes; splits have different scenes.
        shard_size: Scenes in a shard.
        processes: Number of processes that draw. The bytes are the same for any number.

    Example:
        ```console
        emorl-data generate multi_dsprites data/multi_dsprites
        ```
    """
    sizes = {"train": train, "val": val, "test": test}
    splits = {s: Selection(MultiDSprites(n, seed, s, variant), range(n)) for s, n in sizes.items() if n}
    write(splits, out, shard_size, processes)


def clevr(
    out: str,
    preset: Literal["clevr6", "clevr10"] = "clevr6",
    min_objects: PositiveInt | None = None,
    max_objects: PositiveInt | None = None,
    size: PositiveInt | None = None,
    train: NonNegativeInt = CLEVR_TRAIN,
    val: NonNegativeInt = VAL,
    test: NonNegativeInt = TEST,
    seed: int = 0,
    shard_size: PositiveInt = CLEVR_SHARD_SIZE,
    processes: PositiveInt = PROCESSES,
    blender: str | None = None,
) -> None:
    """Render CLEVR with masks in Blender's Cycles, with the factors and codes of the published file; needs no download.

    Needs the environment with bpy that `make blender` creates, or an installed Blender, which is licensed under
    GPL-3.0. A scene of 96x96 pixels takes .5 to .7 s on one core, a whole frame six times as long.

    Args:
        out: Folder of the data set, new or empty. After an interruption the same command resumes where it stopped.
        preset: clevr6, scenes of 3 to 6 objects, or clevr10, of 3 to 10 and for testing of 7 to 10, as in the paper.
        min_objects: Minimum number of objects in a scene of any split, instead of the preset's.
        max_objects: Maximum number of objects in a scene of any split, likewise; at most 10.
        size: Side of square images that show the crop `emorl`, rows 29:221 and columns 64:256 of the frame. Without it
            images are whole frames of 240x320 pixels, as published.
        train: Number of training scenes.
        val: Number of validation scenes.
        test: Number of test scenes.
        seed: Seed of the scenes. The same seed gives the same scenes; splits have different scenes.
        shard_size: Scenes in a shard. After an interruption, each process renders its unfinished shard again.
        processes: Number of processes that render, each on one core.
        blender: A program `blender`, or a Python that has bpy; by default searched for.

    Example:
        ```console
        emorl-data generate clevr data/clevr6-96 --size 96
        ```
    """
    largest = isqrt(MAX_PIXELS)
    if size is not None and not MIN_SIZE <= size <= largest:
        raise DataError.of("--size", expected=f"{MIN_SIZE} to {largest}", got=f"{size}", remedy="choose another size")
    sizes = {"train": train, "val": val, "test": test}
    objects = {split: _objects(preset, split, min_objects, max_objects) for split in sizes}
    found = find_blender(blender)
    splits = {s: Selection(Clevr(n, found, seed, s, objects, size), range(n)) for s, n in sizes.items() if n}
    write(splits, out, shard_size, processes)


def _objects(preset: str, split: str, smallest: int | None, largest: int | None) -> range:
    """Return the numbers of objects in the scenes of a split."""
    numbers = PRESETS[preset].test_objects if split == "test" else PRESETS[preset].objects
    first, last = smallest or max(MIN_OBJECTS, numbers[0]), largest or numbers[-1]
    if not first <= last <= MAX_OBJECTS:
        expected, got = f"min_objects <= max_objects <= {MAX_OBJECTS}", f"{first} and {last} for {split}"
        remedy = "change --min_objects or --max_objects; the preset gives the one that is left out"
        raise DataError.of("objects", expected=expected, got=got, remedy=remedy)
    return range(first, last + 1)
