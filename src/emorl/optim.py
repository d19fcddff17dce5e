"""Learning-rate schedules, and the optimizer Muon."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_optimizer
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from emorl.ranges import above, at_least, counts

__all__ = ["Muon", "Warmup", "WarmupCosineDecay", "WarmupExponentialDecay", "warm_up"]

_SETTINGS = "warmup_steps", "half_life", "total_steps", "hold"


def warm_up(step: int, warmup_steps: int) -> float:
    """Return the factor of a linear warm-up, 1 / warmup_steps at step 0 and 1 from step warmup_steps - 1 on.

    >>> [warm_up(step, 4) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


class Warmup(LambdaLR):
    """Linear warm-up times a decay, stepped once per optimizer step.

    Its settings are not part of its state, so that a resumed run may be longer.

    Args:
        optimizer: the optimizer.
        warmup_steps: optimizer steps until the full learning rate; 0 for none.
        decay: factor of the learning rate at a step.

    >>> import torch
    >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> scheduler = Warmup(optimizer, warmup_steps=4, decay=lambda step: 1.0)
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int, decay: Callable[[int], float]) -> None:
        counts(0, warmup_steps=warmup_steps)
        self.warmup_steps = warmup_steps
        super().__init__(optimizer, lambda step: warm_up(step, warmup_steps) * decay(step))

    def state_dict(self) -> dict[str, Any]:
        """Return the state without the settings."""
        state: dict[str, Any] = super().state_dict()
        return {name: value for name, value in state.items() if name not in _SETTINGS}


class WarmupExponentialDecay(Warmup):
    """Linear warm-up times smooth exponential decay, the authors' schedule, stepped once per optimizer step.

    Args:
        optimizer: the optimizer.
        warmup_steps: optimizer steps until the full learning rate; 0 for none.
        half_life: optimizer steps in which the decay halves the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> scheduler = WarmupExponentialDecay(optimizer, warmup_steps=4)
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 10_000, half_life: float = 100_000.0) -> None:
        above(0, half_life=half_life)
        self.half_life = half_life
        super().__init__(optimizer, warmup_steps, lambda step: 0.5 ** (step / half_life))


class WarmupCosineDecay(Warmup):
    """Linear warm-up, the full learning rate, then half a cosine to zero, stepped once per optimizer step.

    Args:
        optimizer: the optimizer.
        total_steps: optimizer steps until the learning rate is zero; by default `SlotModule` sets the trainer's
            ``max_steps``.
        warmup: optimizer steps until the full learning rate; 0 for none.
        hold: share of ``total_steps`` before the cosine begins, in [0, 1).

    Raises:
        ValueError: if a number is out of range.

    >>> import torch
    >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> scheduler = WarmupCosineDecay(optimizer, total_steps=100, warmup=4)
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    def __init__(
        self, optimizer: Optimizer, total_steps: int | None = None, warmup: int = 100, hold: float = 0.0
    ) -> None:
        if total_steps is not None:
            counts(1, total_steps=total_steps)
        at_least(0, hold=hold)
        if hold >= 1:
            raise ValueError(f"Expected hold below 1, got {hold!r}.")
        self.total_steps = total_steps
        self.hold = hold
        super().__init__(optimizer, warmup, self._cosine)

    def _cosine(self, step: int) -> float:
        if step == 0:  # LambdaLR asks for it before the length is known
            return 1.0
        if self.total_steps is None:
            raise ValueError(
                "Expected a schedule of known length, got total_steps = None. Set it before the first step."
            )
        progress = (step / self.total_steps - self.hold) / (1 - self.hold)
        return (1 + math.cos(math.pi * min(1.0, max(0.0, progress)))) / 2


class Muon(pytorch_optimizer.Muon):
    """Muon for the weights of hidden layers, Adam for all other parameters.

    Muon (Jordan et al., 2024) replaces the momentum of a weight matrix by the nearest orthogonal matrix. A convolution
    is a matrix of shape (outputs, inputs x kernel), a transposed one of (inputs, outputs x kernel). With the factor
    0.2 sqrt(max(rows, columns)) (Liu et al., 2025) steps are as large as Adam's, so that both share a learning rate.

    Args:
        params: the parameters. Adam updates those whose matrix has fewer than 16 rows or columns: biases, norms,
            projections of ramps, a last convolution to 4 channels.
        lr: the learning rate.
        momentum: decay rate of the momentum.
        betas: Adam's decay rates.

    >>> from emorl.model import EfficientMORL
    >>> optimizer = Muon(EfficientMORL().parameters(), lr=1e-3)
    >>> [group["use_muon"] for group in optimizer.param_groups]
    [True, False]
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        at_least(0, lr=lr, momentum=momentum)
        params = list(params)
        hidden = [p.ndim > 1 and min(len(p), p[0].numel()) >= 16 for p in params]
        super().__init__(
            [
                {"params": [p for p, mine in zip(params, hidden, strict=True) if mine], "use_muon": True},
                {"params": [p for p, mine in zip(params, hidden, strict=True) if not mine], "use_muon": False},
            ],
            lr=lr,
            momentum=momentum,
            use_adjusted_lr=True,
            adamw_lr=lr,
            adamw_betas=betas,
            adamw_eps=1e-8,
        )
