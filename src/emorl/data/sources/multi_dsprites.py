"""Multi-dSprites as DeepMind published it: https://github.com/google-deepmind/multi_object_datasets."""

from os import PathLike

import numpy as np

from emorl.data.generate.dsprites import SHAPES
from emorl.data.generate.multi_dsprites import COLORS, FACTORS, IMAGE_SIZE, VARIANTS
from emorl.data.records import Objects, Record, label_map
from emorl.data.sources.example import Example, class_name, take
from emorl.data.sources.tfrecord import TFRecordSource
from emorl.errors import DataError

_NUMBERS = tuple(factor.name for factor in FACTORS if factor.kind == "continuous")


class MultiDSpritesTFRecords(TFRecordSource):
    """A source over `multi_dsprites_{variant}.tfrecords`, in the order of the file.

    Objects are the entities with non-zero `visibility`, in the file's order. A fully occluded object keeps its factors
    and its label, which then no pixel has. The file's factors of absent objects are not read.

    Args:
        path: the file, compressed or not.
        variant: `binarized`, `colored_on_grayscale` or `colored_on_colored`.

    Raises:
        DataError: if the variant is unknown.

    >>> MultiDSpritesTFRecords("multi_dsprites_binarized.tfrecords", "binarized").max_objects  # opened when read
    3
    """

    dataset = "multi_dsprites"
    image_size = IMAGE_SIZE

    def __init__(self, path: str | PathLike[str], variant: str) -> None:
        super().__init__(path)
        if variant not in VARIANTS:
            raise DataError.of("variant", expected=", ".join(VARIANTS), got=repr(variant), remedy="choose one of them")
        self.variant, self.max_objects = variant, VARIANTS[variant].max_objects
        self.factors = VARIANTS[variant].factors

    def decode(self, example: Example) -> Record:
        """Convert a parsed example to a record; a binarized image becomes RGB.

        Raises:
            DataError: if a feature is missing or differs from this variant.
        """
        entities, channels = self.max_objects + 1, 1 if self.variant == "binarized" else 3
        visible = take(example, "visibility", (entities,), np.float32) > 0
        masks = take(example, "mask", (*IMAGE_SIZE, entities, 1), np.uint8)[..., 0]
        segmentation, objects = label_map(masks.transpose(2, 0, 1), visible)
        image = take(example, "image", (*IMAGE_SIZE, channels), np.uint8)
        return Record(np.repeat(image, 3 // channels, axis=-1), segmentation, self._factors(example, objects))

    def _factors(self, example: Example, objects: list[int]) -> Objects:
        """Return the factors of objects; in the variant binarized, where all are white, without colors."""
        entities = self.max_objects + 1
        shapes = take(example, "shape", (entities,), np.float32)
        numbers = {name: take(example, name, (entities,), np.float32) for name in _NUMBERS}
        if self.variant != "binarized":
            numbers |= dict(zip(COLORS, take(example, "color", (entities, 3), np.float32).T, strict=True))
        return [
            {"shape": class_name("shape", shapes[entity], SHAPES)}
            | {name: float(values[entity]) for name, values in numbers.items()}
            for entity in objects
        ]
