"""Top-down refinement: a small recurrent network improves the posteriors with gradients of the loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.posterior import Gaussian
from emorl.model.recurrent import advance


class Refined(NamedTuple):
    """The outcome of one refinement step."""

    posterior: Gaussian  # lambda^i
    state: Float[Tensor, "batch*slots dim"]  # h_i


class Refinement(nn.Module):
    """lambda^i = lambda^{i-1} + heads(h_i), with h_i = GRU(encode(lambda^{i-1}, LayerNorm(g)), h_{i-1}).

    g = d loss_{i-1} / d lambda^{i-1} is data: no gradient flows through it. As in the released code, the LayerNorm has
    no affine parameters and sees the gradient alone, and the rho head is linear; the paper trains the LayerNorm,
    applies it to both inputs, and puts a softplus on the rho head.

    Args:
        slot_dim: dimensions of a slot, D.
        hidden_dim: width of the encoding's hidden layer.
    """

    def __init__(self, slot_dim: int, hidden_dim: int = 128) -> None:
        super().__init__()
        self.slot_dim = slot_dim
        self.encoding = nn.Sequential(nn.Linear(4 * slot_dim, hidden_dim), nn.ELU(), nn.Linear(hidden_dim, slot_dim))
        self.recurrence = nn.GRUCell(slot_dim, slot_dim)
        self.mean = nn.Linear(slot_dim, slot_dim)
        self.rho = nn.Linear(slot_dim, slot_dim)

    def forward(self, posterior: Gaussian, gradient: Gaussian, state: Tensor | None) -> Refined:
        """Take one step; ``state`` is None, for zeros, at the first."""
        normed = (F.layer_norm(half, (self.slot_dim,)) for half in gradient)
        code = self.encoding(torch.cat((*posterior, *normed), dim=-1))
        state = advance(self.recurrence, code.flatten(0, 1), state)
        step = state.view_as(code)  # (B, K, D)
        return Refined(Gaussian(posterior.mean + self.mean(step), posterior.rho + self.rho(step)), state)


def as_leaf(posterior: Gaussian, requires_grad: bool = True) -> Gaussian:
    """Return a copy that gradients can be taken with respect to, cut from whatever computed it."""
    return Gaussian(*(part.detach().clone().requires_grad_(requires_grad) for part in posterior))
