"""What the studies of scores share: inference over all scenes, and scores as cells of a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.evaluation.inputs import Scenes, infer
from emorl.metrics import Summary
from emorl.model import Inference
from emorl.module import EfficientMORLModule
from emorl.scores import StageScores
from emorl.types import Batch


def inferences(
    module: EfficientMORLModule,
    scenes: Scenes,
    steps: int,
    num_slots: int | None = None,
    title: str = "",
    seed: int = 0,
) -> Iterator[tuple[Batch, Inference]]:
    """Infer all scenes, batch after batch, with a progress bar.

    Args:
        module: the model.
        scenes: the scenes.
        steps: refinement steps I.
        num_slots: slots K; the model's own unless given.
        title: title of the progress bar.
        seed: chooses the noise; 0 is that of ``emorl test``.
    """
    for places in tqdm(scenes.places(), title, unit="batch", disable=None, leave=False):
        batch = scenes.batch(places)
        inference = infer(module, batch, steps, num_slots, seed)
        yield on_device(batch, module), inference


def stage_scores(
    module: EfficientMORLModule,
    scenes: Scenes,
    stages: Sequence[int],
    num_slots: int | None = None,
    title: str = "",
    seed: int = 0,
) -> dict[int, StageScores]:
    """Score stages of one inference over all scenes: stage i of it is what I = i gives; see `inferences`."""
    scores = {i: StageScores().to(module.device) for i in stages}
    for batch, inference in inferences(module, scenes, max(stages), num_slots, title, seed):
        for i, score in scores.items():
            score.update(batch, inference.stages[i])
    return scores


def on_device(batch: Batch, module: EfficientMORLModule) -> Batch:
    """Return the batch on the model's device, where it is scored."""
    return {
        **batch,
        "image": batch["image"].to(module.device),
        "index": batch["index"].to(module.device),
        "segmentation": batch["segmentation"].to(module.device),
    }


def cells(scores: StageScores, names: Iterable[str]) -> dict[str, float]:
    """Return the scores as cells of a row: each mean over scenes under its name, its standard error as ``NAME_se``."""
    return {column: value for name in names for column, value in pair(name, getattr(scores, name).summary()).items()}


def pair(name: str, summary: Summary) -> dict[str, float]:
    """Return one score as two cells: its mean over scenes and its standard error."""
    return {name: float(summary.mean), f"{name}_se": float(summary.standard_error)}
