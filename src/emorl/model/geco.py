"""GECO: reconstruct up to a target first, then compress (Rezende and Viola, "Taming VAEs", 2018)."""

from __future__ import annotations

from math import isfinite
from numbers import Real
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor

from emorl.distributed import rank_mean
from emorl.model.describe import Described
from emorl.ranges import at_least, counts

START = 0.55  # of zeta: softplus(0.55) is about 1


class Geco(Described):
    """A multiplier softplus(zeta) on the constraint C - nll >= 0, with C = target * 3 H W.

    Buffers store the state: moving average of the constraint, zeta, and number of optimizer steps.

    Args:
        target: target t of the nll per channel-pixel, in nats; not below log(scale) of the likelihood. With ``auto`` it
            is the moving average of the nll at the end of the warm start, then constant. This automates the rule of the
            authors, who watch the first 10 to 20 % of training and set the target by hand once objects are found.
            Choose ``warm_start`` accordingly, and a low ``lowest_zeta``: the constraint is met, so the multiplier falls
            and the KL gains weight.
        alpha: decay of the moving average, in [0, 1).
        step_size: step size of zeta.
        acceleration: factor on the step size while the constraint is met (average > 0).
        warm_start: optimizer steps before GECO enters the loss.
        lowest_zeta: lower bound of zeta. With 0.55, as in the authors' code, the weight of the nll is at least 1. With
            log(exp(w) - 1) for a KL of weight w it can fall to w, where the loss is w times the negative ELBO.

    Raises:
        ValueError: if ``target`` is neither a finite number nor ``auto``, if ``alpha`` is 1 or more, if ``warm_start``
            is not whole, or if another number, except ``lowest_zeta``, is negative.

    >>> geco = Geco(target=-1.0, warm_start=1000)
    >>> geco.zeta, geco.active
    (tensor(0.5500), tensor(False))
    """

    average: Tensor
    zeta: Tensor
    step: Tensor
    reached: Tensor

    def __init__(
        self,
        target: float | Literal["auto"],
        alpha: float = 0.99,
        step_size: float = 1e-6,
        acceleration: float = 1.0,
        warm_start: int = 1000,
        lowest_zeta: float = START,
    ) -> None:
        super().__init__()
        given: object = target
        if given != "auto" and not (isinstance(given, Real) and isfinite(given)):
            raise ValueError(f"Expected target as a finite number or 'auto', got {target!r}.")
        at_least(0, alpha=alpha, step_size=step_size, acceleration=acceleration)
        if alpha >= 1:
            raise ValueError(f"Expected alpha in [0, 1), got {alpha!r}.")
        counts(0, warm_start=warm_start)
        self.target = target
        self.alpha = alpha
        self.step_size = step_size
        self.acceleration = acceleration
        self.warm_start = warm_start
        self.lowest_zeta = lowest_zeta
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("zeta", torch.full((), START))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        if target == "auto":
            self.register_buffer("reached", torch.zeros(()))

    @property
    def goal(self) -> float | Tensor:
        """The current target, in nats per channel-pixel; with ``auto``, the moving average of the warm start."""
        return self.reached if self.target == "auto" else self.target

    @property
    def active(self) -> Bool[Tensor, ""]:
        """Whether the warm start is over."""
        return self.step >= self.warm_start

    def forward(self, nll: Float[Tensor, ""], dims: int) -> Float[Tensor, ""]:
        """Return the loss term of the batch mean nll of images with ``dims`` channel-pixels.

        Its value is -softplus(zeta) times the moving average; its gradient is softplus(zeta) times that of nll.
        """
        constraint = self.goal * dims - nll
        return -F.softplus(self.zeta) * (constraint + (self.average - constraint).detach())

    @torch.no_grad()
    def update(self, nll: Float[Tensor, ""], dims: int) -> None:
        """Update the state with the last stage's batch mean nll, averaged over ranks, after each optimizer step."""
        nll, begun, ended = rank_mean(nll).to(self.average), self.step > 0, self.step > self.warm_start
        if self.target == "auto":
            moved = torch.where(begun, self.reached.lerp(nll / dims, 1 - self.alpha), nll / dims)
            self.reached.copy_(torch.where(ended, self.reached, moved))
        constraint = self.goal * dims - nll
        average = torch.where(ended, self.alpha * self.average + (1 - self.alpha) * constraint, constraint)
        self.average.copy_(torch.where(self.active, average, self.average))
        rate = self.step_size * torch.where(self.average > 0, self.acceleration, 1.0)
        zeta = (self.zeta - rate * self.average).clamp(min=self.lowest_zeta)
        self.zeta.copy_(torch.where(ended, zeta, self.zeta))
        self.step.add_(1)
