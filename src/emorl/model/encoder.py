"""The image encoder: from an image to feature vectors on a grid of positions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.position import PositionCode, PositionEmbedding, RampPosition
from emorl.ranges import counts


class ImageEncoder(nn.Module):
    """Four 5x5 convolutions, a position embedding and a per-pixel MLP.

    Args:
        feature_dim: feature channels of a position, F.
        position: builds the position code.
        stride: stride of the first convolution in pixels, which is the spacing of positions in both directions.

    >>> encoder = ImageEncoder(feature_dim=16, stride=2)
    >>> encoder(torch.rand(2, 3, 35, 35) * 2 - 1).shape  # 18 x 18 positions
    torch.Size([2, 324, 16])
    """

    def __init__(
        self, feature_dim: int = 64, position: Callable[[], PositionCode] = RampPosition, stride: int = 1
    ) -> None:
        super().__init__()
        counts(1, feature_dim=feature_dim, encoder_stride=stride)
        self.stride = stride
        channels, strides = [3, *[feature_dim] * 4], (stride, 1, 1, 1)
        self.convolutions = nn.Sequential(
            *(
                layer
                for (before, after), step in zip(pairwise(channels), strides, strict=True)
                for layer in (nn.Conv2d(before, after, 5, stride=step, padding=2), nn.ReLU(inplace=True))
            )
        )
        self.position = PositionEmbedding(feature_dim, position)
        self.mlp = nn.Sequential(
            nn.LayerNorm(feature_dim),
            nn.Linear(feature_dim, feature_dim),
            nn.ReLU(),
            nn.Linear(feature_dim, feature_dim),
        )

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch positions features"]:
        """Encode images in [-1, 1]; positions are in row-major order."""
        features = self.convolutions(image.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        placed = features + self.position(*features.shape[1:3])
        return self.mlp(placed.flatten(1, 2))  # type: ignore[no-any-return]

    def to_pixels(
        self, values: Float[Tensor, "batch slots positions"], height: int, width: int
    ) -> Float[Tensor, "batch slots h w"]:
        """Return for each pixel of a ``height`` x ``width`` image the value of its position."""
        grid = values.view(*values.shape[:2], (height - 1) // self.stride + 1, -1)
        if self.stride == 1:
            return grid
        rows, columns = (torch.arange(size, device=values.device) // self.stride for size in (height, width))
        return grid[:, :, rows][..., columns]
