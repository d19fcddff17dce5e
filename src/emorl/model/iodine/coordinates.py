"""Codes of pixel positions for the refinement network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from emorl.model.describe import Described


def ramps(height: int, width: int, low: float, high: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column of every pixel, [H, W], each from ``low`` to ``high`` inclusive."""
    row, column = (torch.linspace(low, high, n, dtype=like.dtype, device=like.device) for n in (height, width))
    return tuple(torch.meshgrid(row, column, indexing="ij"))  # type: ignore[return-value]


class Coordinates(Described, ABC):
    """A fixed code of each pixel's position.

    >>> isinstance(LinearCoordinates(), Coordinates)
    True
    """

    channels: int

    @abstractmethod
    def forward(self, height: int, width: int, like: Tensor) -> Float[Tensor, "channels h w"]:
        """Return the code with the dtype and device of ``like``."""


class LinearCoordinates(Coordinates):
    """Column and row, each from -1 to 1, as in the authors' code for CLEVR6.

    >>> LinearCoordinates()(3, 5, like=torch.zeros(()))[:, 0, 4]
    tensor([ 1., -1.])
    """

    channels = 2

    def forward(self, height: int, width: int, like: Tensor) -> Float[Tensor, "channels h w"]:
        """Return column and row."""
        row, column = ramps(height, width, -1.0, 1.0, like)
        return torch.stack((column, row))


class CosineCoordinates(Coordinates):
    """The products cos(f x) cos(g y) of column x and row y in [0, pi], as in the authors' code for sprites.

    f and g are 0, 1 or 2, but not both 0; g varies fastest.

    >>> CosineCoordinates()(35, 35, like=torch.zeros(())).shape
    torch.Size([8, 35, 35])
    """

    channels = 8

    def forward(self, height: int, width: int, like: Tensor) -> Float[Tensor, "channels h w"]:
        """Return the eight products."""
        y, x = ramps(height, width, 0.0, pi, like)
        waves = [torch.cos(f * x) * torch.cos(g * y) for f in range(3) for g in range(3)]
        return torch.stack(waves[1:])
