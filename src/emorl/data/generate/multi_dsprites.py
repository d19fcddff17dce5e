"""Multi-dSprites: sprites of dSprites with random factors, each drawn over the previous ones, as in the published set.

Scenes follow https://github.com/google-deepmind/multi_object_datasets in its three variants.
"""

import colorsys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt64

from emorl.data.generate.dsprites import ORIENTATIONS, POSITIONS, SCALES, SHAPES, SIZE, sprite
from emorl.data.generate.generated import GeneratedSource
from emorl.data.generate.random_words import below, key_of, words_of
from emorl.data.records import Factor, Objects, Record, Value
from emorl.errors import DataError
from emorl.renamed import former_attributes

if not TYPE_CHECKING:
    __getattr__ = former_attributes(__name__)

Color = tuple[int, int, int]  # RGB, 0 to 255

IMAGE_SIZE = (SIZE, SIZE)
COLORS = ("red", "green", "blue")
FACTORS = (
    Factor("shape", "discrete", SHAPES),
    Factor("scale", "continuous"),
    Factor("orientation", "continuous"),  # radians, less than the smallest angle that maps the shape onto itself
    Factor("x", "continuous"),  # left to right, 0 to 1
    Factor("y", "continuous"),  # top to bottom, 0 to 1
)
COLOR_FACTORS = tuple(Factor(name, "continuous") for name in COLORS)  # 0 to 1

_SYMMETRY = {"square": 4, "ellipse": 2, "heart": 1}  # order of each shape's rotational symmetry
_CHOICES = np.array([len(SHAPES), len(SCALES), len(ORIENTATIONS), len(POSITIONS), len(POSITIONS)], dtype=np.uint64)
_WORDS = 8  # random words of an object: one for each of the five choices, three for the color
_VERSION = 1


class Variant(NamedTuple):
    """The properties in which the published variants differ.

    Attributes:
        min_objects: minimum number of objects in a scene.
        max_objects: maximum number of objects in a scene.
        factors: factors of every object.
        background: maps three random words to the color of the background.
        foreground: maps three random words to the color of an object.

    >>> VARIANTS["binarized"].max_objects
    3
    """

    min_objects: int
    max_objects: int
    factors: tuple[Factor, ...]
    background: Callable[[UInt64[np.ndarray, "3"]], Color]
    foreground: Callable[[UInt64[np.ndarray, "3"]], Color]


def _rgb(words: UInt64[np.ndarray, "3"]) -> Color:
    red, green, blue = below(words, 256).tolist()
    return red, green, blue


def _black(_: UInt64[np.ndarray, "3"]) -> Color:
    return 0, 0, 0


def _white(_: UInt64[np.ndarray, "3"]) -> Color:
    return 255, 255, 255


def _gray(words: UInt64[np.ndarray, "3"]) -> Color:
    level, _, _ = below(words, 256).tolist()
    return level, level, level


def _hsv(words: UInt64[np.ndarray, "3"]) -> Color:
    """Choose any hue, and saturation and value of at least 1/2, so that no object looks like a gray background.

    The published description is "randomly colored HSV", without ranges.
    """
    hue, saturation, value = (below(words, 1 << 16) / (1 << 16)).tolist()
    red, green, blue = colorsys.hsv_to_rgb(hue, (1 + saturation) / 2, (1 + value) / 2)
    return round(255 * red), round(255 * green), round(255 * blue)


VARIANTS = {
    "colored_on_grayscale": Variant(2, 5, FACTORS + COLOR_FACTORS, _gray, _hsv),
    "colored_on_colored": Variant(1, 4, FACTORS + COLOR_FACTORS, _rgb, _rgb),
    "binarized": Variant(2, 3, FACTORS, _black, _white),
}


