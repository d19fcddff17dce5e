"""The direction of bf16 gradients, compared with float32, for each part of a trained model."""

from __future__ import annotations

import torch
from torch import Tensor

from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.model import EfficientMORL, ImageNoise
from emorl.module import SlotModule


def precision(checkpoint: str, images: int = 32, steps: int = 1) -> dict[str, float]:
    """Return the cosine similarity of both gradients on new scenes, by part of the model and over all."""
    model = SlotModule.load_from_checkpoint(checkpoint, map_location="cpu").network
    scenes = Tetrominoes(images, seed=0, split="precision").records()
    image = torch.stack([torch.from_numpy(scene.image).permute(2, 0, 1) / 255 for scene in scenes])
    expected, found = (gradients(model, image, steps, bf16) for bf16 in (False, True))
    parts = {part: [name for name in expected if name.startswith(part)] for part, _ in model.named_children()}
    groups = {part: names for part, names in parts.items() if names} | {"all": list(expected)}
    return {part: cosine([found[n] for n in names], [expected[n] for n in names]) for part, names in groups.items()}


def gradients(model: EfficientMORL, image: Tensor, steps: int, bf16: bool) -> dict[str, Tensor]:
    """Return the gradient of the training loss, with fixed noise."""
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(image, steps, noise=ImageNoise(torch.arange(len(image)))).loss
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def cosine(a: list[Tensor], b: list[Tensor]) -> float:
    """Return the cosine similarity of two lists of tensors, each concatenated to one vector."""
    return torch.cosine_similarity(*(torch.cat([t.flatten() for t in ts]).double() for ts in (a, b)), dim=0).item()
