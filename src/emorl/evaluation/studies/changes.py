"""Generated scenes that differ from those of a training set in one respect each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle

import numpy as np

from emorl.data.generate.dsprites import UNSEEN
from emorl.data.generate.multi_dsprites import COLORS, Color, MultiDSprites, render
from emorl.data.generate.tetrominoes import VARIANTS, Tetrominoes
from emorl.data.records import Objects, Record, Value

UNMODIFIED = "unmodified"

Draw = Callable[[], list[Record]]
_CROWD = 4  # number of scenes with two objects or more that together have at least seven objects


def tetrominoes_changes(count: int, seed: int) -> dict[str, Draw]:
    """Return functions that generate the test scenes of Tetrominoes and of its variants, by name of the change.

    >>> draws = tetrominoes_changes(count=2, seed=0)
    >>> len(draws["five objects"]()[0].factors)
    5
    """
    names = {UNMODIFIED if variant == "standard" else variant.replace("_", " "): variant for variant in VARIANTS}
    return {change: partial(_records, Tetrominoes(count, seed, "test", variant)) for change, variant in names.items()}


def multi_dsprites_changes(count: int, seed: int) -> dict[str, Draw]:
    """Return functions that generate the test scenes of Multi-dSprites, colored on gray, and changed ones, by name.

    Changes are: triangles and crosses instead of dSprites' shapes; colors of half the saturation or half the value,
    which is less than in any generated scene; a background of any color; one object; and more objects, which are added
    from preceding scenes.

    >>> len(multi_dsprites_changes(count=1, seed=0)["seven objects"]()[0].factors)
    7
    """
    scenes = list(MultiDSprites(max(count, _CROWD), seed, "test", "colored_on_grayscale").records())
    gray: list[Color] = [tuple(scene.image[scene.segmentation == 0][0].tolist()) for scene in scenes[:count]]
    colored: list[Color] = [tuple(c) for c in np.random.default_rng(seed).integers(0, 256, (count, 3)).tolist()]
    everyone = [scene.factors for scene in scenes]
    objects = everyone[:count]
    crowds = [[one for j in range(_CROWD) for one in everyone[i - j]] for i in range(count)]
    return {
        UNMODIFIED: partial(_drawn, gray, objects),
        "triangles and crosses": partial(
            _drawn, gray, [list(map(reshaped, scene, cycle(UNSEEN))) for scene in objects]
        ),
        "pale colors": partial(_drawn, gray, [[pale(one) for one in scene] for scene in objects]),
        "dark colors": partial(_drawn, gray, [[dark(one) for one in scene] for scene in objects]),
        "colored background": partial(_drawn, colored, objects),
        "one object": partial(_drawn, gray, [scene[:1] for scene in objects]),
        "six objects": partial(_drawn, gray, [crowd[:6] for crowd in crowds]),
        "seven objects": partial(_drawn, gray, [crowd[:7] for crowd in crowds]),
    }


def reshaped(factors: dict[str, Value], shape: str) -> dict[str, Value]:
    """Return an object with a different shape.

    >>> reshaped({"shape": "square", "x": 0.5}, "cross")
    {'shape': 'cross', 'x': 0.5}
    """
    return factors | {"shape": shape}


def pale(factors: dict[str, Value]) -> dict[str, Value]:
    """Return an object with half the saturation.

    >>> pale({"red": 1.0, "green": 0.0, "blue": 0.5})
    {'red': 1.0, 'green': 0.5, 'blue': 0.75}
    """
    color = {name: float(factors[name]) for name in COLORS}
    return factors | {name: (level + max(color.values())) / 2 for name, level in color.items()}


def dark(factors: dict[str, Value]) -> dict[str, Value]:
    """Return an object with half the value (brightness).

    >>> dark({"red": 1.0, "green": 0.0, "blue": 0.5})
    {'red': 0.5, 'green': 0.0, 'blue': 0.25}
    """
    return factors | {name: float(factors[name]) / 2 for name in COLORS}


def _records(source: Tetrominoes) -> list[Record]:
    return list(source.records())


def _drawn(backgrounds: Sequence[Color], scenes: Sequence[Objects]) -> list[Record]:
    return [Record(*render(scene, color), scene) for color, scene in zip(backgrounds, scenes, strict=True)]
