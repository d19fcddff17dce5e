"""CLEVR's scenes: objects, camera and lamps by the rules of CLEVR's generator, without rendering.

Every number is computed from random words by additions, multiplications, divisions and square roots, which are equal
on every machine. Sines, and sums in an order chosen by a library, are not.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt64

from emorl.data.generate.random_words import below
from emorl.data.records import Factor, Objects, Value

Vector = tuple[float, float, float]

IMAGE_SIZE = (240, 320)
MIN_OBJECTS, MAX_OBJECTS = 3, 10
CLASSES = {  # in the order of their codes in DeepMind's file, from 1, which were inferred from its images
    "size": ("large", "small"),
    "material": ("rubber", "metal"),
    "shape": ("sphere", "cylinder", "cube"),
    "color": ("red", "cyan", "green", "blue", "brown", "gray", "purple", "yellow"),
}
FACTORS = (
    Factor("x", "continuous"),  # position in the scene; x and y span the ground
    Factor("y", "continuous"),
    Factor("z", "continuous"),
    Factor("rotation", "continuous"),  # degrees
    Factor("pixel_x", "continuous"),  # column of the center in the frame of 240x320 pixels, before any crop
    Factor("pixel_y", "continuous"),  # row
    Factor("pixel_z", "continuous"),  # distance from the camera along its axis
    *(Factor(name, "discrete", classes) for name, classes in CLASSES.items()),
)
RADII = {"large": 0.7, "small": 0.35}  # half height and half width, also of cubes, as published images show
FOCAL_LENGTH = 350.0  # pixels: a lens of 35 mm, a sensor of 32 mm for 320 pixels
TARGET: Vector = (0.0, 0.0, 0.0)  # the point at which the camera looks

_GROUND = 3.0  # centers of objects lie in [-3, 3]
_DISTANCE = 0.25  # minimum distance between the bounding spheres of objects
_MARGIN = 0.4  # minimum distance between centers along each of the camera's ground directions
_TRIES = 50  # attempts to place an object before all objects are redrawn
_CAMERA: Vector = (7.481, -6.508, 5.344)
_CAMERA_JITTER = 0.5
_LAMPS: dict[str, Vector] = {
    "key": (6.447, -2.905, 4.258),
    "fill": (-4.671, -4.014, 3.011),
    "back": (-1.169, 2.646, 5.816),
}
_LAMP_JITTER = 1.0
_WORDS = 1 + 3 * (1 + len(_LAMPS))  # random words of a setting
_CODES = np.array([len(names) for names in CLASSES.values()], dtype=np.uint64)
_CHOICES = len(CLASSES) + 1  # random words of an object for its classes and rotation; others are for its position


class Camera(NamedTuple):
    """A camera that looks at `TARGET`, upright.

    Attributes:
        position: its position.
        right: unit vector to the right of the image.
        up: unit vector to the top of the image.
        ahead: unit vector along the optical axis.

    >>> Camera.at((0.0, -5.0, 0.0)).see((1.0, 0.0, 2.0))
    (1.0, 2.0, 5.0)
    """

    position: Vector
    right: Vector
    up: Vector
    ahead: Vector

    @classmethod
    def at(cls, position: Vector) -> "Camera":
        """Return the camera at a position."""
        x, y, z = (to - of for to, of in zip(TARGET, position, strict=True))
        level, length = math.sqrt(x * x + y * y), math.sqrt(x * x + y * y + z * z)
        ahead = (x / length, y / length, z / length)
        right = (y / level, -x / level, 0.0)
        up = (right[1] * ahead[2], -right[0] * ahead[2], right[0] * ahead[1] - right[1] * ahead[0])
        return cls(position, right, up, ahead)

    def see(self, point: Vector) -> Vector:
        """Return the coordinates of a point along the camera's axes: right, up and ahead."""
        x, y, z = (to - of for to, of in zip(point, self.position, strict=True))
        right, up, ahead = (a * x + b * y + c * z for a, b, c in (self.right, self.up, self.ahead))
        return right, up, ahead


class Setting(NamedTuple):
    """The camera and lamps of a scene, and its number of objects.

    Attributes:
        objects: number of objects.
        camera: the camera.
        lamps: positions of the lamps.

    >>> sorted(draw_setting(np.random.Philox(0), range(3, 7)).lamps)
    ['back', 'fill', 'key']
    """

    objects: int
    camera: Camera
    lamps: Mapping[str, Vector]


