"""The section of a report about latent traversals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from emorl.evaluation.inputs import BATCH, LoadedScenes, infer
from emorl.evaluation.outputs import write_figure
from emorl.evaluation.report.page import Picture, Section
from emorl.evaluation.representation.activeness import activeness
from emorl.evaluation.representation.traversal import sweep_values, traversal, traversal_figure
from emorl.model.inference import encoded
from emorl.module import SlotModule

SHOWN = 3  # dimensions
STEPS = 7  # values of each


def traversals(module: SlotModule, scenes: LoadedScenes, place: int, out: Path) -> Section:
    """Sweep the dimensions that change a scene most, in every slot.

    Args:
        module: the model.
        scenes: the scenes; the first ones determine the range of each dimension.
        place: position of the scene to draw.
        out: folder of the figure.
    """
    some = range(min(BATCH, len(scenes.image)))
    values = sweep_values(_slots(module, scenes, some), STEPS)
    slots = _slots(module, scenes, [place])
    size = (module.image_size, module.image_size)
    dims = activeness(module.network, slots, values, size).argsort(descending=True)[:SHOWN].tolist()
    frames = [traversal(module.network, slots[0], slot, dims, values[dims], size) for slot in range(slots.shape[1])]
    path = write_figure(traversal_figure(torch.stack(frames), dims), out, "traversals")
    text = (
        "Decodings of one scene while one dimension of one slot is swept over its range in the slots of the first"
        f" {len(some)} scenes, and all others are fixed. Shown are the dimensions that change this scene's image most."
    )
    listed = ", ".join(map(str, dims))
    alt = f"Scene {place} decoded {STEPS} times for each slot and each of the dimensions {listed}."
    pictures = [Picture(path, alt, f"Scene {place}, dimensions {listed}.", wide=True)]
    return Section("traversals", "Traversals", text, pictures=pictures)


def _slots(module: SlotModule, scenes: LoadedScenes, places: Sequence[int]) -> Float[Tensor, "scenes slots dim"]:
    return encoded(infer(module, scenes.batch(places), module.test_refinement_steps)).slots
