"""Tetrominoes: three tetrominoes of random shape, colour and place on black, as in the real data set.

Scenes follow those of https://github.com/google-deepmind/multi_object_datasets, of which 10 real ones are rendered
pixel for pixel by `render`. The real set has all 19 fixed orientations, two more than its description says.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8, UInt64

from emorl.data.generate.random_words import below, key_of, words_of
from emorl.data.records import Factor, Objects, Record, Source

IMAGE_SIZE = (35, 35)
MAX_OBJECTS = 3
SHAPES = (  # in the order of the real data set's ids, which start at 1
    *("XXXX", "X/X/X/X"),
    *("XXX/X..", "X../XXX", "..X/XXX", "XXX/..X", "XX/.X/.X", ".X/.X/XX", "XX/X./X.", "X./X./XX"),
    *("XX./.XX", ".XX/XX.", ".X/XX/X.", "X./XX/.X"),
    *(".X./XXX", "XXX/.X.", ".X/XX/.X", "X./XX/X."),
    "XX/XX",
)
COLOURS = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "magenta": (1, 0, 1),
    "cyan": (0, 1, 1),
}
FACTORS = (
    Factor("x", "continuous"),  # top row of the bounding box in pixels: the real data set's x runs downwards
    Factor("y", "continuous"),  # left column
    Factor("shape", "discrete", SHAPES),
    Factor("color", "discrete", tuple(COLOURS)),
)

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
_GRIDS = {shape: np.array([[cell == "X" for cell in row] for row in shape.split("/")]) for shape in SHAPES}
_SPRITES = {shape: np.kron(grid, _CELL) for shape, grid in _GRIDS.items()}
_CELLS = np.stack([np.argwhere(grid) * _SIDE for grid in _GRIDS.values()]).astype(np.int64)  # [19, 4, 2]
_ROOM = np.array([np.subtract(IMAGE_SIZE, s.shape) + 1 for s in _SPRITES.values()], dtype=np.uint64)  # [19, 2]

_ATTEMPTS = 16  # scenes drawn at once: changing it changes the scenes, and so needs a new version
_VERSION = 1


def render(factors: Objects) -> tuple[UInt8[np.ndarray, "35 35 3"], UInt8[np.ndarray, "35 35"]]:
    """Draw objects with the factors `FACTORS`, later ones over earlier ones; return image and segmentation."""
    image, segmentation = np.zeros((*IMAGE_SIZE, 3), np.uint8), np.zeros(IMAGE_SIZE, np.uint8)
    for label, factor in enumerate(factors, start=1):
        sprite = _SPRITES[str(factor["shape"])]
        row, column = int(factor["x"]), int(factor["y"])
        box = slice(row, row + sprite.shape[0]), slice(column, column + sprite.shape[1])
        colour = np.array(COLOURS[str(factor["color"])], dtype=np.uint8)
        np.copyto(image[box], sprite[..., None] * colour, where=sprite[..., None] > 0)
        np.copyto(segmentation[box], label, where=sprite > 0)
    return image, segmentation


class Tetrominoes(Source):
    """A source of generated Tetrominoes.

    Shape, colour and place of three objects are uniform; as long as two objects share a pixel, the whole scene is
    drawn again. Scene i depends on seed, split and i alone, through integer arithmetic on the words of a Philox
    counter: the same bytes on every machine and in any order.

    Args:
        num_scenes: length of the source.
        seed: any integer.
        split: each split has scenes of its own.
    """

    dataset = "tetrominoes"
    variant = "standard"
    image_size = IMAGE_SIZE
    max_objects = MAX_OBJECTS
    factors = FACTORS
    random_access = True

    def __init__(self, num_scenes: int, seed: int = 0, split: str = "train") -> None:
        self.num_scenes, self.seed = num_scenes, seed
        self._key = key_of(f"{__name__}/{_VERSION}/{seed}/{split}")

    @property
    def provenance(self) -> dict[str, str | int]:
        """The generator with its version and the seed."""
        return {"generator": __name__, "version": _VERSION, "seed": self.seed}

    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the scenes from index `start` on."""
        return map(self.scene, range(start, self.num_scenes))

    def scene(self, index: int) -> Record:
        """Return a scene."""
        stream = words_of(self._key, index)
        scene = None
        while scene is None:
            scene = _first_free(stream.random_raw((_ATTEMPTS, MAX_OBJECTS, 4)))
        return Record(*render(scene), scene)


def _first_free(words: UInt64[np.ndarray, "attempts objects 4"]) -> Objects | None:
    """Turn random words into scenes and return the first one without overlap, if any."""
    shapes, colours = below(words[..., 0], len(SHAPES)), below(words[..., 1], len(COLOURS))
    corners = below(words[..., 2:], _ROOM[shapes])
    free = ~_overlap(shapes, corners)
    if not free.any():
        return None
    chosen = free.argmax()
    names = list(COLOURS)
    return [
        {"x": float(row), "y": float(column), "shape": SHAPES[shape], "color": names[colour]}
        for shape, colour, (row, column) in zip(shapes[chosen], colours[chosen], corners[chosen], strict=True)
    ]


def _overlap(shapes: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Tell for each attempt whether two of its objects share a pixel: cells nearer than a side in both axes."""
    cells = (corners[:, :, None] + _CELLS[shapes]).reshape(len(shapes), -1, 2)
    near = (abs(cells[:, :, None] - cells[:, None]) < _SIDE).all(axis=-1)
    overlap: np.ndarray = near.sum(axis=(1, 2)) > cells.shape[1]  # every cell is near itself
    return overlap
