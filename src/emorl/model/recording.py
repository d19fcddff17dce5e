"""Special cases while ``torch.export``, ``torch.compile`` or ``torch.jit.trace`` record a program."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

F = TypeVar("F", bound=Callable[..., Any])


def compiled_as_constant(function: F) -> F:
    """Mark a function as ``torch.compiler.assume_constant_result`` does, without importing the compiler."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def jit_traced() -> bool:
    """Return whether ``torch.jit.trace`` is recording."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def recorded() -> bool:
    """Return whether ``torch.export`` or ``torch.jit.trace`` is recording a program that runs without this package."""
    return bool(torch.compiler.is_exporting() or jit_traced())


def has_values(tensor: Tensor) -> bool:
    """Return whether a tensor's values are available, or only its shape."""
    return not (torch.compiler.is_compiling() or jit_traced() or tensor.is_meta or isinstance(tensor, FakeTensor))


def refuse_recording(reason: str | None) -> None:
    """Refuse to be recorded as a program that runs without this package, if a reason is given.

    Raises:
        ValueError: within ``torch.export`` and ``torch.jit.trace``. ``torch.compile`` falls back to Python instead.
    """
    if reason and recorded():
        raise ValueError(
            f"Expected a model of plain tensor operations, got {reason}, which cannot be recorded: export "
            "EfficientMORL with I = 0, or Slot Attention."
        )


@compiled_as_constant
def seeded_normals(seed: int, count: int) -> tuple[float, ...]:
    """Return float32 draws of ``torch.randn`` from a separate generator as numbers: constants of a program.

    A recorded random operation would draw new values, from another generator, in each run of the program.
    """
    return _seeded_normals(seed, count)


@lru_cache
def _seeded_normals(seed: int, count: int) -> tuple[float, ...]:
    with ThreadPoolExecutor(1) as elsewhere:  # only the operations of the recording thread are recorded
        return tuple(elsewhere.submit(_draw, seed, count).result())


def _draw(seed: int, count: int) -> list[float]:
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(count, generator=generator, dtype=torch.float32, device="cpu").tolist()
