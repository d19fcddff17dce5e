"""``emorl-evaluate slots``: scores by the number of slots at test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, UInt8
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor

from emorl.classes import ClassPaths
from emorl.errors import DataError
from emorl.evaluation.inputs import LoadedScenes, chosen_steps, infer, load_model, load_scenes
from emorl.evaluation.outputs import check_out, show, tell, write_figure, write_table
from emorl.evaluation.studies.figures import curves
from emorl.evaluation.studies.scores import cells
from emorl.figures import Figure
from emorl.module import SlotModule
from emorl.scores import StageScores
from emorl.types import Batch

SCORES = ("fg_ari", "ari", "fg_miou", "mse", "active_slots")
_COUNT, _SMALLEST, _LARGEST = map(PositiveInt, (320, 2, 10))


def slots(
    model: str,
    data: str,
    out: Path,
    split: str = "test",
    count: PositiveInt = _COUNT,
    smallest: PositiveInt = _SMALLEST,
    largest: PositiveInt = _LARGEST,
    steps: NonNegativeInt | None = None,
    test_draws: PositiveInt | None = None,
    classes: ClassPaths = (),
) -> None:
    """Score each number of slots at test, K = 2 to 10, over all scenes and by the number of visible objects.

    Writes OUT/slots.csv, slots.md and slots.png; a column NAME_se is a standard error over scenes.

    Args:
        model: Checkpoint of emorl fit, folder of save_pretrained, or name of shipped weights.
        data: Folder of shards: a local path or a URL.
        out: Folder of the table and the figure.
        split: Split of the data set.
        count: Number of scenes from the start of the split.
        smallest: Smallest K.
        largest: Largest K.
        steps: Number of steps I; by default that of emorl test.
        test_draws: Number of draws per image, of which the one with the lowest bound is kept; by default the model's.
        classes: Classes outside emorl.model that the model of a folder may consist of: own_model.SoftKMeans, or
            several: '[own_model.A, own_model.B]'.

    Example:
        ```console
        emorl-evaluate slots tetrominoes data/tetrominoes out --smallest 2 --largest 6
        ```
    """
    if largest < smallest:
        raise DataError.of("largest", expected=f"{smallest} slots or more", got=f"{largest}", remedy="correct it")
    check_out(out)
    module = load_model(model, test_draws, classes)
    refinements = chosen_steps(module, steps)
    scenes = load_scenes(data, module, split, count)
    rows = [row for k in range(smallest, largest + 1) for row in by_objects(module, scenes, refinements, k)]
    show(rows, "Slots K at test: mean ± standard error over scenes")
    tell([*write_table(rows, out, "slots"), write_figure(figure(rows), out, "slots")])


def by_objects(module: SlotModule, scenes: LoadedScenes, steps: int, num_slots: int) -> list[dict[str, Any]]:
    """Return a row of scores with K = ``num_slots`` slots over all scenes, and one for each number of objects.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.evaluation.studies.robustness import as_seen
    >>> from emorl.model import EfficientMORL
    >>> module = SlotModule(EfficientMORL(num_slots=3, slot_dim=8), image_size=35)
    >>> rows = by_objects(module, as_seen(module, list(Tetrominoes(2).records())), steps=0, num_slots=5)
    >>> [(row["K"], row["objects"], row["scenes"]) for row in rows]
    [(5, 'all', 2)]
    """
    groups = groups_of(scenes.segmentation)
    scores = {name: StageScores(module.network).to(module.device) for name in groups}
    for batch in scenes.batches(f"K = {num_slots}"):
        last = infer(module, batch, steps, num_slots).stages[-1]
        for name, members in groups.items():
            scores[name].update(only(members, batch), last)
    return [
        {"K": num_slots, "objects": name, "scenes": int(members.sum()), "I": steps} | cells(scores[name], SCORES)
        for name, members in groups.items()
    ]


def groups_of(segmentation: UInt8[Tensor, "n h w"]) -> dict[str, Bool[Tensor, " n"]]:
    """Return the members of each group of scenes: all and, if it varies, those with each number of visible objects.

    >>> groups_of(torch.tensor([[[0, 1]], [[1, 2]]], dtype=torch.uint8))
    {'all': tensor([True, True]), '1': tensor([ True, False]), '2': tensor([False,  True])}
    """
    objects = torch.stack([(torch.unique(labels) > 0).sum() for labels in segmentation])
    numbers = torch.unique(objects).tolist()
    varied = {f"{number}": objects == number for number in numbers} if len(numbers) > 1 else {}
    return {"all": torch.ones_like(objects, dtype=torch.bool)} | varied


def only(members: Bool[Tensor, " n"], batch: Batch) -> Batch:
    """Return the batch with all scenes but the members marked as padding.

    >>> only(torch.tensor([True, False]), {"index": torch.arange(2)})
    {'index': tensor([ 0, -1])}
    """
    index = batch["index"]
    return {**batch, "index": torch.where(members.to(index.device)[index], index, -1)}


def figure(rows: list[dict[str, Any]]) -> Figure:
    """Draw the scores against K, a line for each number of objects.

    Returns:
        A figure with a panel for each score.

    >>> figure([{"K": 4, "objects": "all", "scenes": 2, "I": 0, "mse": 0.5, "mse_se": 0.1}]).axes[0].get_xlabel()
    'slots K at test'
    """
    lines = {row["objects"]: [other for other in rows if other["objects"] == row["objects"]] for row in rows}
    title = f"Slots, {rows[0]['scenes']} scenes, I = {rows[0]['I']}"
    return curves(lines, "K", "slots K at test", SCORES, title, legend="objects")
