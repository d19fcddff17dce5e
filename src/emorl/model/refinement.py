"""Top-down refinement: a small recurrent network improves the posteriors with gradients of the loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.posterior import Gaussian
from emorl.model.recurrent import advance

HIDDEN = 128  # width of the encoding's hidden layer


class Refined(NamedTuple):
    """The result of one refinement step."""

    posterior: Gaussian  # lambda^i
    state: Float[Tensor, "batch*slots dim"]  # h_i


class Refinement(nn.Module):
    """lambda^i = lambda^{i-1} + heads(h_i), with h_i = GRU(encode(lambda^{i-1}, LayerNorm(g)), h_{i-1}).

    g = d loss_{i-1} / d lambda^{i-1} is data: no gradient flows through it. As in the authors' code, the LayerNorm has
    no affine parameters and is applied to g only, and the rho head is linear. In the paper the LayerNorm is trained and
    applied to both inputs, and the rho head ends with a softplus.

    Args:
        slot_dim: dimensions of a slot, D.

    >>> zero = torch.zeros(2, 4, 8)
    >>> refined = Refinement(slot_dim=8)(Gaussian(zero, zero), Gaussian(zero, zero), state=None)
    >>> refined.posterior.mean.shape, refined.state.shape
    (torch.Size([2, 4, 8]), torch.Size([8, 8]))
    """

    def __init__(self, slot_dim: int) -> None:
        super().__init__()
        self.slot_dim = slot_dim
        self.encoding = nn.Sequential(nn.Linear(4 * slot_dim, HIDDEN), nn.ELU(), nn.Linear(HIDDEN, slot_dim))
        self.recurrence = nn.GRUCell(slot_dim, slot_dim)
        self.mean = nn.Linear(slot_dim, slot_dim)
        self.rho = nn.Linear(slot_dim, slot_dim)

    def forward(self, posterior: Gaussian, gradient: Gaussian, state: Tensor | None) -> Refined:
        """Take one step; at the first ``state`` is None, which means zeros."""
        normed = (F.layer_norm(half, (self.slot_dim,)) for half in gradient)
        code = self.encoding(torch.cat((*posterior, *normed), dim=-1))
        state = advance(self.recurrence, code.flatten(0, 1), state)
        step = state.view_as(code)  # (B, K, D)
        return Refined(Gaussian(posterior.mean + self.mean(step), posterior.rho + self.rho(step)), state)


def differentiable(posterior: Gaussian) -> Gaussian:
    """Return a posterior with a leaf in the place of each parameter that needs no gradient, such as at test time."""
    return Gaussian(*(part if part.requires_grad else part.detach().clone().requires_grad_() for part in posterior))


def as_leaf(posterior: Gaussian, requires_grad: bool) -> Gaussian:
    """Return a copy that is detached from the graph."""
    return Gaussian(*(part.detach().clone().requires_grad_(requires_grad) for part in posterior))
