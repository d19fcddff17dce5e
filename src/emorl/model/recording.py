"""What differs while a program is recorded: by ``torch.export``, ``torch.compile`` or ``torch.jit.trace``."""

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
    """Do what ``torch.compiler.assume_constant_result`` does, which would import the whole compiler with the model."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def jit_traced() -> bool:
    """Return whether ``torch.jit.trace`` records."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def recorded() -> bool:
    """Return whether ``torch.export`` or ``torch.jit.trace`` records a program that runs without this package."""
    return bool(torch.compiler.is_exporting() or jit_traced())


def has_values(tensor: Tensor) -> bool:
    """Return whether a tensor's values can be read now, and not its shape alone."""
    return not (torch.compiler.is_compiling() or jit_traced() or tensor.is_meta or isinstance(tensor, FakeTensor))


def refuse_recording(reason: str | None) -> None:
    """Refuse to be recorded as a program that runs without this package, if there is a reason.

    Raises:
        ValueError: within ``torch.export`` and ``torch.jit.trace``; ``torch.compile`` runs what it cannot record.
    """
    if reason and recorded():
        raise ValueError(
            f"Expected a model of plain tensor operations, got {reason}, which cannot be recorded: export "
            "EfficientMORL with I = 0, or Slot Attention."
        )


@compiled_as_constant
def seeded_normals(seed: int, count: int) -> tuple[float, ...]:
    """Return what ``torch.randn`` draws in float32 from a generator of its own, as numbers: a program's constants.

    Recorded as a random operation, it would be drawn anew in every run of the program, from another generator.
    """
    return _seeded_normals(seed, count)


@lru_cache
def _seeded_normals(seed: int, count: int) -> tuple[float, ...]:
    with ThreadPoolExecutor(1) as elsewhere:  # operations are recorded in the thread that asked for it alone
        return tuple(elsewhere.submit(_draw, seed, count).result())


def _draw(seed: int, count: int) -> list[float]:
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(count, generator=generator, dtype=torch.float32, device="cpu").tolist()
