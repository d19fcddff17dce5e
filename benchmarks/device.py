"""The device of a measurement: its name, the end of its work, and its memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from emorl.errors import DataError

Device = Literal["cpu", "cuda"]


def name_of(device: Device) -> str:
    """Return the name of the processor or of the GPU.

    Raises:
        DataError: if there is no GPU.
    """
    if device == "cpu":
        from emorl.provenance import processor  # imports Lightning, whose memory workers should not have

        return processor()
    if not torch.cuda.is_available():
        raise DataError.of("--device", expected="a GPU that torch can use", got="none", remedy="use --device cpu")
    return torch.cuda.get_device_name()


def finished(call: Callable[[], object], device: Device) -> Callable[[], None]:
    """Return a function that calls and then waits until a GPU has done the work."""

    def wait() -> None:
        call()
        if device == "cuda":
            torch.cuda.synchronize()

    return wait


def start_memory(device: Device) -> int:
    """Return the memory that is in use, in bytes, from which `peak_memory` is counted."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return peak_memory(device)


def peak_memory(device: Device) -> int:
    """Return the peak memory in bytes: of the tensors on a GPU, or on CPU the resident size of the process (Linux).

    ``getrusage`` is unsuitable, because a child process inherits its parent's peak.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def where(result: Mapping[str, Any]) -> str:
    """Return the device and the number of threads of a result, for a title."""
    return f"{result['device']}, threads: {result['threads']}"
