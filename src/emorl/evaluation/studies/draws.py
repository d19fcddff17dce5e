"""``emorl-evaluate draws``: variance of scores over the sampling noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt

from emorl.classes import ClassPaths
from emorl.evaluation.inputs import LoadedScenes, chosen_steps, compared_steps, load_model, load_scenes
from emorl.evaluation.outputs import check_out, show, tell, write_figure, write_table
from emorl.evaluation.studies.figures import curves
from emorl.evaluation.studies.scores import cells, stage_scores
from emorl.figures import Figure
from emorl.module import SlotModule
from emorl.ranges import counts

Rows = list[dict[str, Any]]
SCORES = ("fg_ari", "ari", "fg_miou", "mse")
_COUNT, _DRAWS = PositiveInt(320), PositiveInt(20)


def draws(
    model: str,
    data: str,
    out: Path,
    split: str = "test",
    count: PositiveInt = _COUNT,
    number: PositiveInt = _DRAWS,
    steps: NonNegativeInt | None = None,
    means: bool = False,
    test_draws: PositiveInt | None = None,
    classes: ClassPaths = (),
) -> None:
    """Score the same scenes with several draws of the sampling noise, such as of the initial slots.

    The first draw is that of emorl test. Writes OUT/draws.csv, draws.md and draws.png, a row for each draw and I, where
    NAME_se is a standard error over scenes; and OUT/summary.csv and summary.md, mean and standard deviation NAME_sd
    over draws. A model that has slots at I = 0 is scored there as well.

    Args:
        model: Checkpoint of emorl fit, folder of save_pretrained, or name of shipped weights.
        data: Folder of shards: a local path or a URL.
        out: Folder of the tables and the figure.
        split: Split of the data set.
        count: Number of scenes from the start of the split.
        number: Number of draws.
        steps: Number of steps I; by default that of emorl test.
        means: Whether to decode the means of posteriors, as predict and load_pretrained do, instead of samples.
        test_draws: Number of draws per image, of which the one with the lowest bound is kept; by default the model's.
        classes: Classes outside emorl.model that the model of a folder may consist of: own_model.SoftKMeans, or
            several: '[own_model.A, own_model.B]'.

    Example:
        ```console
        emorl-evaluate draws tetrominoes data/tetrominoes out --number 20
        ```
    """
    check_out(out)
    counts(1, number=number)
    module = load_model(model, test_draws, classes)
    module.test_means = module.test_means or means
    refinements = chosen_steps(module, steps)
    scenes = load_scenes(data, module, split, count)
    rows = [row for seed in range(number) for row in of_draw(module, scenes, refinements, seed)]
    summary = over_draws(rows)
    show(summary, "Draws of the noise: mean ± standard deviation over draws")
    paths = *write_table(rows, out, "draws"), write_figure(figure(rows), out, "draws")
    tell([*paths, *write_table(summary, out, "summary")])


def of_draw(module: SlotModule, scenes: LoadedScenes, steps: int, seed: int) -> Rows:
    """Return a row of scores for each of the `compared_steps`, with the noise of a seed.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.evaluation.studies.robustness import as_seen
    >>> from emorl.model import EfficientMORL
    >>> module = SlotModule(EfficientMORL(num_slots=3, slot_dim=8), image_size=16)
    >>> [row["I"] for row in of_draw(module, as_seen(module, list(Tetrominoes(2).records())), steps=1, seed=0)]
    [0, 1]
    """
    scores = stage_scores(module, scenes, compared_steps(module, steps), title=f"draw {seed}", seed=seed)
    count = len(scenes.image)
    return [{"draw": seed, "I": i, "scenes": count} | cells(score, SCORES) for i, score in scores.items()]


def over_draws(rows: Rows) -> Rows:
    """Return a row for each I: each score's mean over draws, and its standard deviation if there are several draws.

    >>> over_draws([{"I": 0, "scenes": 320, "mse": 0.5}, {"I": 0, "scenes": 320, "mse": 1.5}])[0]["mse"]
    1.0
    """
    summary = []
    for i in sorted({row["I"] for row in rows}):
        own = [row for row in rows if row["I"] == i]
        found: dict[str, float | None] = {"I": i, "scenes": own[0]["scenes"], "draws": len(own)}
        for score in (name for name in SCORES if name in own[0]):
            values = torch.tensor([row[score] for row in own], dtype=torch.float64)
            found |= {score: values.mean().item(), f"{score}_sd": values.std().item() if len(own) > 1 else None}
        summary.append(found)
    return summary


def figure(rows: Rows) -> Figure:
    """Draw the scores of each draw, a color for each I.

    Returns:
        A figure with a panel for each score.

    >>> figure([{"draw": 0, "I": 1, "scenes": 2, "mse": 0.5, "mse_se": 0.1}]).axes[0].get_xlabel()
    'draw'
    """
    lines = {f"{i}": [row for row in rows if row["I"] == i] for i in sorted({row["I"] for row in rows})}
    title = f"Draws of the noise, {rows[0]['scenes']} scenes"
    return curves(lines, "draw", "draw", SCORES, title, legend="I", ordered=False)
