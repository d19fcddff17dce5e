"""Latent dimensions in the order of their standard deviation between objects, the active ones first."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALLEST, LARGEST = 0.003, 0.3  # range of an object's area as a fraction of the image
LOW, HIGH = 0.02, 0.98  # quantiles of a dimension that bound its sweep


class Dimension(NamedTuple):
    """A latent dimension of a slot.

    >>> Dimension(number=3, spread=0.8, low=-1.5, high=1.5).number
    3
    """

    number: int
    spread: float  # standard deviation over the objects of many scenes
    low: float  # lower end of its sweep
    high: float  # upper end of its sweep


def dimensions(slots: Float[Tensor, "objects dim"]) -> list[Dimension]:
    """Return all dimensions of objects' slots, in decreasing order of their standard deviation between objects.

    >>> slots = torch.stack((torch.zeros(100), torch.linspace(-1, 1, 100)), dim=1)
    >>> [dimension.number for dimension in dimensions(slots)]
    [1, 0]
    """
    spread = slots.std(dim=0, correction=0)
    low, high = slots.quantile(torch.tensor([LOW, HIGH]), dim=0)
    order = spread.argsort(descending=True, stable=True).tolist()
    return [Dimension(index, *(round(float(v[index]), 4) for v in (spread, low, high))) for index in order]


def objects(masks: Float[Tensor, "scenes slots 1 h w"]) -> Bool[Tensor, "scenes slots"]:
    """Return which slots show an object, by the fraction of pixels on which they have the largest mask.

    The background covers a larger fraction, an unused slot a smaller one. If no slot is an object by this criterion,
    all are.

    >>> masks = torch.zeros(1, 2, 1, 10, 10)
    >>> masks[0, 0], masks[0, 1, :, :2, :5] = 0.5, 1.0  # a background and an object of 10 % of the pixels
    >>> objects(masks)
    tensor([[False,  True]])
    """
    winners = masks.squeeze(2).argmax(dim=1, keepdim=True)
    numbers = torch.arange(masks.shape[1]).view(1, -1, 1, 1)
    share = (winners == numbers).float().mean(dim=(-2, -1))
    found = (share > SMALLEST) & (share < LARGEST)
    return found if found.any() else torch.ones_like(found)
