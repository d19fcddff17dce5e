"""Hierarchical priors over slots, and the KL terms of posteriors against them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from emorl.model.noise import Noise
from emorl.model.posterior import Gaussian, slot_kl, standard_normal

HIDDEN = 128  # width of the hidden layer


class PriorTerms(NamedTuple):
    """The KL terms of the bottom-up pass, and the prior of refined posteriors."""

    kl: list[Float[Tensor, " batch"]]  # of the posteriors of layers 1 .. L, in nats
    refined: Normal  # the prior in the KL of refinement stages


class ConditionalPrior(nn.Module):
    """p(z' | z) = N(mean(z), scale(rho(z))): one network for all pairs of layers.

    Args:
        slot_dim: dimensions of a slot, D.
    """

    def __init__(self, slot_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(slot_dim, HIDDEN)
        self.mean = nn.Linear(HIDDEN, slot_dim)
        self.rho = nn.Linear(HIDDEN, slot_dim)

    def forward(self, slots: Float[Tensor, "batch slots dim"]) -> Normal:
        """Return the distribution of z' given a sample of z."""
        hidden = F.elu(self.hidden(slots))
        return Gaussian(self.mean(hidden), self.rho(hidden)).distribution


class Prior(nn.Module, ABC):
    """A prior over the L layers of slots.

    Args:
        slot_dim: dimensions of a slot, D.

    >>> isinstance(ReversedPrior(slot_dim=8), Prior)
    True
    """

    def __init__(self, slot_dim: int) -> None:
        super().__init__()
        self.conditional = ConditionalPrior(slot_dim)

    @abstractmethod
    def forward(self, posteriors: list[Gaussian], noise: Noise) -> PriorTerms:
        """Return the KL terms of q(z^1) .. q(z^L), each with a fresh sample of the conditioning layer."""


class ReversedPrior(Prior):
    """KL(q(z^L) || N(0, 1)) + sum over l < L of KL(q(z^l) || p(z^l | z^{l+1})); refinement against N(0, 1).

    Args:
        slot_dim: dimensions of a slot, D.

    >>> from emorl.model import gaussian_noise
    >>> import torch
    >>> posterior = Gaussian(torch.zeros(2, 4, 8), torch.zeros(2, 4, 8))
    >>> terms = ReversedPrior(slot_dim=8)([posterior] * 3, gaussian_noise)
    >>> len(terms.kl), terms.refined.mean.shape
    (3, torch.Size([2, 4, 8]))
    """

    def forward(self, posteriors: list[Gaussian], noise: Noise) -> PriorTerms:
        """Return the KL terms, computed from layer L down to 1."""
        return self._descend(posteriors, noise)[0]

    def _descend(self, posteriors: list[Gaussian], noise: Noise) -> tuple[PriorTerms, Normal]:
        normal = lowest = standard_normal(posteriors[-1])
        kl = [slot_kl(posteriors[-1].distribution, normal)]
        for layer in range(len(posteriors) - 1, 0, -1):  # p(z^l | z^{l+1}), l = L-1 .. 1
            above, below = posteriors[layer], posteriors[layer - 1]
            lowest = self.conditional(above.sample(noise(f"prior_z{layer + 1}", above.mean)))
            kl.append(slot_kl(below.distribution, lowest))
        return PriorTerms(kl[::-1], normal), lowest


class ReversedPlusPlusPrior(ReversedPrior):
    """The reversed prior, in which p(z^1 | z^2) of the bottom-up pass is also the prior of refined posteriors.

    Gradients of the refinement stages flow through it into the prior and the bottom-up pass. For L = 1 it is N(0, 1).

    Args:
        slot_dim: dimensions of a slot, D.

    >>> from emorl.model import gaussian_noise
    >>> import torch
    >>> posterior = Gaussian(torch.zeros(2, 4, 8), torch.zeros(2, 4, 8))
    >>> terms = ReversedPlusPlusPrior(slot_dim=8)([posterior] * 3, gaussian_noise)
    >>> len(terms.kl), terms.refined.mean.shape
    (3, torch.Size([2, 4, 8]))
    """

    def forward(self, posteriors: list[Gaussian], noise: Noise) -> PriorTerms:
        """Return the KL terms, computed from layer L down to 1, and p(z^1 | z^2)."""
        terms, lowest = self._descend(posteriors, noise)
        return terms._replace(refined=lowest)


class BottomUpPrior(Prior):
    """KL(q(z^1) || N(0, 1)) + sum over l >= 2 of KL(q(z^l) || p(z^l | z^{l-1})); refinement against N(0, 1).

    Args:
        slot_dim: dimensions of a slot, D.

    >>> from emorl.model import gaussian_noise
    >>> import torch
    >>> posterior = Gaussian(torch.zeros(2, 4, 8), torch.zeros(2, 4, 8))
    >>> terms = BottomUpPrior(slot_dim=8)([posterior] * 3, gaussian_noise)
    >>> len(terms.kl), terms.refined.mean.shape
    (3, torch.Size([2, 4, 8]))
    """

    def forward(self, posteriors: list[Gaussian], noise: Noise) -> PriorTerms:
        """Return the KL terms, computed from layer 1 up to L."""
        normal = standard_normal(posteriors[0])
        kl = [slot_kl(posteriors[0].distribution, normal)]
        for layer in range(1, len(posteriors)):  # p(z^{l+1} | z^l), l = 1 .. L-1
            below, above = posteriors[layer - 1], posteriors[layer]
            conditional = self.conditional(below.sample(noise(f"prior_z{layer}", below.mean)))
            kl.append(slot_kl(above.distribution, conditional))
        return PriorTerms(kl, normal)
