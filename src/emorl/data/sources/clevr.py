"""CLEVR with masks as DeepMind published it: https://github.com/google-deepmind/multi_object_datasets."""

from collections.abc import Iterator
from os import PathLike

import numpy as np

from emorl.data.generate.clevr_scene import CLASSES, FACTORS, IMAGE_SIZE, MAX_OBJECTS
from emorl.data.records import Objects, Record, label_map
from emorl.data.sources.example import Example, class_name, take
from emorl.data.sources.tfrecord import TFRecordSource

_ENTITIES = MAX_OBJECTS + 1
_NUMBERS = ("x", "y", "z", "rotation")


class ClevrTFRecords(TFRecordSource):
    """A source over `clevr_with_masks_train.tfrecords`, in the order of the file.

    Objects are the entities with non-zero `visibility`, in the file's order. A fully occluded object keeps its factors
    and its label, which then no pixel has.

    Args:
        path: the file, compressed or not.
        max_objects: maximum number of objects in the selected scenes.

    >>> ClevrTFRecords("clevr_with_masks_train.tfrecords", max_objects=6).image_size  # opened when records are read
    (240, 320)
    """

    dataset = "clevr"
    variant = "standard"
    image_size = IMAGE_SIZE
    factors = FACTORS

    def __init__(self, path: str | PathLike[str], max_objects: int = MAX_OBJECTS) -> None:
        super().__init__(path)
        self.max_objects = max_objects

    def decode(self, example: Example) -> Record:
        """Convert a parsed example to a record.

        Raises:
            DataError: if a feature is missing or differs from CLEVR with masks.
        """
        visible = take(example, "visibility", (_ENTITIES,), np.float32) > 0
        masks = take(example, "mask", (_ENTITIES, *IMAGE_SIZE, 1), np.uint8)[..., 0]
        segmentation, entities = label_map(masks, visible)
        image = take(example, "image", (*IMAGE_SIZE, 3), np.uint8)
        return Record(image, segmentation, _factors(example, entities))

    def object_counts(self) -> Iterator[int]:
        """Yield the number of objects of each record, without decoding other features.

        Raises:
            DataError: if the file is missing, damaged or not CLEVR with masks.
        """
        for visibility in self.feature("visibility", (_ENTITIES,), np.float32):
            yield int((visibility[1:] > 0).sum())


def _factors(example: Example, entities: list[int]) -> Objects:
    numbers = {name: take(example, name, (_ENTITIES,), np.float32) for name in _NUMBERS}
    pixels = take(example, "pixel_coords", (_ENTITIES, 3), np.float32)
    numbers |= {f"pixel_{axis}": pixels[:, place] for place, axis in enumerate("xyz")}
    codes = {name: take(example, name, (_ENTITIES,), np.uint8) for name in CLASSES}
    return [
        {name: float(values[entity]) for name, values in numbers.items()}
        | {name: class_name(name, values[entity], CLASSES[name]) for name, values in codes.items()}
        for entity in entities
    ]
