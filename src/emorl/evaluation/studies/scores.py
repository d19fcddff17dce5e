"""What the studies of scores share: the scores of stages, and scores as cells of a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emorl.evaluation.inputs import Scenes, infer
from emorl.metrics import Summary
from emorl.model import Stage
from emorl.module import SlotModule
from emorl.scores import StageScores
from emorl.types import Batch


def stages(
    module: SlotModule, batch: Batch, steps: Iterable[int], num_slots: int | None = None, seed: int = 0
) -> dict[int, Stage]:
    """Return the stage after each number of steps, the smallest first.

    Stage i of a longer inference is what i steps give; what it has no stage of is inferred by itself.
    """
    found: dict[int, Stage] = {}
    for i in sorted(steps, reverse=True):
        if i not in found:
            found |= {stage.step: stage for stage in infer(module, batch, i, num_slots, seed).stages}
    return {i: found[i] for i in sorted(steps)}


def stage_scores(
    module: SlotModule,
    scenes: Scenes,
    steps: Sequence[int],
    num_slots: int | None = None,
    title: str = "scenes",
    seed: int = 0,
) -> dict[int, StageScores]:
    """Score all scenes after each number of steps.

    Args:
        module: the model.
        scenes: the scenes.
        steps: the numbers of steps.
        num_slots: slots K; the model's own unless given.
        title: title of the progress bar.
        seed: chooses the noise; 0 is that of ``emorl test``.
    """
    scores = {i: StageScores(module.network).to(module.device) for i in sorted(steps)}
    for batch in scenes.batches(title):
        for i, stage in stages(module, batch, steps, num_slots, seed).items():
            scores[i].update(batch, stage)
    return scores


def cells(scores: StageScores, names: Iterable[str]) -> dict[str, float]:
    """Return the scores as cells of a row: each mean over scenes under its name, its standard error as ``NAME_se``.

    Of the names, those that the model has no score of are left out, and without an object in any scene those that need
    truth.
    """
    known = scores.summary()
    return {column: value for name in names if name in known for column, value in pair(name, known[name]).items()}


def pair(name: str, summary: Summary) -> dict[str, float]:
    """Return one score as two cells: its mean over scenes and its standard error."""
    return {name: float(summary.mean), f"{name}_se": float(summary.standard_error)}
