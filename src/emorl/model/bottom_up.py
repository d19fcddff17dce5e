"""Bottom-up inference: L layers of stochastic slot attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.attention import SlotAttend
from emorl.model.noise import Noise
from emorl.model.posterior import Gaussian
from emorl.model.recurrent import DualGRU, PosteriorCell, ResidualMLP


class BottomUpPass(NamedTuple):
    """The results of the bottom-up pass by layer."""

    posteriors: list[Gaussian]  # q(z^1 | x) .. q(z^L | z^{L-1}, x)
    slots: list[Float[Tensor, "batch slots dim"]]  # z^1 .. z^{L-1}, the inputs of the next layers
    attention: list[Float[Tensor, "batch slots *place"]]  # at each position, or each row and column of an image


class BottomUp(nn.Module):
    """q(z^1 | x) and q(z^l | z^{l-1}, x), l = 2..L, with weights shared by the layers (section 3.1 of the paper).

    Args:
        feature_dim: feature channels of a position, F.
        slot_dim: dimensions of a slot, D.
        num_layers: number L of stochastic layers.
        cell: builds the recurrent cell from D.

    >>> from emorl.model import gaussian_noise
    >>> bottom_up = BottomUp(feature_dim=16, slot_dim=8, num_layers=3)
    >>> draws = bottom_up.draws(batch=2, num_slots=4, noise=gaussian_noise)
    >>> posteriors, slots, attention = bottom_up(torch.rand(2, 100, 16), draws)
    >>> len(posteriors), len(slots), attention[-1].shape
    (3, 2, torch.Size([2, 4, 100]))
    """

    def __init__(
        self,
        feature_dim: int,
        slot_dim: int,
        num_layers: int = 3,
        cell: Callable[[int], PosteriorCell] = DualGRU,
    ) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.initial_mean = nn.Parameter(torch.zeros(slot_dim))
        self.initial_rho = nn.Parameter(torch.ones(slot_dim))
        self.attend = SlotAttend(feature_dim, slot_dim)
        self.cell = cell(slot_dim)
        self.mean_mlp = ResidualMLP(slot_dim, 2 * slot_dim)
        self.rho_mlp = ResidualMLP(slot_dim, 2 * slot_dim)

    def forward(
        self,
        features: Float[Tensor, "batch positions features"],
        draws: Float[Tensor, "layers batch slots dim"],
    ) -> BottomUpPass:
        """Infer the posteriors; all slots start from the same distribution.

        Args:
            features: the encoder's features.
            draws: standard normal draws, see `draws`.
        """
        pixels = self.attend.project(features)
        posterior = self.initial(*draws.shape[1:3])
        posteriors, samples, attentions = [], [], []
        for epsilon in draws.unbind():
            slots = posterior.sample(epsilon)  # z^l
            update, attention = self.attend(slots, pixels)
            posterior = self.transition(self.cell(update, posterior))  # q(z^{l+1} | z^l, x)
            posteriors.append(posterior)
            samples.append(slots)
            attentions.append(attention)
        return BottomUpPass(posteriors, samples[1:], attentions)

    def draws(self, batch: int, num_slots: int, noise: Noise) -> Float[Tensor, "layers batch slots dim"]:
        """Return the standard normal draws for the samples z^0 .. z^{L-1}."""
        like = self.initial(batch, num_slots).mean
        return torch.stack([noise(f"z{layer}", like) for layer in range(self.num_layers)])

    def initial(self, batch: int, num_slots: int) -> Gaussian:
        """Return lambda^init of each slot."""
        shape = (batch, num_slots, -1)
        return Gaussian(self.initial_mean.expand(shape), self.initial_rho.expand(shape))

    def transition(self, state: Gaussian) -> Gaussian:
        """Return (mean + MLP(mean), rho + MLP(rho))."""
        return Gaussian(state.mean + self.mean_mlp(state.mean), state.rho + self.rho_mlp(state.rho))
