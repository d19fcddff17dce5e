"""Slot attention: slots compete for pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class KeysValues(NamedTuple):
    """Keys and values of the image, computed once for all layers."""

    keys: Float[Tensor, "batch pixels dim"]
    values: Float[Tensor, "batch pixels dim"]


class SlotAttend(nn.Module):
    """Dot-product attention normalized over slots, then averaged over pixels (Locatello et al., 2020).

    Args:
        feature_dim: feature channels of a pixel, F.
        slot_dim: dimensions of a slot, D.

    >>> attend = SlotAttend(feature_dim=16, slot_dim=8)
    >>> update, attention = attend(torch.rand(2, 4, 8), attend.project(torch.rand(2, 100, 16)))
    >>> update.shape, attention.shape
    (torch.Size([2, 4, 8]), torch.Size([2, 4, 100]))
    """

    def __init__(self, feature_dim: int, slot_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(slot_dim)
        self.to_query = nn.Linear(slot_dim, slot_dim, bias=False)
        self.to_key = nn.Linear(feature_dim, slot_dim, bias=False)
        self.to_value = nn.Linear(feature_dim, slot_dim, bias=False)

    def project(self, features: Float[Tensor, "batch pixels features"]) -> KeysValues:
        """Return the keys and values of the pixels."""
        return KeysValues(self.to_key(features), self.to_value(features))

    def forward(
        self, slots: Float[Tensor, "batch slots dim"], pixels: KeysValues
    ) -> tuple[Float[Tensor, "batch slots dim"], Float[Tensor, "batch slots pixels"]]:
        """Return each slot's update u and the attention, which sums to one over the slots of a pixel."""
        query = self.to_query(self.norm(slots)) * slots.shape[-1] ** -0.5
        logits = query @ pixels.keys.mT
        attention = logits.softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32)) + 1e-8  # over slots
        weights = attention / attention.sum(dim=-1, keepdim=True)  # over pixels
        return weights.to(pixels.values.dtype) @ pixels.values, attention
