"""`emorl-data generate`: data sets that need no download."""

from typing import Literal

from jsonargparse.typing import NonNegativeInt, PositiveInt

from emorl.data.commands.common import PROCESSES, SHARD_SIZE, TEST, TRAIN, VAL, write
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.write.selection import Selection

TetrominoesVariant = Literal[
    "standard", "trominoes", "pentominoes", "new_colours", "one_object", "two_objects", "four_objects", "five_objects"
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
    """Generate Tetrominoes, three tetrominoes on 35x35 black pixels, drawn as the published ones; no download needed.

    Args:
        out: Folder of the data set, new or empty. After an interruption the same command goes on where it stopped.
        variant: As published, or with other shapes, colours or numbers of objects.
        train: Number of training scenes.
        val: Number of validation scenes.
        test: Number of test scenes.
        seed: Chooses the scenes. The same seed gives the same bytes; each split has scenes of its own.
        shard_size: Samples in a shard.
        processes: Number of processes that draw. The bytes are the same for any number.
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
    """Generate Multi-dSprites, squares, ellipses and hearts on 64x64 pixels, drawn as the published ones; no download.

    Args:
        out: Folder of the data set, new or empty. After an interruption the same command goes on where it stopped.
        variant: 2 to 5 coloured sprites on grey, 1 to 4 coloured ones on a colour, or 2 to 3 white ones on black.
        train: Number of training scenes.
        val: Number of validation scenes.
        test: Number of test scenes.
        seed: Chooses the scenes. The same seed gives the same bytes; each split has scenes of its own.
        shard_size: Samples in a shard.
        processes: Number of processes that draw. The bytes are the same for any number.
    """
    sizes = {"train": train, "val": val, "test": test}
    splits = {s: Selection(MultiDSprites(n, seed, s, variant), range(n)) for s, n in sizes.items() if n}
    write(splits, out, shard_size, processes)
