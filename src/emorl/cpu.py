"""Two settings of a process that trains on CPU."""

from __future__ import annotations

import ctypes
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def tune_cpu() -> None:
    """Flush denormals to zero and keep freed memory; `SlotModule` does it when its trainer is on CPU.

    Tiny initial weights and their gradients make denormal numbers, with which CPUs are slow. And glibc returns large
    blocks to the kernel as soon as they are freed, so that every training step would pay the page faults of all its
    activations again. Where there is no glibc only the first is done.
    """
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_MMAP_MAX, 0)  # large blocks from the heap too ...
            mallopt(_M_TRIM_THRESHOLD, -1)  # ... which never shrinks
