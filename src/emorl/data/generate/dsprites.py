"""The sprites of dSprites, pixel for pixel: square, ellipse and heart.

The frames of https://github.com/google-deepmind/dsprites-dataset are vector shapes that graphics hardware rasterized
without antialiasing (issue 2 there). The polygons, and the grid of 1/256 pixel to which their corners are rounded, are
inferred from 133 published frames, 87 of them hearts, and reproduce all of these. If a pixel's center lies on an edge,
which happens in one of 200 frames but in none of these 133, the usual rule of such hardware is assumed.
"""

from typing import SupportsFloat

import numpy as np
from jaxtyping import Bool, Float64, Int64

from emorl.errors import DataError

SIZE = 64
SCALES = tuple(step / 10 for step in range(5, 11))
ORIENTATIONS = tuple(2 * np.pi * step / 39 for step in range(40))  # the last is the first again
POSITIONS = tuple(step / 31 for step in range(32))

_RADIUS = 9.6  # pixels at scale 1
_GRID = 256  # steps of a pixel
_CENTERS = np.arange(SIZE) * _GRID + _GRID // 2  # of the rows and columns of pixels


def _square() -> Float64[np.ndarray, "corners 2"]:
    return np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def _ellipse() -> Float64[np.ndarray, "corners 2"]:
    angle = 2 * np.pi * np.arange(100) / 100
    return np.stack([1.33 * np.cos(angle), np.sin(angle) / 1.33], axis=-1)


def _heart() -> Float64[np.ndarray, "corners 2"]:
    """Return the heart curve 16 sin^3 t, 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, its 32 by 29 scaled to 2 by 2."""
    angle = 2 * np.pi * np.arange(150) / 150
    height = 13 * np.cos(angle) - 5 * np.cos(2 * angle) - 2 * np.cos(3 * angle) - np.cos(4 * angle)
    return np.stack([np.sin(angle) ** 3, -2 * height / 29 - 0.15], axis=-1)


def _triangle() -> Float64[np.ndarray, "corners 2"]:
    angle = 2 * np.pi * np.arange(3) / 3
    return 1.5 * np.stack([np.sin(angle), -np.cos(angle)], axis=-1)


def _cross() -> Float64[np.ndarray, "corners 2"]:
    arm = np.array([[-0.4, -1.2], [0.4, -1.2], [0.4, -0.4]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return np.concatenate([arm @ np.linalg.matrix_power(turn, quarter) for quarter in range(4)])


SHAPES = ("square", "ellipse", "heart")  # in the order of the published ids, which start at 1
UNSEEN = ("triangle", "cross")  # shapes that dSprites does not have

_DRAWN = (_square(), _ellipse(), _heart())  # x to the right, y downwards
_OUTLINES: dict[object, np.ndarray] = {
    **dict(zip(SHAPES, _DRAWN, strict=True)),
    **dict(enumerate(_DRAWN, start=1)),
    **dict(zip(UNSEEN, (_triangle(), _cross()), strict=True)),
}


def sprite(
    shape: str | SupportsFloat,
    scale: SupportsFloat,
    orientation: SupportsFloat,
    pos_x: SupportsFloat,
    pos_y: SupportsFloat,
) -> Bool[np.ndarray, "64 64"]:
    """Draw a sprite with the factors of dSprites.

    Args:
        shape: `square`, `ellipse` or `heart`, or its published id 1, 2 or 3; `triangle` or `cross`.
        scale: 0.5 to 1.
        orientation: counter-clockwise rotation in radians, 0 to 2 pi.
        pos_x: horizontal position of the center, 0 to 1 from left to right, which spans the middle half of the frame.
        pos_y: vertical position of the center, likewise from top to bottom.

    Returns:
        The pixels that belong to the sprite.

    Raises:
        DataError: if the shape is unknown, or a number is not finite.

    >>> frame = sprite("square", scale=1.0, orientation=0.0, pos_x=0.5, pos_y=0.5)
    >>> frame.shape, int(frame.sum())
    ((64, 64), 400)
    """
    corners = _corners(shape, float(scale), float(orientation), float(pos_x), float(pos_y))
    return _fill(np.floor(corners * _GRID + 0.5).astype(np.int64))


def _corners(
    shape: str | SupportsFloat, scale: float, orientation: float, pos_x: float, pos_y: float
) -> Float64[np.ndarray, "corners 2"]:
    """Return the corners of a sprite in pixels from the upper left of the frame."""
    outline = _OUTLINES.get(shape)
    if outline is None:
        expected = f"{', '.join(SHAPES + UNSEEN)} or an id of 1 to {len(SHAPES)}"
        raise DataError.of("shape", expected=expected, got=f"{shape!r}", remedy="choose one of them")
    if not np.isfinite([scale, orientation, pos_x, pos_y]).all():
        got = f"{scale}, {orientation}, {pos_x}, {pos_y}"
        raise DataError.of("scale, orientation and position", expected="finite numbers", got=got, remedy="correct them")
    cosine, sine = np.cos(orientation), np.sin(orientation)
    rotated = outline @ np.array([[cosine, -sine], [sine, cosine]])
    center = SIZE / 4 + SIZE / 2 * np.array([pos_x, pos_y])
    corners: Float64[np.ndarray, "corners 2"] = center + _RADIUS * scale * rotated
    return corners


def _fill(corners: Int64[np.ndarray, "corners 2"]) -> Bool[np.ndarray, "64 64"]:
    """Fill a polygon on the grid: pixels whose center is inside, or on a left or upper edge only.

    The computation is in integers: an edge toggles, in each row that it crosses, all pixels from the first one whose
    center is not left of it.
    """
    following = np.roll(corners, -1, axis=0)
    descends = corners[:, 1:] <= following[:, 1:]
    upper, lower = np.where(descends, corners, following), np.where(descends, following, corners)
    rows, edges = np.nonzero((upper[:, 1] <= _CENTERS[:, None]) & (_CENTERS[:, None] < lower[:, 1]))
    (x, y), (dx, dy) = upper[edges].T, (lower - upper)[edges].T
    distance = (x - _CENTERS[0]) * dy + (_CENTERS[rows] - y) * dx  # from the first center to the edge, times dy
    columns = np.clip(-(-distance // (_GRID * dy)), 0, SIZE)  # rounded up
    toggles = np.bincount(rows * (SIZE + 1) + columns, minlength=SIZE * (SIZE + 1)).reshape(SIZE, SIZE + 1)
    inside: Bool[np.ndarray, "64 64"] = toggles[:, :SIZE].cumsum(axis=1) % 2 == 1
    return inside
