"""Train a model without Lightning: shards as a torch data set, an optimizer and a loop.

``python examples/plain_torch.py data/tetrominoes --steps 1000``, with the data of
``emorl-data generate tetrominoes data/tetrominoes``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from emorl.data import Scenes
from emorl.metrics.functional import adjusted_rand_index, masks_to_labels
from emorl.model import EfficientMORL, FourierPosition


def forever(loader: DataLoader[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Yield batches indefinitely."""
    while True:
        yield from loader


def main(root: str, steps: int, batch_size: int = 16) -> float:
    """Train, and return the FG-ARI on test scenes."""
    torch.manual_seed(0)
    scenes = Scenes(root, "train")
    loader = DataLoader(scenes, batch_size, shuffle=True, drop_last=True)
    model = EfficientMORL(num_slots=4, position=FourierPosition, encoder_stride=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-4)
    for step, batch in zip(range(steps), forever(loader), strict=False):
        inference = model(batch["image"] / 255, steps=0)  # with I = 0: no refinement
        optimizer.zero_grad()
        inference.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        model.end_step()  # updates GECO, if the model has it
        if step % 100 == 0:
            print(f"step {step}: loss {inference.loss.item():.1f}")
    test = Scenes(root, "test")
    with torch.no_grad():
        found = model.eval().reconstruct(torch.stack([scene["image"] for scene in test]))
    truth = torch.stack([scene["segmentation"] for scene in test])
    score = float(adjusted_rand_index(masks_to_labels(found.masks), truth, ignore_background=True).mean())
    print(f"FG-ARI {score:.3f}")
    return score


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train EfficientMORL in a plain loop.")
    parser.add_argument("root", help="folder of shards")
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps")
    arguments = parser.parse_args()
    main(arguments.root, arguments.steps)
