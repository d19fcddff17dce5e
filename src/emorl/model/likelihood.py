"""Pixel likelihoods: how well the components explain an image.

Both are unnormalized: the constant 0.5 log 2 pi of each channel-pixel is left out, as in the released code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import log

from jaxtyping import Float
from torch import Tensor

from emorl.model.decoder import Components
from emorl.model.describe import Described
from emorl.ranges import above


class Likelihood(Described, ABC):
    """A pixel likelihood of fixed scale.

    Args:
        scale: standard deviation sigma, in units of the image range [0, 1].
    """

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
    """

    def __init__(self, scale: float = 0.3) -> None:
        super().__init__(scale)

    def forward(self, components: Components, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, " batch"]:
        """Compare the image with the mean of the components."""
        return (self.floor + self._energy(components.reconstruction, image)).sum((1, 2, 3))


class MixtureLikelihood(Likelihood):
    """-log sum_k m_k N(x; x_k, sigma^2), each channel with a mixture of its own.

    Args:
        scale: standard deviation sigma, in units of the image range [0, 1].
    """

    def __init__(self, scale: float = 0.1) -> None:
        super().__init__(scale)

    def forward(self, components: Components, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, " batch"]:
        """Compare the image with every component."""
        joint = components.log_masks - self.floor - self._energy(components.rgb, image.unsqueeze(1))
        return -joint.logsumexp(dim=1).sum((1, 2, 3))
