"""Decoders: one slot to its colour and its claim on every pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.position import PositionCode, PositionEmbedding, RampPosition


class Components(NamedTuple):
    """The K components of an image."""

    rgb: Float[Tensor, "batch slots 3 h w"]  # x_k, in [0, 1]
    log_masks: Float[Tensor, "batch slots 1 h w"]  # log m_k; the masks of a pixel sum to one

    @property
    def masks(self) -> Float[Tensor, "batch slots 1 h w"]:
        """The masks m_k, in [0, 1]."""
        return self.log_masks.exp()

    @property
    def reconstruction(self) -> Float[Tensor, "batch 3 h w"]:
        """The mean image sum_k m_k x_k, in [0, 1]."""
        return (self.masks * self.rgb).sum(dim=1)


class Decoder(nn.Module, ABC):
    """Spatial broadcast: tile the slot over a grid, add a position embedding, convolve to 4 channels.

    Args:
        slot_dim: dimensions of a slot, D.
        position: builds the position code.
    """

    def __init__(self, slot_dim: int, position: Callable[[], PositionCode] = RampPosition) -> None:
        super().__init__()
        self.position = PositionEmbedding(slot_dim, position)
        self.layers = self.build(slot_dim)

    @abstractmethod
    def build(self, slot_dim: int) -> nn.Sequential:
        """Return the layers from the grid to colour (3 channels) and mask logit (1 channel)."""

    @abstractmethod
    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the grid that decodes to ``height`` x ``width``.

        Raises:
            ValueError: if this decoder has no such output size.
        """

    def forward(self, slots: Float[Tensor, "batch slots dim"], size: tuple[int, int]) -> Components:
        """Decode every slot at ``size`` = (height, width)."""
        batch, num_slots, dim = slots.shape
        height, width = self.grid(*size)
        tiled = slots.reshape(-1, dim, 1, 1).expand(-1, -1, height, width)  # (B K, D, h, w)
        canvas = tiled + self.position(height, width).permute(2, 0, 1)
        colour, logits = self.layers(canvas).view(batch, num_slots, 4, *size).split((3, 1), dim=2)
        return Components(colour.sigmoid(), logits.log_softmax(dim=1))


def _interleave(layers: list[nn.Module], activation: type[nn.Module]) -> nn.Sequential:
    *hidden, last = layers
    return nn.Sequential(*(part for layer in hidden for part in (layer, activation())), last)


class SmallDecoder(Decoder):
    """Three 5x5 convolutions of 32 channels and a 3x3 one, on a grid 6 pixels larger: for Tetrominoes."""

    def build(self, slot_dim: int) -> nn.Sequential:
        """Return the convolutions."""
        channels = [slot_dim, 32, 32, 32]
        hidden = [nn.Conv2d(a, b, 5, padding=1) for a, b in pairwise(channels)]
        return _interleave([*hidden, nn.Conv2d(32, 4, 3, padding=1)], nn.ReLU)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Every size is legal."""
        return height + 6, width + 6


class IodineDecoder(Decoder):
    """Five unpadded 3x3 convolutions, 64 channels, on a grid 10 pixels larger (IODINE's decoder)."""

    def build(self, slot_dim: int) -> nn.Sequential:
        """Return the convolutions."""
        channels = [slot_dim, 64, 64, 64, 64]
        hidden = [nn.Conv2d(a, b, 3) for a, b in pairwise(channels)]
        return _interleave([*hidden, nn.Conv2d(64, 4, 3)], nn.ELU)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Every size is legal."""
        return height + 10, width + 10


class BigDecoder(Decoder):
    """Transposed convolutions from a grid 16 times smaller (Slot Attention's decoder).

    The released one is fixed to 96x96, a 6x6 grid; this one takes any size whose sides are multiples of 16.
    """

    def build(self, slot_dim: int) -> nn.Sequential:
        """Return the transposed convolutions."""
        doubling = [
            nn.ConvTranspose2d(dim, 64, 5, stride=2, padding=2, output_padding=1) for dim in (slot_dim, 64, 64, 64)
        ]
        flat = [nn.ConvTranspose2d(64, 64, 5, padding=2), nn.ConvTranspose2d(64, 4, 3, padding=1)]
        return _interleave([*doubling, *flat], nn.ReLU)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Sides must be multiples of 16."""
        if height % 16 or width % 16:
            raise ValueError(
                f"Expected an image whose sides are multiples of 16, got {height}x{width}: resize the images, "
                "or choose SmallDecoder or IodineDecoder, which take any size."
            )
        return height // 16, width // 16
