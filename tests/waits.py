"""Finds where the host would have to wait for a device, on a machine that has none."""

import traceback
from collections import Counter
from contextlib import contextmanager
from functools import wraps

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

VALUES = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "repeat_interleave", "equal.default", "bincount")
"""Operations whose result, or its shape, depends on values: ``item``, ``if tensor``, ``tensor[mask]``.."""


@contextmanager
def waits(device):
    """Yield a counter of the operations that wait for a device, each with the line that asked for it.

    Those are operations that read values on the device, copies from it to the CPU, and copies to it that are not
    ``non_blocking``, among them ``torch.tensor(number, device=device)``. As a device serves ``meta``, whose tensors
    refuse to be read, or the CPU itself, which has no copies to see.

    Args:
        device: type of the device.
    """
    found = Counter()
    with pytest.MonkeyPatch.context() as patch, _Operations(device, found):
        for owner, name in ((torch, "tensor"), (torch, "as_tensor"), (torch.Tensor, "new_tensor")):
            patch.setattr(owner, name, _of_numbers(getattr(owner, name), device, found))
        yield found


def _note(found, function):
    files = [frame for frame in traceback.extract_stack() if "/torch/" not in frame.filename]
    callers = [frame for frame in files if frame.filename not in (__file__, traceback.__file__)]
    found[f"{function} at {callers[-1].filename}:{callers[-1].lineno}"] += 1


def _of_numbers(function, device, found):
    """Return a function that makes a tensor of numbers, and notes if it copies them to the device."""

    @wraps(function)
    def noted(*args, **kwargs):
        made = function(*args, **kwargs)
        if made.device.type == device != "cpu":
            _note(found, function.__name__)
        return made

    return noted


class _Operations(TorchDispatchMode):
    def __init__(self, device, found):
        super().__init__()
        self.device, self.found = device, found

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        names = [argument.name for argument in function._schema.arguments]
        given = dict(zip(names, args, strict=False)) | (kwargs or {})
        sources = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        if self.device in sources and (self.reads_values(function, given) or self.to_host(function, given, sources)):
            _note(self.found, function)  # before it fails, as it does on meta
        result = function(*args, **kwargs or {})
        results = {leaf.device.type for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)}
        moved = self.device in results and "cpu" in sources and "non_blocking" in names
        if moved and self.device != "cpu" and not given.get("non_blocking", False):
            _note(self.found, function)
        return result

    def reads_values(self, function, given):
        mask = any(isinstance(i, torch.Tensor) and i.dtype == torch.bool for i in tree_leaves(given.get("indices")))
        return mask or any(name in str(function) for name in VALUES)

    def to_host(self, function, given, sources):
        if "copy_" in str(function) and "src" in given:
            return given["self"].device.type == "cpu" != given["src"].device.type
        return str(given.get("device")).startswith("cpu") and "cpu" not in sources
