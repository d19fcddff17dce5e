"""Tetrominoes: three tetrominoes of random shape, color and position on black, as in the published data set.

Scenes follow https://github.com/google-deepmind/multi_object_datasets; `render` reproduces 10 published scenes pixel
for pixel. The published set has all 19 fixed orientations, two more than its description states. Additional variants
differ from it in one respect each, to test how a model generalizes.
"""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt64

from emorl.data.generate.generated import GeneratedSource
from emorl.data.generate.random_words import below, key_of, words_of
from emorl.data.records import Factor, Objects, Record
from emorl.errors import DataError
from emorl.renamed import VARIANTS as RENAMED
from emorl.renamed import former_attributes

if not TYPE_CHECKING:
    __getattr__ = former_attributes(__name__)

IMAGE_SIZE = (35, 35)
MAX_OBJECTS = 3
SHAPES = (  # in the order of the published ids, which start at 1
    *("XXXX", "X/X/X/X"),
    *("XXX/X..", "X../XXX", "..X/XXX", "XXX/..X", "XX/.X/.X", ".X/.X/XX", "XX/X./X.", "X./X./XX"),
    *("XX./.XX", ".XX/XX.", ".X/XX/X.", "X./XX/.X"),
    *(".X./XXX", "XXX/.X.", ".X/XX/.X", "X./XX/X."),
    "XX/XX",
)
TROMINOES = ("XXX", "X/X/X", "XX/X.", "XX/.X", "X./XX", ".X/XX")
PENTOMINOES = (  # F I L N P T U V W X Y Z, in one orientation each
    *(".XX/XX./.X.", "XXXXX", "X./X./X./XX", ".X/.X/XX/X.", "XX/XX/X.", "XXX/.X./.X."),
    *("X.X/XXX", "X../X../XXX", "X../XX./.XX", ".X./XXX/.X.", ".X/XX/.X/.X", "XX./.X./.XX"),
)
COLORS = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "magenta": (1, 0, 1),
    "cyan": (0, 1, 1),
}
NEW_COLORS = {
    "orange": (1, 0.5, 0),
    "violet": (0.5, 0, 1),
    "pink": (1, 0.5, 0.5),
    "gray": (0.5, 0.5, 0.5),
    "white": (1, 1, 1),
}


