"""Data parallelism: number of processes and means over them; both functions also work in a single process."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of data-parallel processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank_mean(value: Tensor) -> Tensor:
    """Return the mean of a detached value over all processes."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()
