"""The label map of a CLEVR scene: the object that a ray through each pixel's center hits first, for the exact shapes.

Blender renders the same shapes. Labels are computed without it, so they are equal on every machine, and a scene with
occluded objects can be redrawn before anything is rendered.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8

from emorl.data.generate.clevr_scene import FOCAL_LENGTH, IMAGE_SIZE, Camera, Scene, Vector
from emorl.data.records import Value

Rays = Float64[np.ndarray, "3 rays"]
Depths = Float64[np.ndarray, " rays"]

ROUNDING = {"sphere": 1.0, "cylinder": 0.08, "cube": 0.2}  # radius of the edges of shapes of half height 1

_STEPS = 32
_NEAR = 1e-9
_BOUNDS = {"sphere": 1.0, "cylinder": math.sqrt(2), "cube": math.sqrt(3)}  # radius of a sphere around each shape


class View(NamedTuple):
    """The part of the frame of 240x320 pixels that an image shows.

    Attributes:
        left: first column.
        upper: first row.
        step: side of the image's pixels, in pixels of the frame.
        size: height and width of the image in pixels.

    >>> View(left=0, upper=0, step=2.0, size=(120, 160)).size
    (120, 160)
    """

    left: int
    upper: int
    step: float
    size: tuple[int, int]


FRAME = View(0, 0, 1.0, IMAGE_SIZE)


def crop(size: int) -> View:
    """Return the view of the crop `emorl`, rows 29:221 and columns 64:256, in an image of size x size pixels.

    >>> crop(96)
    View(left=64, upper=29, step=2.0, size=(96, 96))
    """
    return View(64, 29, 192 / size, (size, size))


def label_map(scene: Scene, view: View) -> UInt8[np.ndarray, "height width"]:
    """Return the label map of a scene: 0 is the ground, i the i-th object.

    >>> from emorl.data.generate.clevr_scene import draw_objects, draw_setting
    >>> stream = np.random.Philox(0)
    >>> setting = draw_setting(stream, range(3, 4))
    >>> np.unique(label_map(Scene(setting, draw_objects(stream, setting)), FRAME)).tolist()
    [0, 1, 2, 3]
    """
    labels, depths = np.zeros(view.size, np.uint8), np.full(view.size, np.inf)
    for label, factors in enumerate(scene.objects, start=1):
        rows, columns = _box(scene.setting.camera, factors, view)
        x = (view.left + (np.arange(columns.start, columns.stop) + 0.5) * view.step - IMAGE_SIZE[1] / 2) / FOCAL_LENGTH
        y = (IMAGE_SIZE[0] / 2 - view.upper - (np.arange(rows.start, rows.stop) + 0.5) * view.step) / FOCAL_LENGTH
        right, up = (grid.ravel() for grid in np.meshgrid(x, y))
        entry = _enter(scene.setting.camera, factors, right, up).reshape(len(y), len(x))
        nearer = entry < depths[rows, columns]
        np.copyto(labels[rows, columns], label, where=nearer)
        np.copyto(depths[rows, columns], entry, where=nearer)
    return labels


def _box(camera: Camera, factors: dict[str, Value], view: View) -> tuple[slice, slice]:
    """Return the rows and columns of an image that contain an object."""
    right, up, ahead = camera.see(_center(factors))
    radius = float(factors["z"]) * _BOUNDS[str(factors["shape"])]
    near, far = ahead - radius, ahead + radius
    slices = []
    for offset, middle, first, pixels in (
        (-up, IMAGE_SIZE[0] / 2, view.upper, view.size[0]),
        (right, IMAGE_SIZE[1] / 2, view.left, view.size[1]),
    ):
        edges = [FOCAL_LENGTH * (offset + side) / depth for side in (-radius, radius) for depth in (near, far)]
        start, stop = ((middle + edge - first) / view.step for edge in (min(edges), max(edges)))
        slices.append(slice(*(min(max(math.floor(place), 0), pixels) for place in (start, stop + 1))))
    return slices[0], slices[1]


def _enter(camera: Camera, factors: dict[str, Value], right: Depths, up: Depths) -> Depths:
    """Return the depth at which rays enter an object; infinity if they miss it.

    A shape is the set of points within a radius of a convex core, so the distance to it is a convex function along a
    ray: Newton's method converges monotonically to the entry point without overshooting.
    """
    center, scale, turn = _center(factors), float(factors["z"]), _turn(float(factors["rotation"]))
    x, y, z = (of - to for of, to in zip(camera.position, center, strict=True))
    axes = ((x, y, z), camera.ahead, camera.right, camera.up)
    origin, ahead, across, upwards = (_local(axis, turn, scale) for axis in axes)
    rays = np.stack([a + right * b + up * c for a, b, c in zip(ahead, across, upwards, strict=True)])
    shape = str(factors["shape"])
    radius = ROUNDING[shape]
    depth = np.full(len(right), camera.see(center)[2] - scale * _BOUNDS[shape])
    missed, active = np.zeros(len(right), bool), np.arange(len(right))
    for _ in range(_STEPS):
        ray = rays[:, active]
        points = np.stack([start + depth[active] * part for start, part in zip(origin, ray, strict=True)])
        away = _from_core(shape, points)
        distance = np.sqrt(away[0] * away[0] + away[1] * away[1] + away[2] * away[2])
        slope = (away[0] * ray[0] + away[1] * ray[1] + away[2] * ray[2]) / distance
        gap, leaving = distance - radius, slope >= 0
        missed[active[leaving]] = True
        going = ~leaving & (gap > _NEAR)
        active = active[going]
        if not len(active):
            break
        depth[active] -= gap[going] / slope[going]
    return np.where(missed, np.inf, depth)


def _from_core(shape: str, points: Rays) -> Rays:
    """Return the vectors to points from the nearest points of a shape's core."""
    half = 1 - ROUNDING[shape]
    if shape == "sphere":
        return points
    x, y, z = points
    if shape == "cube":
        nearest = [np.clip(x, -half, half), np.clip(y, -half, half), np.clip(z, -half, half)]
    else:
        inside = half / np.maximum(np.sqrt(x * x + y * y), half)
        nearest = [x * inside, y * inside, np.clip(z, -half, half)]
    away: Rays = points - np.stack(nearest)
    return away


def _local(vector: Vector, turn: tuple[float, float], scale: float) -> Vector:
    """Return a vector in the axes of a rotated object, in units of its half height."""
    (x, y, z), (cosine, sine) = vector, turn
    return (x * cosine + y * sine) / scale, (y * cosine - x * sine) / scale, z / scale


def _turn(degrees: float) -> tuple[float, float]:
    """Return cosine and sine by their series, since results of the C library differ between machines."""
    angle = (degrees - 360 if degrees > 180 else degrees) * (math.pi / 180)
    sums, term = [0.0, 0.0], 1.0
    for power in range(_STEPS):
        sums[power % 2] += -term if power & 2 else term
        term *= angle / (power + 1)
    return sums[0], sums[1]


def _center(factors: dict[str, Value]) -> Vector:
    return float(factors["x"]), float(factors["y"]), float(factors["z"])
