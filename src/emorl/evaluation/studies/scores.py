"""Common parts of the studies of scores: scoring of stages, and scores as cells of a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emorl.evaluation.inputs import LoadedScenes, infer
from emorl.metrics import Summary
from emorl.model import Stage
from emorl.module import SlotModule
from emorl.scores import StageScores
from emorl.types import Batch


def stages(
    module: SlotModule, batch: Batch, steps: Iterable[int], num_slots: int | None = None, seed: int = 0
) -> dict[int, Stage]:
    """Return the stage after each number of steps, the smallest first.

    Stage i of a longer inference equals the result of i steps; missing stages are inferred separately.

    >>> import torch
    >>> from emorl.model import EfficientMORL
    >>> module = SlotModule(EfficientMORL(num_slots=3, slot_dim=8), image_size=16)
    >>> batch = {"image": torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "index": torch.arange(2)}
    >>> list(stages(module, batch, steps=[1, 0]))
    [0, 1]
    """
    found: dict[int, Stage] = {}
    for i in sorted(steps, reverse=True):
        if i not in found:
            found |= {stage.step: stage for stage in infer(module, batch, i, num_slots, seed).stages}
    return {i: found[i] for i in sorted(steps)}


def stage_scores(
    module: SlotModule,
    scenes: LoadedScenes,
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
        num_slots: number of slots K; by default the model's.
        title: title of the progress bar.
        seed: seed of the noise; ``emorl test`` uses 0.

    Returns:
        The scores by number of steps.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.evaluation.studies.robustness import as_seen
    >>> from emorl.model import EfficientMORL
    >>> module = SlotModule(EfficientMORL(num_slots=3, slot_dim=8), image_size=16)
    >>> scenes = as_seen(module, list(Tetrominoes(2).records()))
    >>> list(stage_scores(module, scenes, steps=[0, 1]))
    [0, 1]
    """
    scores = {i: StageScores(module.network).to(module.device) for i in sorted(steps)}
    for batch in scenes.batches(title):
        for i, stage in stages(module, batch, steps, num_slots, seed).items():
            scores[i].update(batch, stage)
    return scores


def cells(scores: StageScores, names: Iterable[str]) -> dict[str, float]:
    """Return the scores as cells of a row: each mean over scenes under its name, its standard error as ``NAME_se``.

    Scores that the model does not have are omitted, and so are those that need ground truth if no scene has objects.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.evaluation.studies.robustness import as_seen
    >>> from emorl.model import EfficientMORL
    >>> module = SlotModule(EfficientMORL(num_slots=3, slot_dim=8), image_size=16)
    >>> scores = stage_scores(module, as_seen(module, list(Tetrominoes(2).records())), steps=[0])
    >>> list(cells(scores[0], ["fg_ari", "mse"]))
    ['fg_ari', 'fg_ari_se', 'mse', 'mse_se']
    """
    known = scores.summary()
    return {column: value for name in names if name in known for column, value in pair(name, known[name]).items()}


def pair(name: str, summary: Summary) -> dict[str, float]:
    """Return one score as two cells: its mean over scenes and its standard error.

    >>> import torch
    >>> from emorl.metrics import ImageMean
    >>> mean = ImageMean()
    >>> mean.update(torch.tensor([1.0, 3.0]))
    >>> pair("mse", mean.summary())
    {'mse': 2.0, 'mse_se': 1.0}
    """
    return {name: float(summary.mean), f"{name}_se": float(summary.standard_error)}
