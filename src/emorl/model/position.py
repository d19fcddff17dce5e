"""Position codes, which make convolutions and pixel features depend on the position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.describe import Described
from emorl.ranges import counts


class PositionCode(Described, ABC):
    """A fixed code of each grid position; row r and column c range over [0, 1] inclusive.

    >>> isinstance(RampPosition(), PositionCode)
    True
    """

    channels: int

    @abstractmethod
    def code(self, row: Float[Tensor, "h w"], column: Float[Tensor, "h w"]) -> Float[Tensor, "h w channels"]:
        """Return the code of each position, given its row and column in [0, 1]."""

    def forward(self, height: int, width: int, like: Tensor) -> Float[Tensor, "h w channels"]:
        """Return the code of a ``height`` x ``width`` grid with the dtype and device of ``like``."""
        row = torch.linspace(0, 1, height, dtype=like.dtype, device=like.device)
        column = torch.linspace(0, 1, width, dtype=like.dtype, device=like.device)
        return self.code(*torch.meshgrid(row, column, indexing="ij"))


class RampPosition(PositionCode):
    """Four linear ramps (1 - r, r, c, 1 - c), as in the authors' code.

    >>> RampPosition()(3, 5, like=torch.zeros(()))[0, 4]
    tensor([1., 0., 1., 0.])
    """

    channels = 4

    def code(self, row: Float[Tensor, "h w"], column: Float[Tensor, "h w"]) -> Float[Tensor, "h w channels"]:
        """Return the four ramps."""
        return torch.stack((1 - row, row, column, 1 - column), dim=-1)


class FourierPosition(PositionCode):
    """The four ramps, then for k = 0 .. frequencies - 1 the sin and cos of pi 2^k r and of pi 2^k c.

    An extension of the paper: with ramps only, the networks learn positions slowly.

    Args:
        frequencies: number of octaves, 0 or more.

    >>> FourierPosition(frequencies=4)(35, 35, like=torch.zeros(())).shape
    torch.Size([35, 35, 20])
    """

    def __init__(self, frequencies: int = 4) -> None:
        super().__init__()
        counts(0, frequencies=frequencies)
        self.frequencies = frequencies
        self.channels = 4 + 4 * frequencies

    def code(self, row: Float[Tensor, "h w"], column: Float[Tensor, "h w"]) -> Float[Tensor, "h w channels"]:
        """Return the ramps followed by sin r, cos r, sin c, cos c of each octave."""
        waves = [1 - row, row, column, 1 - column]
        for k in range(self.frequencies):
            for angle in (pi * 2**k * row, pi * 2**k * column):
                waves += [angle.sin(), angle.cos()]
        return torch.stack(waves, dim=-1)


class PositionEmbedding(nn.Module):
    """A learned linear projection of a position code.

    Args:
        dim: channels of the embedding.
        position: builds the position code.
    """

    def __init__(self, dim: int, position: Callable[[], PositionCode] = RampPosition) -> None:
        super().__init__()
        self.code = position()
        self.projection = nn.Linear(self.code.channels, dim)

    def forward(self, height: int, width: int) -> Float[Tensor, "h w dim"]:
        """Return the embedding of each position of a grid."""
        return self.projection(self.code(height, width, like=self.projection.weight))  # type: ignore[no-any-return]
