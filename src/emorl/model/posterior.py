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

    This is the form of the authors' code. The paper puts the 1e-5 inside the softplus's logarithm.

    >>> scale(torch.tensor([-2.0, 0.0, 2.0]))
    tensor([0.3563, 0.8326, 1.4584])
    """
    return torch.sqrt(F.softplus(rho.clamp(max=80)) + 1e-5)


class Gaussian(NamedTuple):
    """The parameters lambda = (mean, rho) of one diagonal Gaussian per slot.

    >>> posterior = Gaussian(torch.zeros(2, 4, 8), torch.zeros(2, 4, 8))
    >>> posterior.sample(torch.ones(2, 4, 8)).unique()  # mean + std
    tensor([0.8326])
    """

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
        """Return the reparameterized sample mean + std * epsilon."""
        return self.mean + self.std * epsilon


class SoftplusGaussian(Gaussian):
    """IODINE's form, whose variance is softplus(rho) without an added constant.

    >>> SoftplusGaussian(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)).std.square().flatten()  # log 2
    tensor([0.6931])
    """

    __slots__ = ()

    @property
    def std(self) -> Float[Tensor, "batch slots dim"]:
        """The standard deviation sqrt(softplus(max(rho, -80))); without the bound float32 would underflow."""
        return F.softplus(self.rho.clamp(min=-80)).sqrt()


def standard_normal(like: Gaussian) -> Normal:
    """Return N(0, 1) over the same slots."""
    return Normal(torch.zeros_like(like.mean), torch.ones_like(like.mean), validate_args=False)


def slot_kl(q: Normal, p: Normal) -> Float[Tensor, " batch"]:
    """Return KL(q || p) of each image, in nats, summed over slots and dimensions.

    >>> normal = standard_normal(Gaussian(torch.zeros(2, 4, 8), torch.zeros(2, 4, 8)))
    >>> slot_kl(normal, normal)
    tensor([0., 0.])
    """
    return kl_divergence(q, p).sum((-2, -1))
