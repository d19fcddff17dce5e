"""The likelihood of a pixel: one mixture over slots for its three channels jointly."""

from __future__ import annotations

from abc import abstractmethod
from math import log, pi
from typing import ClassVar, NamedTuple

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from emorl.model.decoder import Components
from emorl.model.iodine.decoder import Drawing
from emorl.model.likelihood import Likelihood


class Explained(NamedTuple):
    """Log-likelihoods of each pixel under its slots, in nats."""

    log_masks: Float[Tensor, "batch slots 1 h w"]  # log m_k
    log_density: Float[Tensor, "batch slots 1 h w"]  # log p_k(x), summed over the three channels
    log_prob: Float[Tensor, "batch 1 1 h w"]  # log p(x) = log sum_k m_k p_k(x)

    @property
    def log_joint(self) -> Float[Tensor, "batch slots 1 h w"]:
        """Log m_k p_k(x)."""
        return self.log_masks + self.log_density

    @property
    def nll(self) -> Float[Tensor, " batch"]:
        """- log p(x) of each image, summed over pixels."""
        return -self.log_prob.sum((1, 2, 3, 4))


class PixelMixture(Likelihood):
    """-log sum_k m_k prod_c p(x_c; x_kc), including all constants of the densities.

    In contrast to `MixtureLikelihood`, the three channels of a pixel belong to the same slot.

    Args:
        scale: scale of the density, in units of the image range [0, 1].

    >>> isinstance(GaussianPixels(), PixelMixture)
    True
    """

    constant: ClassVar[float] = 0.0

    @abstractmethod
    def log_density(
        self, colors: Float[Tensor, "batch slots 3 h w"], image: Float[Tensor, "batch 1 3 h w"]
    ) -> Float[Tensor, "batch slots 3 h w"]:
        """Return log p(x_c; x_kc) of each channel, in nats."""

    @abstractmethod
    def slope(
        self, colors: Float[Tensor, "batch slots 3 h w"], image: Float[Tensor, "batch 1 3 h w"]
    ) -> Float[Tensor, "batch slots 3 h w"]:
        """Return d log p(x_c; x_kc) / d x_kc."""

    def forward(self, components: Components, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, " batch"]:
        """Return the negative log-likelihood of each image in [0, 1], in nats, summed over pixels."""
        return self._explain(*components, image).nll

    def explain(self, drawing: Drawing, image: Float[Tensor, "batch 3 h w"]) -> Explained:
        """Return the log-likelihoods of each pixel under its slots."""
        return self._explain(*drawing.components, image)

    def gradient(self, drawing: Drawing, explained: Explained, image: Float[Tensor, "batch 3 h w"]) -> Drawing:
        """Return d nll / d (colors, logits) of each image.

        With responsibilities r_k = m_k p_k(x) / p(x) these are - r_k d log p_k / d x_k and m_k - r_k.
        """
        share = (explained.log_joint - explained.log_prob).exp()
        return Drawing(-share * self.slope(drawing.colors, image.unsqueeze(1)), explained.log_masks.exp() - share)

    def _explain(self, colors: Tensor, log_masks: Tensor, image: Tensor) -> Explained:
        log_density = self.log_density(colors, image.unsqueeze(1)).sum(dim=2, keepdim=True)
        return Explained(log_masks, log_density, (log_masks + log_density).logsumexp(dim=1, keepdim=True))


class GaussianPixels(PixelMixture):
    """Gaussian densities, the likelihood of the paper.

    Args:
        scale: standard deviation, in units of the image range [0, 1].

    >>> from emorl.model.decoder import Components
    >>> import torch
    >>> white, black = torch.ones(1, 1, 3, 8, 8), torch.zeros(1, 1, 1, 8, 8)
    >>> nll = GaussianPixels(scale=0.1)(Components(white, black), white[0])
    >>> round(nll.item() / (3 * 8 * 8), 4)  # log(0.1) + 0.5 log(2 pi)
    -1.3836
    """

    def __init__(self, scale: float = 0.1) -> None:
        super().__init__(scale)

    @property
    def floor(self) -> float:
        """The lowest possible nll of a channel-pixel, in nats."""
        return log(self.scale) + 0.5 * log(2 * pi)

    def log_density(
        self, colors: Float[Tensor, "batch slots 3 h w"], image: Float[Tensor, "batch 1 3 h w"]
    ) -> Float[Tensor, "batch slots 3 h w"]:
        """Return -(x - x_k)^2 / 2 sigma^2 - log sigma - log(2 pi) / 2."""
        return -self.floor - self._energy(colors, image)

    def slope(
        self, colors: Float[Tensor, "batch slots 3 h w"], image: Float[Tensor, "batch 1 3 h w"]
    ) -> Float[Tensor, "batch slots 3 h w"]:
        """Return (x - x_k) / sigma^2."""
        return (image - colors) / self.scale**2


class LogisticPixels(PixelMixture):
    """Logistic densities, the likelihood of the authors' code.

    Args:
        scale: s, in units of the image range [0, 1]; the standard deviation is s pi / sqrt(3).

    >>> round(LogisticPixels(scale=0.03).floor, 4)  # log(4 * 0.03)
    -2.1203
    """

    def __init__(self, scale: float = 0.03) -> None:
        super().__init__(scale)

    @property
    def floor(self) -> float:
        """The lowest possible nll of a channel-pixel, in nats."""
        return log(4 * self.scale)

    def log_density(
        self, colors: Float[Tensor, "batch slots 3 h w"], image: Float[Tensor, "batch 1 3 h w"]
    ) -> Float[Tensor, "batch slots 3 h w"]:
        """Return -u - 2 softplus(-u) - log s, where u = |x - x_k| / s; the density is even."""
        distance = (image - colors).abs() / self.scale
        return -distance - 2 * F.softplus(-distance) - log(self.scale)

    def slope(
        self, colors: Float[Tensor, "batch slots 3 h w"], image: Float[Tensor, "batch 1 3 h w"]
    ) -> Float[Tensor, "batch slots 3 h w"]:
        """Return tanh((x - x_k) / 2 s) / s."""
        return ((image - colors) / (2 * self.scale)).tanh() / self.scale
