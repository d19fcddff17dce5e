"""``emorl-evaluate robustness``: scenes unlike those of training: other shapes and colours, more objects, noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveInt
from matplotlib.figure import Figure

from emorl.errors import DataError
from emorl.evaluation.inputs import Scenes, load_module
from emorl.evaluation.outputs import write_figure, write_table
from emorl.evaluation.studies.changes import UNMODIFIED, Draw, multi_dsprites_changes, tetrominoes_changes
from emorl.evaluation.studies.rows import discard, gather
from emorl.evaluation.studies.scores import cells, stage_scores
from emorl.module import EfficientMORLModule
from emorl.results import LABELS

SCORES = ("fg_ari", "ari", "fg_miou", "mse", "active_slots")
DRAWN = SCORES[:4]
CHANGES = {35: tetrominoes_changes, 64: multi_dsprites_changes}  # by image size
_COUNT = PositiveInt(320)
_NOISE = tuple(map(NonNegativeFloat, (0.05, 0.1, 0.2)))


def robustness(
    model: str,
    out: Path,
    count: PositiveInt = _COUNT,
    seed: int = 0,
    noise: tuple[NonNegativeFloat, ...] = _NOISE,
    steps: NonNegativeInt | None = None,
) -> None:
    """Score a model on generated scenes that differ from its training set in one respect each.

    A model of 35x35 pixels sees Tetrominoes: trominoes, pentominoes, other colours, one to five objects, noise. One of
    64x64 pixels sees Multi-dSprites, coloured on grey: triangles and crosses, pale and dark colours, coloured
    backgrounds, one, six and seven objects, noise; even if it was trained on other data of that size. K is raised where
    there are more objects. Writes OUT/robustness.csv, robustness.md and robustness.png; a column NAME_se is a standard
    error over scenes, fg_ari_change the difference from the unmodified set. After an interruption the same command goes
    on where it stopped.

    Args:
        model: Checkpoint of emorl fit, or name of shipped weights.
        out: Folder of the table and the figure.
        count: Number of scenes of each set.
        seed: Chooses the scenes and the noise.
        noise: Standard deviations of Gaussian noise on images in [0, 1]. The noisy image is also what MSE compares to.
        steps: Refinement steps I besides 0; the model's number at test unless given.
    """
    module = load_module(model)
    refinements = module.test_refinement_steps if steps is None else steps
    parts = {
        change: partial(by_steps, module, make, change, refinements)
        for change, make in changes(module.image_size, count, seed, noise).items()
    }
    about = {"count": count, "seed": seed, "noise": list(noise), "steps": refinements}
    rows = against_unmodified(gather(parts, out, "robustness", module, about))
    print(*write_table(rows, out, "robustness"), write_figure(figure(rows), out, "robustness"), sep="\n")
    discard(out, "robustness")


def changes(
    image_size: int, count: int, seed: int = 0, noise: Sequence[float] = ()
) -> Mapping[str, Callable[[], Scenes]]:
    """Return what makes the scenes of each change, the unmodified ones first.

    Raises:
        DataError: if no data set of that image size is generated.
    """
    if image_size not in CHANGES:
        expected, remedy = "a model of 35x35 or 64x64 pixels", "only Tetrominoes and Multi-dSprites can be generated"
        raise DataError.of("image_size", expected=expected, got=f"{image_size}", remedy=remedy)
    draw = CHANGES[image_size](count, seed)
    noisy = {f"noise {deviation:g}": partial(generated, draw[UNMODIFIED], deviation, seed) for deviation in noise}
    return {change: partial(generated, records) for change, records in draw.items()} | noisy


def generated(draw: Draw, deviation: float = 0.0, seed: int = 0) -> Scenes:
    """Draw scenes, with Gaussian noise of a standard deviation on images in [0, 1], rounded to 8 bits again."""
    records = draw()
    image = torch.from_numpy(np.stack([record.image for record in records])).movedim(-1, 1).contiguous()
    normal = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    noisy = (image + 255 * deviation * normal).round().clamp(0, 255).to(torch.uint8)
    segmentation = torch.from_numpy(np.stack([record.segmentation for record in records]))
    return Scenes(noisy, segmentation, [record.factors for record in records])


def by_steps(module: EfficientMORLModule, make: Callable[[], Scenes], change: str, steps: int) -> list[dict[str, Any]]:
    """Return a row of scores at I = 0 and, if that is another, one at I = ``steps``, with a slot for every object."""
    scenes = make()
    objects = max(len(factors) for factors in scenes.factors)
    num_slots = max(module.network.num_slots, objects + 1)
    stages = stage_scores(module, scenes, sorted({0, steps}), num_slots, change)
    about = {"change": change, "objects": objects, "K": num_slots, "scenes": len(scenes.image)}
    return [about | {"I": i} | cells(scores, SCORES) for i, scores in stages.items()]


def against_unmodified(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row by how much its FG-ARI differs from that of the unmodified set at the same I."""
    expected = {row["I"]: row["fg_ari"] for row in rows if row["change"] == UNMODIFIED}
    return [row | {"fg_ari_change": row["fg_ari"] - expected[row["I"]]} for row in rows]


def figure(rows: list[dict[str, Any]]) -> Figure:
    """Draw a panel for each score and in it a bar for each change and I, with a line at the unmodified set's value."""
    by_change: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_change.setdefault(row["change"], []).append(row)
    steps = [row["I"] for row in by_change[UNMODIFIED]]
    height = 0.8 / len(steps)
    places = np.arange(len(by_change))
    drawn = Figure(figsize=(3.2 * len(DRAWN), 1.2 + 0.4 * len(by_change)), layout="constrained")
    drawn.suptitle(f"Robustness, {rows[0]['scenes']} scenes each: mean ± standard error over scenes")
    panels = drawn.subplots(1, len(DRAWN), sharey=True)
    for axes, score in zip(panels, DRAWN, strict=True):
        for number, i in enumerate(steps):
            means, errors = ([row[number][name] for row in by_change.values()] for name in (score, f"{score}_se"))
            axes.barh(places + number * height, means, height, xerr=errors, capsize=2, label=f"I = {i}")
            axes.axvline(means[0], color=f"C{number}", linestyle=":")
        axes.set_title(LABELS[score])
    panels[0].set_yticks(places + 0.4 - height / 2, list(by_change))
    panels[0].invert_yaxis()
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(steps))
    return drawn
