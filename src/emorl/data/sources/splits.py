"""The splits of CLEVR in published papers, by a record's position in the file and its number of objects."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from emorl.errors import DataError


class Preset(NamedTuple):
    """A rule that selects the records of each split.

    Test scenes are the last matching scenes of the file, validation scenes the last matching scenes before them, and
    training scenes the first of the file, as long as they precede the validation scenes. Splits do not overlap.

    Attributes:
        objects: numbers of objects in training and validation scenes.
        test_objects: numbers of objects in test scenes.
        front: number of records at the start of the file from which training scenes are selected.
        train: maximum number of training scenes.
        held_out: number of validation scenes, and of test scenes.
        records: number of records in the published file; a shorter file is a part of it.

    >>> PRESETS["clevr10"].max_objects
    10
    """

    objects: range
    test_objects: range
    front: int
    train: int
    held_out: int = 320
    records: int = 100_000

    @property
    def max_objects(self) -> int:
        """Maximum number of objects in a scene of any split."""
        return max(self.objects[-1], self.test_objects[-1])


_SIX, _TEN = range(7), range(11)

PRESETS = {
    "clevr6": Preset(_SIX, _SIX, front=100_000, train=50_000),  # EfficientMORL
    "clevr10": Preset(_TEN, range(7, 11), front=70_000, train=70_000),  # train: Slot Attention; test: EfficientMORL
    "clevr6_slot_attention": Preset(_SIX, _SIX, front=70_000, train=70_000),
}


def choose(preset: Preset, objects: Sequence[int]) -> dict[str, list[int]]:
    """Select the records of each split; a file shorter than the published one becomes one test split.

    Args:
        preset: the rule.
        objects: number of objects of each record in the file.

    Returns:
        Indices of the records of each non-empty split.

    Raises:
        DataError: if no record matches.

    >>> choose(PRESETS["clevr6"], objects=[3, 9, 6, 5])
    {'test': [0, 2, 3]}
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
