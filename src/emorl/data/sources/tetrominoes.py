"""Tetrominoes as DeepMind published them: https://github.com/google-deepmind/multi_object_datasets."""

import numpy as np

from emorl.data.generate.tetrominoes import COLORS, FACTORS, IMAGE_SIZE, MAX_OBJECTS, SHAPES
from emorl.data.records import Objects, Record, label_map
from emorl.data.sources.example import Example, class_name, take
from emorl.data.sources.tfrecord import TFRecordSource
from emorl.errors import DataError

_ENTITIES = MAX_OBJECTS + 1
_COLOR_NAMES = {color: name for name, color in COLORS.items()}


class TetrominoesTFRecords(TFRecordSource):
    """A source over `tetrominoes_train.tfrecords`, in the order of the file.

    Args:
        path: the file, compressed or not.

    >>> TetrominoesTFRecords("tetrominoes_train.tfrecords").image_size  # opened when records are read
    (35, 35)
    """

    dataset = "tetrominoes"
    variant = "standard"
    image_size = IMAGE_SIZE
    max_objects = MAX_OBJECTS
    factors = FACTORS

    def decode(self, example: Example) -> Record:
        """Convert a parsed example to a record.

        Raises:
            DataError: if a feature is missing or differs from Tetrominoes.
        """
        visible = take(example, "visibility", (_ENTITIES,), np.float32) > 0
        masks = take(example, "mask", (_ENTITIES, *IMAGE_SIZE, 1), np.uint8)[..., 0]
        rows, columns, shapes = (take(example, name, (_ENTITIES,), np.float32) for name in ("x", "y", "shape"))
        colors = take(example, "color", (_ENTITIES, 3), np.float32)
        segmentation, entities = label_map(masks, visible)
        factors: Objects = [
            {
                "x": float(rows[entity]),
                "y": float(columns[entity]),
                "shape": class_name("shape", shapes[entity], SHAPES),
                "color": _color(colors[entity]),
            }
            for entity in entities
        ]
        return Record(take(example, "image", (*IMAGE_SIZE, 3), np.uint8), segmentation, factors)


def _color(value: np.ndarray) -> str:
    name = _COLOR_NAMES.get(tuple(value.tolist()))
    if name is None:
        expected = f"one of {', '.join(COLORS)}"
        raise DataError.of("feature 'color'", expected=expected, got=f"{value}", remedy="check the file")
    return name
