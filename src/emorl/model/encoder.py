"""The image encoder: an image to one feature vector per pixel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.position import PositionCode, PositionEmbedding, RampPosition


class ImageEncoder(nn.Module):
    """Four 5x5 convolutions, a position embedding and a per-pixel MLP.

    Args:
        feature_dim: features of a pixel, F.
        position: builds the position code.
    """

    def __init__(self, feature_dim: int = 64, position: Callable[[], PositionCode] = RampPosition) -> None:
        super().__init__()
        channels = [3, *[feature_dim] * 4]
        self.convolutions = nn.Sequential(
            *(
                layer
                for before, after in pairwise(channels)
                for layer in (nn.Conv2d(before, after, 5, padding=2), nn.ReLU(inplace=True))
            )
        )
        self.position = PositionEmbedding(feature_dim, position)
        self.mlp = nn.Sequential(
            nn.LayerNorm(feature_dim),
            nn.Linear(feature_dim, feature_dim),
            nn.ReLU(),
            nn.Linear(feature_dim, feature_dim),
        )

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch pixels features"]:
        """Encode images in [-1, 1]; pixels are in row-major order."""
        features = self.convolutions(image.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        placed = features + self.position(*image.shape[-2:])
        return self.mlp(placed.flatten(1, 2))  # type: ignore[no-any-return]