class Scene(NamedTuple):
    """A scene; the factors of its objects are `FACTORS`.

    >>> setting = draw_setting(stream := np.random.Philox(0), range(3, 7))
    >>> scene = Scene(setting, draw_objects(stream, setting))
    >>> len(scene.objects) == scene.setting.objects
    True
    """

    setting: Setting
    objects: Objects


def draw_setting(stream: np.random.Philox, objects: range) -> Setting:
    """Draw the number of objects, the camera and the lamps.

    Returns:
        The setting.

    >>> draw_setting(np.random.Philox(0), range(3, 7)).objects in range(3, 7)
    True
    """
    words = stream.random_raw(_WORDS)
    count = objects[int(below(words[:1], len(objects))[0])]
    shifts = (_single(2 * unit - 1) for unit in _units(words[1:]))
    camera = Camera.at(_moved(_CAMERA, _CAMERA_JITTER, [next(shifts) for _ in range(3)]))
    lamps = {name: _moved(place, _LAMP_JITTER, [next(shifts) for _ in range(3)]) for name, place in _LAMPS.items()}
    return Setting(count, camera, lamps)


def draw_objects(stream: np.random.Philox, setting: Setting) -> Objects | None:
    """Draw the objects of a setting; return None if an object could not be placed.

    >>> setting = draw_setting(stream := np.random.Philox(0), range(3, 4))
    >>> sorted(draw_objects(stream, setting)[0])[:4]
    ['color', 'material', 'pixel_x', 'pixel_y']
    """
    placed: Objects = []
    for words in stream.random_raw((setting.objects, _CHOICES + 2 * _TRIES)):
        codes = below(words[: len(CLASSES)], _CODES).tolist()
        look = {name: names[code] for code, (name, names) in zip(codes, CLASSES.items(), strict=True)}
        rotation, *places = _units(words[len(CLASSES) :])
        numbers = [_single(_GROUND * (2 * unit - 1)) for unit in places]
        tries = zip(numbers[::2], numbers[1::2], strict=True)
        place = next((p for p in tries if _is_free(p, look["size"], placed, setting.camera)), None)
        if place is None:
            return None
        placed.append(_factors(place, _single(360 * rotation), look, setting.camera))
    return placed


def _is_free(place: tuple[float, float], size: str, placed: Objects, camera: Camera) -> bool:
    """Return whether a position keeps the minimum distances from all placed objects."""
    right, ahead = camera.right[:2], (-camera.right[1], camera.right[0])
    for other in placed:
        x, y = place[0] - float(other["x"]), place[1] - float(other["y"])
        if math.sqrt(x * x + y * y) < RADII[size] + RADII[str(other["size"])] + _DISTANCE:
            return False
        if any(abs(x * a + y * b) < _MARGIN for a, b in (right, ahead)):
            return False
    return True


def _factors(place: tuple[float, float], rotation: float, look: Mapping[str, str], camera: Camera) -> dict[str, Value]:
    x, y, z = *place, _single(RADII[look["size"]])
    right, up, ahead = camera.see((x, y, z))
    height, width = IMAGE_SIZE
    column, row = width / 2 + FOCAL_LENGTH * right / ahead, height / 2 - FOCAL_LENGTH * up / ahead
    numbers = {"x": x, "y": y, "z": z, "rotation": rotation}
    pixels = {"pixel_x": float(round(column)), "pixel_y": float(round(row)), "pixel_z": _single(ahead)}
    return {**numbers, **pixels, **look}


def _units(words: UInt64[np.ndarray, " words"]) -> list[float]:
    """Convert random words to numbers in [0, 1)."""
    units: list[float] = (below(words, 1 << 24) / (1 << 24)).tolist()
    return units


def _moved(place: Vector, jitter: float, shifts: Sequence[float]) -> Vector:
    x, y, z = (_single(start + jitter * shift) for start, shift in zip(place, shifts, strict=True))
    return x, y, z


def _single(value: float) -> float:
    """Round to 32 bits, like the published factors."""
    return float(np.float32(value))
