"""Latent dimensions by how much they differ between objects: the active ones first."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALLEST, LARGEST = 0.003, 0.3  # shares of an image that an object takes up
LOW, HIGH = 0.02, 0.98  # quantiles between which a dimension is swept


class Dimension(NamedTuple):
    """A latent dimension of a slot."""

    number: int
    spread: float  # standard deviation over the objects of many scenes
    low: float  # the range that it is swept over
    high: float


def dimensions(slots: Float[Tensor, "objects dim"]) -> list[Dimension]:
    """Return all dimensions of some objects' slots, those that differ most between objects first.

    >>> slots = torch.stack((torch.zeros(100), torch.linspace(-1, 1, 100)), dim=1)
    >>> [dimension.number for dimension in dimensions(slots)]
    [1, 0]
    """
    spread = slots.std(dim=0, correction=0)
    low, high = slots.quantile(torch.tensor([LOW, HIGH]), dim=0)
    order = spread.argsort(descending=True, stable=True).tolist()
    return [Dimension(index, *(round(float(v[index]), 4) for v in (spread, low, high))) for index in order]


def objects(masks: Float[Tensor, "scenes slots 1 h w"]) -> Bool[Tensor, "scenes slots"]:
    """Tell which slots draw an object, by the share of pixels on which they have the largest mask.

    A background takes up more, a slot without an object less. If no slot is an object by that measure, all are.
    """
    winners = masks.squeeze(2).argmax(dim=1, keepdim=True)
    numbers = torch.arange(masks.shape[1]).view(1, -1, 1, 1)
    share = (winners == numbers).float().mean(dim=(-2, -1))
    found = (share > SMALLEST) & (share < LARGEST)
    return found if found.any() else torch.ones_like(found)
