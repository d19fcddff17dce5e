"""Draw docs/images/slots.png, the picture of the README, from shipped weights: python tools/slots_figure.py."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import pad

from emorl import load_pretrained
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.viz import PAGE, enlarge, save_png, sheet, slot_names, slot_tiles, to_uint8

OUT = Path(__file__).parents[1] / "docs" / "images" / "slots.png"
SCENES = {
    "Multi-\ndSprites": ("multi_dsprites", MultiDSprites(100, split="test"), (2, 1)),
    "Tetro-\nminoes": ("tetrominoes", Tetrominoes(100, split="test"), (1, 5)),
}
SLOTS = 6
SIDE = 140  # pixels of a tile: 4 for each of Tetrominoes


def main() -> None:
    """Draw scenes in rows: the image, what each slot shows, largest mask first, and their sum."""
    tiles = torch.cat([decomposed(*chosen) for chosen in SCENES.values()])
    rows = [name for name, (*_, chosen) in SCENES.items() for _ in chosen]
    save_png(sheet(tiles, ["image", *slot_names(SLOTS), "reconstruction"], rows), OUT)


def decomposed(
    weights: str, source: MultiDSprites | Tetrominoes, chosen: tuple[int, ...]
) -> UInt8[Tensor, "scenes columns 3 height width"]:
    """Return the tiles of scenes; page where there is no slot."""
    scenes = list(islice(source.records(), max(chosen) + 1))
    images = torch.stack([torch.from_numpy(scenes[index].image) for index in chosen]).movedim(-1, 1)
    with torch.inference_mode():
        found = load_pretrained(weights).reconstruct(images, steps=1, draws=8)
    order = found.masks.sum((2, 3, 4)).argsort(descending=True)
    scene = torch.arange(len(images))[:, None]
    slots = slot_tiles(found.masks[scene, order], found.rgb[scene, order])
    slots = pad(slots, (0,) * 7 + (SLOTS - slots.shape[1],), value=PAGE)
    tiles = torch.cat((enlarge(images)[:, None], slots, enlarge(to_uint8(found.reconstruction))[:, None]), dim=1)
    around = (SIDE - tiles.shape[-1]) // 2
    return pad(tiles, (around,) * 4, value=PAGE)


if __name__ == "__main__":
    main()
