"""CLEVR's scenes: what lies where, seen from where, by the rules of CLEVR's generator; no picture yet.

Every number comes from random words by additions, multiplications, divisions and square roots alone, which are the same
on every machine; sines, and sums in an order that a library chooses, are not.
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
CLASSES = {  # in the order of their codes, from 1, in DeepMind's file, which does not list them: read off its pictures
    "size": ("large", "small"),
    "material": ("rubber", "metal"),
    "shape": ("sphere", "cylinder", "cube"),
    "color": ("red", "cyan", "green", "blue", "brown", "gray", "purple", "yellow"),
}
FACTORS = (
    Factor("x", "continuous"),  # place in the scene, the ground being x and y
    Factor("y", "continuous"),
    Factor("z", "continuous"),
    Factor("rotation", "continuous"),  # degrees
    Factor("pixel_x", "continuous"),  # column of the center in the frame of 240x320 pixels, whatever was cropped
    Factor("pixel_y", "continuous"),  # row
    Factor("pixel_z", "continuous"),  # distance from the camera along its axis
    *(Factor(name, "discrete", classes) for name, classes in CLASSES.items()),
)
RADII = {"large": 0.7, "small": 0.35}  # half of the height, and of the width: of a cube too, as published pictures show
FOCAL_LENGTH = 350.0  # pixels: a lens of 35 mm, a sensor of 32 mm for 320 pixels
TARGET: Vector = (0.0, 0.0, 0.0)  # what the camera looks at

_GROUND = 3.0  # centers of objects lie in [-3, 3]
_DISTANCE = 0.25  # between objects at least, as if each were a ball
_MARGIN = 0.4  # between centers, to the right and ahead as the camera sees it, at least
_TRIES = 50  # to place an object, before all objects are drawn again
_CAMERA: Vector = (7.481, -6.508, 5.344)
_CAMERA_JITTER = 0.5
_LAMPS: dict[str, Vector] = {
    "key": (6.447, -2.905, 4.258),
    "fill": (-4.671, -4.014, 3.011),
    "back": (-1.169, 2.646, 5.816),
}
_LAMP_JITTER = 1.0
_WORDS = 1 + 3 * (1 + len(_LAMPS))  # of a setting
_CODES = np.array([len(names) for names in CLASSES.values()], dtype=np.uint64)
_CHOICES = len(CLASSES) + 1  # words of an object beside those of its place: its classes, its rotation


class Camera(NamedTuple):
    """A camera that looks at `TARGET`, upright.

    Attributes:
        position: its place.
        right: unit vector to the right of the picture.
        up: unit vector to the top of the picture.
        ahead: unit vector into the picture.
    """

    position: Vector
    right: Vector
    up: Vector
    ahead: Vector

    @classmethod
    def at(cls, position: Vector) -> "Camera":
        """Place a camera."""
        x, y, z = (to - of for to, of in zip(TARGET, position, strict=True))
        level, length = math.sqrt(x * x + y * y), math.sqrt(x * x + y * y + z * z)
        ahead = (x / length, y / length, z / length)
        right = (y / level, -x / level, 0.0)
        up = (right[1] * ahead[2], -right[0] * ahead[2], right[0] * ahead[1] - right[1] * ahead[0])
        return cls(position, right, up, ahead)

    def see(self, point: Vector) -> Vector:
        """Return where a point is: to the right, upwards and ahead of the camera."""
        x, y, z = (to - of for to, of in zip(point, self.position, strict=True))
        right, up, ahead = (a * x + b * y + c * z for a, b, c in (self.right, self.up, self.ahead))
        return right, up, ahead


class Setting(NamedTuple):
    """What a scene has beside its objects.

    Attributes:
        objects: their number.
        camera: the camera.
        lamps: places of the lamps.
    """

    objects: int
    camera: Camera
    lamps: Mapping[str, Vector]


class Scene(NamedTuple):
    """A scene; the factors of its objects are `FACTORS`."""

    setting: Setting
    objects: Objects


def draw_setting(stream: np.random.Philox, objects: range) -> Setting:
    """Draw the number of objects, the camera and the lamps."""
    words = stream.random_raw(_WORDS)
    count = objects[int(below(words[:1], len(objects))[0])]
    shifts = (_single(2 * unit - 1) for unit in _units(words[1:]))
    camera = Camera.at(_moved(_CAMERA, _CAMERA_JITTER, [next(shifts) for _ in range(3)]))
    lamps = {name: _moved(place, _LAMP_JITTER, [next(shifts) for _ in range(3)]) for name, place in _LAMPS.items()}
    return Setting(count, camera, lamps)


def draw_objects(stream: np.random.Philox, setting: Setting) -> Objects | None:
    """Draw the objects of a setting; none if one of them finds no place."""
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
    """Tell whether an object keeps its distance from those that are placed, and is not behind or beside one of them."""
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
    """Turn words into numbers in [0, 1)."""
    units: list[float] = (below(words, 1 << 24) / (1 << 24)).tolist()
    return units


def _moved(place: Vector, jitter: float, shifts: Sequence[float]) -> Vector:
    x, y, z = (_single(start + jitter * shift) for start, shift in zip(place, shifts, strict=True))
    return x, y, z


def _single(value: float) -> float:
    """Round to 32 bits, as the published factors are."""
    return float(np.float32(value))
