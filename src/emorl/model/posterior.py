"""Diagonal Gaussians over slots, lambda = (mean, rho)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal, kl_divergence


def scale(rho: Tensor) -> Tensor:
    """Return the standard deviation sigma = sqrt(softplus(min(rho, 80)) + 1e-5).

    The paper puts the 1e-5 inside the softplus's logarithm; this is the released code's form.
    """
    return torch.sqrt(F.softplus(rho.clamp(max=80)) + 1e-5)


class Gaussian(NamedTuple):
    """The parameters lambda of one diagonal Gaussian per slot."""

    mean: Float[Tensor, "batch slots dim"]
    rho: Float[Tensor, "batch slots dim"]

    @property
    def std(self) -> Float[Tensor, "batch slots dim"]:
        """The standard deviation scale(rho)."""
        return scale(self.rho)

    @property
    def distribution(self) -> Normal:
        """The distribution N(mean, std)."""
        return Normal(self.mean, self.std, validate_args=False)

    def sample(self, epsilon: Float[Tensor, "batch slots dim"]) -> Float[Tensor, "batch slots dim"]:
        """Return the reparameterised sample mean + std * epsilon."""
        return self.mean + self.std * epsilon


class SoftplusGaussian(Gaussian):
    """IODINE's: the variance is softplus(rho), to which nothing is added."""

    __slots__ = ()

    @property
    def std(self) -> Float[Tensor, "batch slots dim"]:
        """The standard deviation sqrt(softplus(max(rho, -80))); below that single precision would underflow."""
        return F.softplus(self.rho.clamp(min=-80)).sqrt()


def standard_normal(like: Gaussian) -> Normal:
    """Return N(0, 1) over the same slots."""
    return Normal(torch.zeros_like(like.mean), torch.ones_like(like.mean), validate_args=False)


def slot_kl(q: Normal, p: Normal) -> Float[Tensor, " batch"]:
    """Return KL(q || p) of each image, in nats, summed over slots and dimensions."""
    return kl_divergence(q, p).sum((-2, -1))
