"""Measurement of time, memory and numbers of operations."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.device import Device, finished
from emorl.errors import DataError

PEAK_IMAGES: dict[Device, int] = {"cpu": 28, "cuda": 448}  # on a GPU enough that the host does not limit the rate


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each call, measured alternately (A B A B) after one warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


class _Count(TorchDispatchMode):
    """Counts floating-point operations; torch's counter hooks modules, which ``autograd.grad`` does not allow."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:
            result = func.decompose(*args, **(kwargs or {}))  # inference mode does not decompose linear, conv2d, ...
        if result is not NotImplemented:
            return result
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def flops(call: Callable[[], object]) -> int:
    """Count the floating-point operations of matrix products and convolutions, where a multiply-add counts as two."""
    with _Count() as count:
        call()
    return count.total


def convolution_peak(dtype: torch.dtype, device: Device) -> float:
    """Measure the device's best FLOP/s in the forward pass of a 3x3 convolution of 64 channels, channels-last."""
    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(device, dtype)
    image = torch.rand(PEAK_IMAGES[device], 64, 96, 96).to(device, dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        count = flops(lambda: layer(image))
        calls = {"peak": finished(partial(layer, image), device)}
        return count / min(interleaved(calls, rounds=1)["peak"] for _ in range(20))


class Worker:
    """A new process that takes training steps on request, since allocator and peak memory are those of a process.

    Args:
        arguments: arguments of `benchmarks.cases.Step`.
    """

    def __init__(self, **arguments: object) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", json.dumps(arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, request: str = "step") -> int:
        """Send a request of `benchmarks.worker.answers` to the process; return its number."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        if not (answer := self.process.stdout.readline()):
            got, remedy = "a process that ended", "see its error above; if memory is short, lower the batch"
            raise DataError.of("worker", expected=f"an answer to {request}", got=got, remedy=remedy)
        return int(answer)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


@contextmanager
def workers(arguments: Mapping[str, Mapping[str, object]]) -> Iterator[dict[str, Worker]]:
    """Start a `Worker` for each name, and end all of them on exit."""
    started = {name: Worker(**each) for name, each in arguments.items()}
    try:
        yield started
    finally:
        for worker in started.values():
            worker.close()


def step_memory(**arguments: object) -> int:
    """Return the peak memory of a new process over two training steps, above that of the imports, in bytes."""
    with workers({"one": arguments}) as started:
        worker = started["one"]
        for _ in range(2):
            worker()
        return worker("memory")
