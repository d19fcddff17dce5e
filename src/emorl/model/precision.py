"""Contexts of precision for every device, also those that have no autocast, such as ``meta``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context without autocast, which leaves no trace in a recorded program unless there is one to end."""
    if not (torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def present_precision(device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """Return what makes contexts with autocast as it is now, for a backward pass that computes again."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext
    enabled = torch.is_autocast_enabled(device.type)
    return partial(torch.autocast, device.type, torch.get_autocast_dtype(device.type), enabled)
