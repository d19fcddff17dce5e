"""Settings of a process for training on CPU."""

from __future__ import annotations

import ctypes
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def tune_cpu() -> None:
    """Flush denormals to zero and keep freed memory; `SlotModule` calls this if its trainer is on CPU.

    Tiny initial weights and their gradients yield denormal numbers, which are slow on CPUs. Also, glibc returns large
    blocks to the kernel as soon as they are freed, so that every training step would pay the page faults of all its
    activations again. Without glibc, memory is not kept.
    """
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_MMAP_MAX, 0)  # large blocks from the heap too ...
            mallopt(_M_TRIM_THRESHOLD, -1)  # ... which never shrinks
