"""Multi-dSprites: sprites of dSprites with random factors, later ones over earlier ones, as in the real data set.

Scenes follow those of https://github.com/google-deepmind/multi_object_datasets in its three variants.
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

__all__ = ["COLORS", "FACTORS", "IMAGE_SIZE", "SHAPES", "VARIANTS", "MultiDSprites", "Variant", "render", "sprite"]

if not TYPE_CHECKING:
    __getattr__ = former_attributes(__name__)

Color = tuple[int, int, int]  # RGB, 0 to 255

IMAGE_SIZE = (SIZE, SIZE)
COLORS = ("red", "green", "blue")
FACTORS = (
    Factor("shape", "discrete", SHAPES),
    Factor("scale", "continuous"),
    Factor("orientation", "continuous"),  # in radians, below the angle that turns the shape into itself
    Factor("x", "continuous"),  # left to right, 0 to 1
    Factor("y", "continuous"),  # top to bottom, 0 to 1
)
COLOR_FACTORS = tuple(Factor(name, "continuous") for name in COLORS)  # 0 to 1

_SYMMETRY = {"square": 4, "ellipse": 2, "heart": 1}  # how often a shape comes to lie on itself in a full turn
_CHOICES = np.array([len(SHAPES), len(SCALES), len(ORIENTATIONS), len(POSITIONS), len(POSITIONS)], dtype=np.uint64)
_WORDS = 8  # of an object: one for each of the five choices, three for the color
_VERSION = 1


class Variant(NamedTuple):
    """What tells the published variants apart.

    Attributes:
        min_objects: smallest number of objects in a scene.
        max_objects: largest number of objects in a scene.
        factors: factors that every object has.
        background: makes the color of the background from three random words.
        foreground: makes the color of an object from three random words.
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
    """Choose any hue, and saturation and value from 1/2 up, so that no object looks like a gray background.

    The published description says "randomly colored HSV" and gives no ranges.
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
    """Draw objects, later ones over earlier ones, white if they have no color; return image and segmentation."""
    image, segmentation = np.full((*IMAGE_SIZE, 3), background, np.uint8), np.zeros(IMAGE_SIZE, np.uint8)
    for label, factor in enumerate(factors, start=1):
        scale, orientation, x, y = (float(factor[name]) for name in ("scale", "orientation", "x", "y"))
        covered = sprite(str(factor["shape"]), scale, orientation, x, y)
        image[covered] = [round(255 * float(factor.get(name, 1.0))) for name in COLORS]
        segmentation[covered] = label
    return image, segmentation


class MultiDSprites(GeneratedSource):
    """A source of generated Multi-dSprites.

    The number of objects and their shape, scale, orientation and place are uniform over the values of dSprites; the
    orientation 2 pi, which is 0, counts as one. An object that others cover wholly keeps its factors and has no pixel:
    in the published files too, `visibility` tells which objects there are, not which are seen.

    Scene i depends on seed, split, variant and i alone. Random words are turned into choices by integer arithmetic,
    and sprites are filled by integer arithmetic from corners of which none is nearer than 1e-9 pixel to where it would
    be rounded otherwise: the same bytes on every machine and in any order.

    Args:
        num_scenes: length of the source.
        seed: any integer.
        split: each split has scenes of its own.
        variant: `colored_on_grayscale`, 2 to 5 vivid objects on gray; `colored_on_colored`, 1 to 4 objects of any
            color on any color; or `binarized`, 2 to 3 white objects on black.

    Raises:
        DataError: if there is no such variant.
    """

    generator = "emorl.data.generate.multi_dsprites"  # keys the random words: it stays, wherever the module moves
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
    """Turn random words into the factors of an object; its orientation is the smallest that looks the same."""
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