class Variant(NamedTuple):
    """The properties in which the variants differ.

    Attributes:
        objects: number of objects in a scene.
        shapes: shapes, all with the same number of cells.
        colors: names of the colors.

    >>> VARIANTS["five_objects"].objects
    5
    """

    objects: int = MAX_OBJECTS
    shapes: tuple[str, ...] = SHAPES
    colors: tuple[str, ...] = tuple(COLORS)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Factors of every object."""
        return (
            Factor("x", "continuous"),  # top row of the bounding box in pixels: the published x points downwards
            Factor("y", "continuous"),  # left column
            Factor("shape", "discrete", self.shapes),
            Factor("color", "discrete", self.colors),
        )


VARIANTS = {
    "standard": Variant(),
    "trominoes": Variant(shapes=TROMINOES),
    "pentominoes": Variant(shapes=PENTOMINOES),
    "new_colors": Variant(colors=tuple(NEW_COLORS)),
    "one_object": Variant(objects=1),
    "two_objects": Variant(objects=2),
    "four_objects": Variant(objects=4),
    "five_objects": Variant(objects=5),
}
FACTORS = VARIANTS["standard"].factors

_CELL = np.array(
    [
        [191, 255, 255, 255, 223],
        [127, 159, 159, 159, 191],
        [127, 159, 159, 159, 191],
        [127, 159, 159, 159, 191],
        [95, 63, 63, 63, 127],
    ],
    dtype=np.uint8,
)
_SIDE = len(_CELL)
_RGB = COLORS | NEW_COLORS
_GRIDS = {
    shape: np.array([[cell == "X" for cell in row] for row in shape.split("/")])
    for shape in SHAPES + TROMINOES + PENTOMINOES
}
_SPRITES = {shape: np.kron(grid, _CELL) for shape, grid in _GRIDS.items()}

_ATTEMPTS = 16  # scenes drawn at once; changing it changes the scenes and requires a new `_VERSION`
_VERSION = 1


def render(factors: Objects) -> tuple[UInt8[np.ndarray, "35 35 3"], UInt8[np.ndarray, "35 35"]]:
    """Draw objects with the factors `FACTORS`, each over the previous ones; return image and segmentation.

    >>> image, segmentation = render([{"x": 0.0, "y": 5.0, "shape": "XX/XX", "color": "red"}])
    >>> segmentation.shape, int(segmentation.sum())
    ((35, 35), 100)
    """
    image, segmentation = np.zeros((*IMAGE_SIZE, 3), np.uint8), np.zeros(IMAGE_SIZE, np.uint8)
    for label, factor in enumerate(factors, start=1):
        sprite = _SPRITES[str(factor["shape"])]
        row, column = int(factor["x"]), int(factor["y"])
        box = slice(row, row + sprite.shape[0]), slice(column, column + sprite.shape[1])
        pixels = (sprite[..., None] * np.array(_RGB[str(factor["color"])])).round().astype(np.uint8)
        np.copyto(image[box], pixels, where=sprite[..., None] > 0)
        np.copyto(segmentation[box], label, where=sprite > 0)
    return image, segmentation


class Tetrominoes(GeneratedSource):
    """A source of generated Tetrominoes.

    Shape, color and position of the objects are uniform; a scene in which objects overlap is redrawn. Scene i depends
    only on seed, split, variant and i, by integer arithmetic on the words of a Philox counter, and has the same bytes
    on every machine.

    Args:
        num_scenes: length of the source.
        seed: any integer.
        split: name of the split; splits have different scenes.
        variant: `standard`, as published; `trominoes` or `pentominoes` in place of tetrominoes; `new_colors`, which
            mix or dim the published ones; or `one_object`, `two_objects`, `four_objects` or `five_objects`.

    Raises:
        DataError: if the variant is unknown.

    >>> record = Tetrominoes(num_scenes=10, seed=0).scene(3)
    >>> record.image.shape, len(record.factors)
    ((35, 35, 3), 3)
    """

    generator = "emorl.data.generate.tetrominoes"  # seeds the random words; must not change if the module moves
    version = _VERSION
    dataset = "tetrominoes"
    image_size = IMAGE_SIZE

    def __init__(self, num_scenes: int, seed: int = 0, split: str = "train", variant: str = "standard") -> None:
        variant = RENAMED.get(variant, variant)
        if variant not in VARIANTS:
            raise DataError.of("variant", expected=", ".join(VARIANTS), got=repr(variant), remedy="choose one of them")
        self.num_scenes, self.seed, self.variant = num_scenes, seed, variant
        self.max_objects, self.factors = VARIANTS[variant].objects, VARIANTS[variant].factors
        key = next((former for former, name in RENAMED.items() if name == variant), variant)  # the same scenes as ever
        name = self.generator if variant == "standard" else f"{self.generator}/{key}"
        self._key = key_of(f"{name}/{_VERSION}/{seed}/{split}")

    def scene(self, index: int) -> Record:
        """Return a scene."""
        variant = VARIANTS[self.variant]
        stream = words_of(self._key, index)
        scene = None
        while scene is None:
            scene = _first_free(stream.random_raw((_ATTEMPTS, variant.objects, 4)), variant)
        return Record(*render(scene), scene)


def _first_free(words: UInt64[np.ndarray, "attempts objects 4"], variant: Variant) -> Objects | None:
    """Map random words to scenes and return the first one without overlap, if any."""
    shapes, colors = below(words[..., 0], len(variant.shapes)), below(words[..., 1], len(variant.colors))
    cells, places = _layout(variant.shapes)
    corners = below(words[..., 2:], places[shapes])
    free = ~_overlap(corners[:, :, None] + cells[shapes])
    if not free.any():
        return None
    chosen = free.argmax()
    return [
        {"x": float(row), "y": float(column), "shape": variant.shapes[shape], "color": variant.colors[color]}
        for shape, color, (row, column) in zip(shapes[chosen], colors[chosen], corners[chosen], strict=True)
    ]


@cache
def _layout(shapes: tuple[str, ...]) -> tuple[Int64[np.ndarray, "shapes cells 2"], UInt64[np.ndarray, "shapes 2"]]:
    """Return the corners of each shape's cells in its bounding box, and the box's number of positions in each axis."""
    cells = np.stack([np.argwhere(_GRIDS[shape]) * _SIDE for shape in shapes]).astype(np.int64)
    places = np.array([np.subtract(IMAGE_SIZE, _SPRITES[shape].shape) + 1 for shape in shapes], dtype=np.uint64)
    return cells, places


def _overlap(corners: Int64[np.ndarray, "attempts objects cells 2"]) -> Bool[np.ndarray, " attempts"]:
    """Return for each attempt whether two of its objects overlap: cells closer than a side in both axes."""
    cells = corners.reshape(len(corners), -1, 2)
    near = (abs(cells[:, :, None] - cells[:, None]) < _SIDE).all(axis=-1)
    overlap: np.ndarray = near.sum(axis=(1, 2)) > cells.shape[1]  # every cell is near itself
    return overlap
