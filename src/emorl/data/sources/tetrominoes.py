"""Tetrominoes as DeepMind published them: https://github.com/google-deepmind/multi_object_datasets."""

from collections.abc import Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np

from emorl.data.errors import DataError
from emorl.data.generate.tetrominoes import COLOURS, FACTORS, IMAGE_SIZE, MAX_OBJECTS, SHAPES
from emorl.data.records import Record, Source, Value, file_provenance, label_map
from emorl.data.sources.example import Example, take
from emorl.data.sources.tfrecord import decode_records

_ENTITIES = MAX_OBJECTS + 1
_COLOUR_NAMES = {colour: name for name, colour in COLOURS.items()}


class TetrominoesTFRecords(Source):
    """A source over `tetrominoes_train.tfrecords`, in the order of the file.

    Args:
        path: the file, compressed as published or not.
    """

    dataset = "tetrominoes"
    variant = "standard"
    image_size = IMAGE_SIZE
    max_objects = MAX_OBJECTS
    factors = FACTORS

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)

    @cached_property
    def provenance(self) -> dict[str, str | int]:
        """Name and checksum of the file."""
        return file_provenance(self.path)

    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the records from index `start` on.

        Raises:
            DataError: on a file that is missing, damaged or not one of Tetrominoes.
        """
        return decode_records(self.path, decode, start)


def decode(example: Example) -> Record:
    """Turn a parsed record into ours.

    Raises:
        DataError: if a feature is missing or is not as in Tetrominoes.
    """
    visible = take(example, "visibility", (_ENTITIES,), np.float32) > 0
    masks = take(example, "mask", (_ENTITIES, *IMAGE_SIZE, 1), np.uint8)[..., 0]
    segmentation, entities = label_map(masks, visible)
    factors = _factors(example)
    image = take(example, "image", (*IMAGE_SIZE, 3), np.uint8)
    return Record(image, segmentation, [factors[entity - 1] for entity in entities])


def _factors(example: Example) -> list[dict[str, Value]]:
    """Name shape and colour of the objects, entities 1 to 3."""
    rows, columns, shapes = (take(example, name, (_ENTITIES,), np.float32)[1:] for name in ("x", "y", "shape"))
    colours = take(example, "color", (_ENTITIES, 3), np.float32)[1:]
    return [
        {"x": float(row), "y": float(column), "shape": _shape(shape), "color": _colour(colour)}
        for row, column, shape, colour in zip(rows, columns, shapes, colours, strict=True)
    ]


def _shape(value: np.floating) -> str:
    if value not in range(1, len(SHAPES) + 1):
        raise DataError.of("feature 'shape'", expected="an id of 1 to 19", got=f"{value}", remedy="check the file")
    return SHAPES[int(value) - 1]


def _colour(value: np.ndarray) -> str:
    name = _COLOUR_NAMES.get(tuple(value.tolist()))
    if name is None:
        expected = f"one of {', '.join(COLOURS)}"
        raise DataError.of("feature 'color'", expected=expected, got=f"{value}", remedy="check the file")
    return name
