"""Generated scenes that differ from those of a training set in one respect each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle

import numpy as np

from emorl.data.generate.dsprites import UNSEEN
from emorl.data.generate.multi_dsprites import COLOURS, Colour, MultiDSprites, render
from emorl.data.generate.tetrominoes import VARIANTS, Tetrominoes
from emorl.data.records import Objects, Record, Value

UNMODIFIED = "unmodified"

Draw = Callable[[], list[Record]]
_CROWD = 4  # scenes of two objects or more, whose objects make seven and more


def tetrominoes_changes(count: int, seed: int) -> dict[str, Draw]:
    """Return what draws the test scenes of Tetrominoes and those of the generator's variants, by name of the change."""
    names = {UNMODIFIED if variant == "standard" else variant.replace("_", " "): variant for variant in VARIANTS}
    return {change: partial(_records, Tetrominoes(count, seed, "test", variant)) for change, variant in names.items()}


def multi_dsprites_changes(count: int, seed: int) -> dict[str, Draw]:
    """Return what draws the test scenes of Multi-dSprites, colored on gray, and changed ones, by name of the change.

    The scenes are changed one by one: to triangles and crosses; to colors of half the saturation or half the value,
    less than in any scene of the generator; to a background of any color; to one object; or to more objects, those of
    the scenes before added.
    """
    scenes = list(MultiDSprites(max(count, _CROWD), seed, "test", "colored_on_grayscale").records())
    grey: list[Colour] = [tuple(scene.image[scene.segmentation == 0][0].tolist()) for scene in scenes[:count]]
    coloured: list[Colour] = [tuple(c) for c in np.random.default_rng(seed).integers(0, 256, (count, 3)).tolist()]
    everyone = [scene.factors for scene in scenes]
    objects = everyone[:count]
    crowds = [[one for j in range(_CROWD) for one in everyone[i - j]] for i in range(count)]
    return {
        UNMODIFIED: partial(_drawn, grey, objects),
        "triangles and crosses": partial(
            _drawn, grey, [list(map(reshaped, scene, cycle(UNSEEN))) for scene in objects]
        ),
        "pale colors": partial(_drawn, grey, [[pale(one) for one in scene] for scene in objects]),
        "dark colors": partial(_drawn, grey, [[dark(one) for one in scene] for scene in objects]),
        "colored background": partial(_drawn, coloured, objects),
        "one object": partial(_drawn, grey, [scene[:1] for scene in objects]),
        "six objects": partial(_drawn, grey, [crowd[:6] for crowd in crowds]),
        "seven objects": partial(_drawn, grey, [crowd[:7] for crowd in crowds]),
    }


def reshaped(factors: dict[str, Value], shape: str) -> dict[str, Value]:
    """Return an object of another shape."""
    return factors | {"shape": shape}


def pale(factors: dict[str, Value]) -> dict[str, Value]:
    """Return an object of half the saturation."""
    colour = {name: float(factors[name]) for name in COLOURS}
    return factors | {name: (level + max(colour.values())) / 2 for name, level in colour.items()}


def dark(factors: dict[str, Value]) -> dict[str, Value]:
    """Return an object of half the value."""
    return factors | {name: float(factors[name]) / 2 for name in COLOURS}


def _records(source: Tetrominoes) -> list[Record]:
    return list(source.records())


def _drawn(backgrounds: Sequence[Colour], scenes: Sequence[Objects]) -> list[Record]:
    return [Record(*render(scene, colour), scene) for colour, scene in zip(backgrounds, scenes, strict=True)]
