"""Recurrent cells that update the posterior parameters of a slot: the DualGRU, and the single GRU of the ablation."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.posterior import Gaussian
from emorl.model.precision import full_precision


class ResidualMLP(nn.Sequential):
    """The residual branch after the recurrent cell: LayerNorm, Linear(D -> hidden), ReLU, Linear(hidden -> D).

    Args:
        slot_dim: dimensions of a slot, D.
        hidden_dim: width of the hidden layer.
    """

    def __init__(self, slot_dim: int, hidden_dim: int) -> None:
        super().__init__(
            nn.LayerNorm(slot_dim), nn.Linear(slot_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, slot_dim)
        )


class PosteriorCell(nn.Module, ABC):
    """A recurrent cell whose state is the posterior's parameters."""

    @abstractmethod
    def forward(self, update: Float[Tensor, "batch slots dim"], state: Gaussian) -> Gaussian:
        """Return the next state."""


def advance(
    cell: nn.GRUCell, update: Float[Tensor, "rows inputs"], state: Float[Tensor, "rows dim"] | None
) -> Float[Tensor, "rows dim"]:
    """Return the next state in the precision of the cell's weights: on GPUs autocast would round the states."""
    with full_precision(update.device):
        return cell(update.to(cell.weight_ih.dtype), state)  # type: ignore[no-any-return]


def over_slots(
    cell: nn.GRUCell, update: Float[Tensor, "batch slots inputs"], state: Float[Tensor, "batch slots dim"]
) -> Float[Tensor, "batch slots dim"]:
    """Return the next states of slots, see `advance`."""
    return advance(cell, update.flatten(0, 1), state.flatten(0, 1)).view_as(state)


class DualGRU(PosteriorCell):
    """Two independent GRU cells with the same input: one has the mean as its state, the other rho.

    Args:
        slot_dim: dimensions of a slot, D.

    >>> zero = torch.zeros(2, 4, 8)
    >>> DualGRU(slot_dim=8)(torch.rand(2, 4, 8), Gaussian(zero, zero)).rho.shape
    torch.Size([2, 4, 8])
    """

    def __init__(self, slot_dim: int) -> None:
        super().__init__()
        self.mean = nn.GRUCell(slot_dim, slot_dim)
        self.rho = nn.GRUCell(slot_dim, slot_dim)

    def forward(self, update: Float[Tensor, "batch slots dim"], state: Gaussian) -> Gaussian:
        """Return the next state."""
        return Gaussian(
            over_slots(self.mean, update, state.mean),
            over_slots(self.rho, update, state.rho),
        )


class PlainGRU(PosteriorCell):
    """One GRU cell of size 2D on the concatenated (mean, rho): the paper's ablation "without DualGRU".

    Args:
        slot_dim: dimensions of a slot, D.

    >>> zero = torch.zeros(2, 4, 8)
    >>> PlainGRU(slot_dim=8)(torch.rand(2, 4, 8), Gaussian(zero, zero)).rho.shape
    torch.Size([2, 4, 8])
    """

    def __init__(self, slot_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(slot_dim, 2 * slot_dim)
        self.cell = nn.GRUCell(2 * slot_dim, 2 * slot_dim)

    def forward(self, update: Float[Tensor, "batch slots dim"], state: Gaussian) -> Gaussian:
        """Return the next state."""
        joint = over_slots(self.cell, self.project(update), torch.cat(state, dim=-1))
        return Gaussian(*joint.chunk(2, dim=-1))
