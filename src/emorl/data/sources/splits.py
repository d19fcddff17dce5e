"""The splits of CLEVR that papers use, by the place of a record in the file and its number of objects."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from emorl.errors import DataError


class Preset(NamedTuple):
    """A rule that chooses records for the splits.

    Test scenes are the last ones of the file that match, validation scenes the last ones before them, and training
    scenes the first ones of the file as long as they come before those: no scene is in two splits.

    Attributes:
        objects: numbers of objects in a scene of train and val.
        test_objects: numbers of objects in a scene of test.
        front: train is taken from so many records at the front of the file.
        train: train has at most so many scenes.
        held_out: val and test have so many scenes each.
        records: records in the published file; what is shorter is a piece of it.
    """

    objects: range
    test_objects: range
    front: int
    train: int
    held_out: int = 320
    records: int = 100_000

    @property
    def max_objects(self) -> int:
        """Largest number of objects in a scene of any split."""
        return max(self.objects[-1], self.test_objects[-1])


_SIX, _TEN = range(7), range(11)

PRESETS = {
    "clevr6": Preset(_SIX, _SIX, front=100_000, train=50_000),  # EfficientMORL
    "clevr10": Preset(_TEN, range(7, 11), front=70_000, train=70_000),  # train of Slot Attention, test of EfficientMORL
    "clevr6_slot_attention": Preset(_SIX, _SIX, front=70_000, train=70_000),
}


def choose(preset: Preset, objects: Sequence[int]) -> dict[str, list[int]]:
    """Choose the records of each split; a file shorter than the published one is one test split.

    Args:
        preset: the rule.
        objects: number of objects of each record in the file.

    Returns:
        Indices of the records of each split that has any.

    Raises:
        DataError: if no record matches.
    """
    counts = np.asarray(objects)
    splits = {"test": _matching(counts, preset.test_objects)}
    if len(counts) >= preset.records:
        test = splits["test"][-preset.held_out :]
        val = _matching(counts[: _first(test)], preset.objects)[-preset.held_out :]
        train = _matching(counts[: min(_first(val), preset.front)], preset.objects)[: preset.train]
        splits = {"train": train, "val": val, "test": test}
    if not any(map(len, splits.values())):
        expected = f"scenes of {preset.test_objects[0]} to {preset.test_objects[-1]} objects"
        raise DataError.of("preset", expected=expected, got=f"none in {len(counts)}", remedy="choose another preset")
    return {split: indices.tolist() for split, indices in splits.items() if len(indices)}


def _matching(counts: np.ndarray, numbers: range) -> np.ndarray:
    return np.flatnonzero(np.isin(counts, numbers))


def _first(indices: np.ndarray) -> int:
    return int(indices[0]) if len(indices) else 0