def render(factors: Objects, background: Color) -> tuple[UInt8[np.ndarray, "64 64 3"], UInt8[np.ndarray, "64 64"]]:
    """Draw objects, each over the previous ones, white if they have no color; return image and segmentation.

    >>> square = {"shape": "square", "scale": 1.0, "orientation": 0.0, "x": 0.5, "y": 0.5}
    >>> image, segmentation = render([square], background=(0, 0, 0))
    >>> image.max(), int((segmentation == 1).sum())
    (np.uint8(255), 400)
    """
    image, segmentation = np.full((*IMAGE_SIZE, 3), background, np.uint8), np.zeros(IMAGE_SIZE, np.uint8)
    for label, factor in enumerate(factors, start=1):
        scale, orientation, x, y = (float(factor[name]) for name in ("scale", "orientation", "x", "y"))
        covered = sprite(str(factor["shape"]), scale, orientation, x, y)
        image[covered] = [round(255 * float(factor.get(name, 1.0))) for name in COLORS]
        segmentation[covered] = label
    return image, segmentation


class MultiDSprites(GeneratedSource):
    """A source of generated Multi-dSprites.

    The number of objects and their shape, scale, orientation and position are uniform over the values of dSprites,
    where 2 pi is a separate orientation although it equals 0. A fully occluded object keeps its factors and has no
    pixel. The published files do the same: their `visibility` marks the objects of a scene, occluded or not.

    Scene i depends only on seed, split, variant and i, and has the same bytes on every machine: choices and filling are
    integer arithmetic, and no corner of a sprite is within 1e-9 pixel of a rounding threshold.

    Args:
        num_scenes: length of the source.
        seed: any integer.
        split: name of the split; splits have different scenes.
        variant: `colored_on_grayscale`, 2 to 5 vivid objects on gray; `colored_on_colored`, 1 to 4 objects of any
            color on any color; or `binarized`, 2 to 3 white objects on black.

    Raises:
        DataError: if the variant is unknown.

    >>> record = MultiDSprites(num_scenes=10, seed=0).scene(3)
    >>> record.image.shape, len(record.factors)
    ((64, 64, 3), 4)
    """

    generator = "emorl.data.generate.multi_dsprites"  # seeds the random words; must not change if the module moves
    version = _VERSION
    dataset = "multi_dsprites"
    image_size = IMAGE_SIZE

    def __init__(
        self, num_scenes: int, seed: int = 0, split: str = "train", variant: str = "colored_on_grayscale"
    ) -> None:
        if variant not in VARIANTS:
            raise DataError.of("variant", expected=", ".join(VARIANTS), got=repr(variant), remedy="choose one of them")
        self.num_scenes, self.seed, self.variant = num_scenes, seed, variant
        self.max_objects, self.factors = VARIANTS[variant].max_objects, VARIANTS[variant].factors
        self._key = key_of(f"{self.generator}/{_VERSION}/{variant}/{seed}/{split}")

    def scene(self, index: int) -> Record:
        """Return a scene."""
        variant = VARIANTS[self.variant]
        setting, *objects = words_of(self._key, index).random_raw((1 + variant.max_objects, _WORDS))
        count = variant.min_objects + int(below(setting[:1], variant.max_objects - variant.min_objects + 1)[0])
        factors = [_object(words, variant) for words in objects[:count]]
        return Record(*render(factors, variant.background(setting[-3:])), factors)


def _object(words: UInt64[np.ndarray, "8"], variant: Variant) -> dict[str, Value]:
    """Map random words to the factors of an object; of equivalent orientations, the smallest is returned."""
    shape, scale, turn, x, y = below(words[:-3], _CHOICES).tolist()
    order = _SYMMETRY[SHAPES[shape]]
    values: list[Value] = [
        SHAPES[shape],
        SCALES[scale],
        ORIENTATIONS[order * turn % (len(ORIENTATIONS) - 1)] / order,
        POSITIONS[x],
        POSITIONS[y],
        *(level / 255 for level in variant.foreground(words[-3:])),
    ]
    return dict(zip((factor.name for factor in variant.factors), values, strict=False))
