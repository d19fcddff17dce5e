"""``emorl-evaluate refinement``: what refinement adds at test, step by step, to the bottom-up pass."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from matplotlib.figure import Figure

from emorl.evaluation.inputs import infer, load_module, load_scenes
from emorl.evaluation.outputs import write_figure, write_table
from emorl.evaluation.studies.figures import curves
from emorl.evaluation.studies.rows import Rows, discard, gather_batches
from emorl.evaluation.studies.scores import cells, on_device
from emorl.metrics.image_metric import pool
from emorl.module import EfficientMORLModule
from emorl.scores import StageScores
from emorl.types import Batch

SCORES = ("fg_ari", "ari", "fg_miou", "mse", "nll", "kl")
_COUNT, _STEPS = PositiveInt(320), NonNegativeInt(6)


def refinement(
    model: str,
    data: str,
    out: Path,
    split: str = "test",
    count: PositiveInt = _COUNT,
    steps: NonNegativeInt = _STEPS,
) -> None:
    """Score each number of refinement steps at test, I = 0, 1, .., and the zero-step share of what it reaches.

    Writes OUT/refinement.csv, refinement.md and refinement.png. A column NAME_se is a standard error over scenes. The
    zero-step shares tell how much of a row's quality the bottom-up pass has alone: FG-ARI at I = 0 / FG-ARI at I, and
    MSE at I / MSE at I = 0. KL at I = 0 sums the terms of all layers; after refinement it is one term. After an
    interruption the same command goes on where it stopped.

    Args:
        model: Checkpoint of emorl fit, or name of shipped weights.
        data: Folder of shards: a local path or a URL.
        out: Folder of the table and the figure.
        split: Split of the data set.
        count: Number of scenes, the first ones of the split.
        steps: Largest I.
    """
    module = load_module(model)
    scenes = load_scenes(data, module, split, count)
    batches = gather_batches(partial(moments, module, steps), scenes, out, "refinement", module, {"steps": steps})
    rows = by_steps(batches)
    paths = *write_table(rows, out, "refinement"), write_figure(figure(rows), out, "refinement")
    print(summary(rows), *paths, sep="\n")
    discard(out, "refinement")


def moments(module: EfficientMORLModule, steps: int, batch: Batch) -> Rows:
    """Return for each I up to ``steps`` the moments of a batch's scores, see `pool`; stage i is what I = i gives."""
    rows, seen = [], on_device(batch, module)
    for i, stage in enumerate(infer(module, batch, steps).stages):
        scores = StageScores().to(module.device)
        scores.update(seen, stage)
        rows.append({"I": i} | {name: getattr(scores, name).moments.tolist() for name in SCORES})
    return rows


def by_steps(batches: Rows) -> Rows:
    """Return a row of scores for each I, from the moments of all batches."""
    stages: dict[int, StageScores] = {}
    for row in batches:
        scores = stages.setdefault(row["I"], StageScores())
        for name in SCORES:
            metric = getattr(scores, name)
            metric.moments = pool(torch.stack((metric.moments, metric.moments.new_tensor(row[name]))))
    scenes = int(stages[0].mse.moments[0])
    rows = [{"I": i, "scenes": scenes} | cells(scores, SCORES) for i, scores in stages.items()]
    return [row | zero_step_shares(rows[0], row) for row in rows]


def zero_step_shares(zero: dict[str, Any], row: dict[str, Any]) -> dict[str, float]:
    """Return which share of a row's quality the row of I = 0 has: of FG-ARI, and of the inverse of MSE.

    The paper's model has 99.1 % of its refined quality after zero steps (Emami et al., ICML 2021, abstract).
    """
    return {
        "fg_ari_zero_step_share": zero["fg_ari"] / row["fg_ari"] if row["fg_ari"] > 0 else float("nan"),
        "mse_zero_step_share": row["mse"] / zero["mse"] if zero["mse"] else float("nan"),
    }


def summary(rows: list[dict[str, Any]]) -> str:
    """Say which share of the best FG-ARI is there without refinement."""
    if math.isnan(rows[0]["fg_ari"]):
        return "no object is to be seen in any scene: FG-ARI is undefined"
    best = max(rows, key=lambda row: float(row["fg_ari"]))
    if math.isnan(share := best["fg_ari_zero_step_share"]):
        return f"FG-ARI is {best['fg_ari']:.4f} at best, at I = {best['I']}: no object is found"
    return (
        f"FG-ARI {rows[0]['fg_ari']:.4f} at I = 0 is {share:.1%} of the best, {best['fg_ari']:.4f} at I = {best['I']}"
    )


def figure(rows: list[dict[str, Any]]) -> Figure:
    """Draw the scores against I."""
    return curves({"": rows}, "I", "refinement steps I at test", SCORES, f"Refinement, {rows[0]['scenes']} scenes")
