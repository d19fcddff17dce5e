"""The learning-rate schedule of the released recipe."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def learning_rate_factor(step: int, warmup_steps: int, half_life: float) -> float:
    """Return the factor on the learning rate at an optimiser step: linear warm-up times 0.5^(step / half_life)."""
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return float(warmup * 0.5 ** (step / half_life))


class WarmupExponentialDecay(LambdaLR):
    """Linear warm-up times smooth exponential decay, stepped once per optimiser step.

    Args:
        optimizer: the optimiser.
        warmup_steps: optimiser steps until the full learning rate; 0 for none.
        half_life: optimiser steps in which the decay halves the learning rate.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 10_000, half_life: float = 100_000.0) -> None:
        super().__init__(optimizer, lambda step: learning_rate_factor(step, warmup_steps, half_life))
