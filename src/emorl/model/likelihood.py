"""Pixel likelihoods p(x | z) of an image given its components.

Both omit the constant 0.5 log 2 pi of each channel-pixel, as does the authors' code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import log, pi
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from emorl.model.decoder import Components
from emorl.model.describe import Described
from emorl.ranges import above


class Likelihood(Described, ABC):
    """A pixel likelihood of fixed scale.

    Args:
        scale: standard deviation sigma, in units of the image range [0, 1].

    Raises:
        ValueError: if ``scale`` is not above 0.

    >>> isinstance(GaussianLikelihood(scale=0.3), Likelihood)
    True
    """

    constant: ClassVar[float] = 0.5 * log(2 * pi)  # that the nll omits for each channel-pixel, in nats

    def __init__(self, scale: float) -> None:
        super().__init__()
        above(0, scale=scale)
        self.scale = scale

    @property
    def floor(self) -> float:
        """The lowest possible nll of a channel-pixel, log sigma, in nats."""
        return log(self.scale)

    @abstractmethod
    def forward(self, components: Components, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, " batch"]:
        """Return the negative log-likelihood of each image in [0, 1], in nats, summed over channels and pixels."""

    def _energy(self, mean: Tensor, image: Tensor) -> Tensor:
        return (image - mean).square() / (2 * self.scale**2)


class GaussianLikelihood(Likelihood):
    """-log N(x; sum_k m_k x_k, sigma^2).

    Args:
        scale: standard deviation sigma, in units of the image range [0, 1].

    >>> import torch
    >>> components = Components(torch.ones(1, 2, 3, 8, 8), torch.full((1, 2, 1, 8, 8), 0.5).log())
    >>> nll = GaussianLikelihood(scale=0.3)(components, torch.ones(1, 3, 8, 8))
    >>> round(nll.item() / (3 * 8 * 8), 3)  # log(0.3)
    -1.204
    """

    def __init__(self, scale: float = 0.3) -> None:
        super().__init__(scale)

    def forward(self, components: Components, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, " batch"]:
        """Return the nll of each image in [0, 1] given the sum of masked components, in nats."""
        return (self.floor + self._energy(components.reconstruction, image)).sum((1, 2, 3))


class MixtureLikelihood(Likelihood):
    """-log sum_k m_k N(x; x_k, sigma^2), with a separate mixture for each channel.

    Args:
        scale: standard deviation sigma, in units of the image range [0, 1].

    >>> import torch
    >>> components = Components(torch.ones(1, 2, 3, 8, 8), torch.full((1, 2, 1, 8, 8), 0.5).log())
    >>> nll = MixtureLikelihood(scale=0.1)(components, torch.ones(1, 3, 8, 8))
    >>> round(nll.item() / (3 * 8 * 8), 3)  # log(0.1)
    -2.303
    """

    def __init__(self, scale: float = 0.1) -> None:
        super().__init__(scale)

    def forward(self, components: Components, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, " batch"]:
        """Return the nll of each image in [0, 1] given the mixture of its components, in nats."""
        joint = components.log_masks - self.floor - self._energy(components.rgb, image.unsqueeze(1))
        return -joint.logsumexp(dim=1).sum((1, 2, 3))
