"""Draw docs/images/slots.png, the picture of the README, from shipped weights: python tools/slots_figure.py."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emorl import load_pretrained
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import Tetrominoes

OUT = Path(__file__).parents[1] / "docs" / "images" / "slots.png"
SCENES = {
    "Multi-dSprites": ("multi_dsprites", MultiDSprites(100, split="test"), (2, 1)),
    "Tetrominoes": ("tetrominoes", Tetrominoes(100, split="test"), (1, 5)),
}
SLOTS = 6
SQUARES = 12  # squares per side of the checkerboard behind a slot's mask


def main() -> None:
    """Draw scenes in rows: the image, what each slot shows, largest mask first, and their sum."""
    rows = [(name, scene) for name, chosen in SCENES.items() for scene in decomposed(*chosen)]
    figure = Figure(figsize=(1.25 * (SLOTS + 2), 1.28 * len(rows) + 0.35), facecolor="white", layout="constrained")
    axes = figure.subplots(len(rows), SLOTS + 2)
    for row, (name, (image, slots, reconstruction)) in zip(axes, rows, strict=True):
        row[0].set_ylabel(name, fontsize=12)
        for place, picture in zip(row, (image, *slots), strict=False):
            show(place, picture)
        for place in row[1 + len(slots) : -1]:
            place.set_axis_off()
        show(row[-1], reconstruction)
    titles = ("image", *(f"slot {k}" for k in range(1, SLOTS + 1)), "reconstruction")
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=12)
    figure.savefig(OUT, dpi=120)


def decomposed(
    weights: str, source: MultiDSprites | Tetrominoes, chosen: tuple[int, ...]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return image, slots and reconstruction of scenes, in [0, 1] and with channels last."""
    scenes = list(islice(source.records(), max(chosen) + 1))
    images = torch.stack([torch.from_numpy(scenes[index].image) for index in chosen]).movedim(-1, 1)
    with torch.inference_mode():
        found = load_pretrained(weights).reconstruct(images, steps=1, draws=8)
    height, width = images.shape[-2:]
    rows, columns = (torch.arange(side) * SQUARES // side for side in (height, width))
    slots = found.masks * found.rgb + (1 - found.masks) * (1 - 0.12 * ((rows[:, None] + columns) % 2))
    order = found.masks.sum((2, 3, 4)).argsort(descending=True)
    return [
        (image.movedim(0, -1).numpy(), slot[places].movedim(1, -1).numpy(), reconstruction.movedim(0, -1).numpy())
        for image, slot, places, reconstruction in zip(images, slots, order, found.reconstruction, strict=True)
    ]


def show(place: Axes, picture: np.ndarray) -> None:
    """Show an image without ticks."""
    place.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
    place.set_xticks([])
    place.set_yticks([])


if __name__ == "__main__":
    main()
