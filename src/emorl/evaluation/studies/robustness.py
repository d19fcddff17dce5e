"""``emorl-evaluate robustness``: scores on scenes with other shapes, colors, numbers of objects, or with noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveInt

from emorl.classes import ClassPaths
from emorl.data.records import Record
from emorl.data.shards.manifest import Manifest
from emorl.data.stream.scenes import collate, fitted
from emorl.errors import DataError
from emorl.evaluation.inputs import LoadedScenes, chosen_steps, compared_steps, load_model
from emorl.evaluation.outputs import check_out, show, tell, write_figure, write_table
from emorl.evaluation.studies.changes import UNMODIFIED, Draw, multi_dsprites_changes, tetrominoes_changes
from emorl.evaluation.studies.scores import cells, stage_scores
from emorl.figures import Figure, color
from emorl.module import SlotModule
from emorl.results import LABELS

SCORES = ("fg_ari", "ari", "fg_miou", "mse", "active_slots")
DRAWN = SCORES[:4]
CHANGES = {  # by the title of the manifest: a data set and its variant
    "tetrominoes, standard": tetrominoes_changes,
    "multi_dsprites, colored_on_grayscale": multi_dsprites_changes,
}
_COUNT = PositiveInt(320)
_NOISE = tuple(map(NonNegativeFloat, (0.05, 0.1, 0.2)))


def robustness(
    model: str,
    data: str,
    out: Path,
    count: PositiveInt = _COUNT,
    seed: int = 0,
    noise: tuple[NonNegativeFloat, ...] = _NOISE,
    steps: NonNegativeInt | None = None,
    test_draws: PositiveInt | None = None,
    classes: ClassPaths = (),
) -> None:
    """Score a model on generated scenes that differ from its training set in one respect each.

    Changes of Tetrominoes are trominoes, pentominoes, other colors, one to five objects, and noise. Changes of
    Multi-dSprites, colored on gray, are triangles and crosses, pale and dark colors, colored backgrounds, one, six and
    seven objects, and noise. K is raised if scenes have more objects. Writes OUT/robustness.csv, robustness.md and
    robustness.png; a column NAME_se is a standard error over scenes, fg_ari_change the difference from the unmodified
    set. A model that has slots at I = 0 is scored there as well.

    Args:
        model: Checkpoint of emorl fit, folder of save_pretrained, or name of shipped weights.
        data: Folder of shards of Tetrominoes or Multi-dSprites, not of another variant, which identifies the model's
            training set: a local path or a URL. Its scenes are not read.
        out: Folder of the table and the figure.
        count: Number of scenes of each set.
        seed: Seed of the scenes and the noise.
        noise: Standard deviations of Gaussian noise on images in [0, 1]. MSE compares with the noisy image.
        steps: Number of steps I; by default that of emorl test.
        test_draws: Number of draws per image, of which the one with the lowest bound is kept; by default the model's.
        classes: Classes outside emorl.model that the model of a folder may consist of: own_model.SoftKMeans, or
            several: '[own_model.A, own_model.B]'.

    Example:
        ```console
        emorl-evaluate robustness tetrominoes data/tetrominoes out
        ```
    """
    check_out(out)
    module = load_model(model, test_draws, classes)
    refinements, dataset = chosen_steps(module, steps), Manifest.load(data).title
    rows = []
    for change, draw in changes(dataset, count, seed, noise).items():
        rows += by_steps(module, as_seen(module, draw()), change, refinements)
    rows = against_unmodified(rows)
    show(rows, "Changed scenes: mean ± standard error over scenes")
    tell([*write_table(rows, out, "robustness"), write_figure(figure(rows), out, "robustness")])


def changes(dataset: str, count: int, seed: int = 0, noise: Sequence[float] = ()) -> dict[str, Draw]:
    """Return functions that generate the scenes of each change, starting with the unmodified ones.

    Args:
        dataset: the data set and its variant, as `Manifest.title` has them.
        count: number of scenes of each set.
        seed: seed of the scenes and the noise.
        noise: standard deviations of noise.

    Raises:
        DataError: if there is no generator of the data set, or it is another variant.

    >>> list(changes("tetrominoes, standard", count=1, noise=[0.1]))[-1]
    'noise 0.1'
    """
    if dataset not in CHANGES:
        expected, remedy = " or ".join(f"'{title}'" for title in CHANGES), "give shards of one, which have a generator"
        raise DataError.of("data set", expected=expected, got=f"'{dataset}'", remedy=remedy)
    draws = CHANGES[dataset](count, seed)
    plain = draws[UNMODIFIED]
    return draws | {f"noise {deviation:g}": partial(noisy, plain, deviation, seed) for deviation in noise}


def noisy(draw: Draw, deviation: float, seed: int) -> list[Record]:
    """Generate scenes with Gaussian noise of a standard deviation on images in [0, 1], rounded to 8 bits.

    Returns:
        The scenes, whose labels have no noise.

    >>> clean = tetrominoes_changes(count=1, seed=0)[UNMODIFIED]
    >>> bool((noisy(clean, deviation=0.1, seed=0)[0].image != clean()[0].image).any())
    True
    """
    records = draw()
    image = torch.from_numpy(np.stack([record.image for record in records])).movedim(-1, 1)
    normal = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed % 2**64))
    changed = (image + 255 * deviation * normal).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).numpy()
    return [record._replace(image=pixels) for record, pixels in zip(records, changed, strict=True)]


def as_seen(module: SlotModule, records: Sequence[Record]) -> LoadedScenes:
    """Return scenes in the model's input size, on its device.

    >>> from emorl.model import EfficientMORL
    >>> module = SlotModule(EfficientMORL(num_slots=4, slot_dim=8), image_size=32)
    >>> as_seen(module, tetrominoes_changes(count=2, seed=0)[UNMODIFIED]()).image.shape
    torch.Size([2, 3, 32, 32])
    """
    crop, size = module.crop, module.image_size
    seen = [fitted(f"{place}", record, crop, size, size) for place, record in enumerate(records)]
    return LoadedScenes.of([collate(list(enumerate(seen)))]).to(module.device)


def by_steps(module: SlotModule, scenes: LoadedScenes, change: str, steps: int) -> list[dict[str, Any]]:
    """Return a row of scores for each of the `compared_steps`, with a slot for every object.

    >>> from emorl.model import EfficientMORL
    >>> module = SlotModule(EfficientMORL(num_slots=3, slot_dim=8), image_size=16)
    >>> scenes = as_seen(module, tetrominoes_changes(count=2, seed=0)["five objects"]())
    >>> [(row["I"], row["K"]) for row in by_steps(module, scenes, "five objects", steps=1)]
    [(0, 6), (1, 6)]
    """
    objects = max(len(factors) for factors in scenes.factors)
    num_slots = max(module.network.num_slots, objects + 1)
    stages = stage_scores(module, scenes, compared_steps(module, steps), num_slots, change)
    about = {"change": change, "objects": objects, "K": num_slots, "scenes": len(scenes.image)}
    return [about | {"I": i} | cells(scores, SCORES) for i, scores in stages.items()]


def against_unmodified(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row the difference of its FG-ARI from that of the unmodified set at the same I.

    Returns:
        The rows, each with ``fg_ari_change``.

    >>> rows = [{"change": UNMODIFIED, "I": 0, "fg_ari": 1.0}, {"change": "noise 0.1", "I": 0, "fg_ari": 0.75}]
    >>> against_unmodified(rows)[1]["fg_ari_change"]
    -0.25
    """
    expected = {row["I"]: row["fg_ari"] for row in rows if row["change"] == UNMODIFIED}
    return [row | {"fg_ari_change": row["fg_ari"] - expected[row["I"]]} for row in rows]


def figure(rows: list[dict[str, Any]]) -> Figure:
    """Draw a panel for each score, with a bar for each change and I and a line at the unmodified set's value.

    Returns:
        A figure with a panel for each score.

    >>> scores = {name: value for score in DRAWN for name, value in ((score, 0.5), (f"{score}_se", 0.1))}
    >>> rows = [{"change": change, "I": 0, "scenes": 2} | scores for change in (UNMODIFIED, "noise 0.1")]
    >>> len(figure(rows).axes)
    4
    """
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
            axes.axvline(means[0], color=color(number), linestyle=":")
        axes.set_title(LABELS[score])
    panels[0].set_yticks(places + 0.4 - height / 2, list(by_change))
    panels[0].invert_yaxis()
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(steps))
    return drawn
