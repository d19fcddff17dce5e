"""The time and memory of a run."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from emorl.module import SlotModule
from emorl.ranges import counts


class Cost(Callback):
    """Prints the size of the model, and after a few steps the time per step, peak memory and remaining time.

    It measures the first steps of the run itself, so results do not change. The first ``warm`` steps are excluded,
    because they allocate memory and tune kernels. When I changes, as in a curriculum, it measures again. Validation is
    excluded.

    Args:
        warm: number of excluded steps.
        steps: number of measured steps.

    Raises:
        ValueError: if ``warm`` is negative, ``steps`` is below 1, or one is not whole.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[Cost(warm=3, steps=8)], logger=False, accelerator="cpu", max_steps=100)
    >>> any(isinstance(callback, Cost) for callback in trainer.callbacks)
    True
    """

    def __init__(self, warm: int = 3, steps: int = 8) -> None:
        counts(0, warm=warm)
        counts(1, steps=steps)
        self.warm = warm
        self.steps = steps
        self.mark: float | None = None  # start time of the measured steps
        self.told = True  # whether the cost of the current I is printed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the size."""
        module = cast(SlotModule, pl_module)
        size = sum(parameter.numel() for parameter in module.network.parameters())
        needed, left = self.warm + self.steps, trainer.estimated_stepping_batches - trainer.global_step
        later = f"; time and memory follow after {needed} steps" if left >= needed else ""
        _say(trainer, f"{size:,} parameters{later}")
        self._begin(trainer, module.refinement_steps, module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the step, and print the cost after the last measured one."""
        refinement_steps = cast(SlotModule, pl_module).refinement_steps
        if refinement_steps != self.refinement_steps:
            self._begin(trainer, refinement_steps, pl_module.device)
        taken = trainer.global_step - self.first
        if self.mark is None and taken >= self.warm:
            self.mark = _now(pl_module.device)
        elif self.mark is not None and not self.told and taken >= self.warm + self.steps:
            self.told = True
            _say(trainer, self._sentence(trainer, pl_module, (_now(pl_module.device) - self.mark) / self.steps))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure again after validation."""
        if not self.told:
            self._begin(trainer, self.refinement_steps, pl_module.device)

    def _begin(self, trainer: Trainer, refinement_steps: int, device: torch.device) -> None:
        self.refinement_steps, self.first = refinement_steps, trainer.global_step
        self.mark, self.told = None if self.warm else _now(device), False

    def _sentence(self, trainer: Trainer, pl_module: LightningModule, seconds: float) -> str:
        measured = f"{seconds:.3g} s a step at I = {self.refinement_steps}, peak memory {memory(pl_module.device)}"
        left = trainer.estimated_stepping_batches - trainer.global_step
        if left == float("inf"):
            return measured
        return f"{measured}; the {left:,} steps left take about {duration(left * seconds)} plus validation"


def memory(device: torch.device) -> str:
    """Return the peak memory so far: of the GPU, or on CPU of the process without its workers."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB on the GPU"
    unit = 1 if sys.platform == "darwin" else 2**10  # getrusage's
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB"


def duration(seconds: float) -> str:
    """Return a duration as text.

    >>> [duration(seconds) for seconds in (0.4, 59.0, 90.0, 6480.0, 266400.0)]
    ['0 s', '59 s', '1 min 30 s', '1 h 48 min', '3 d 2 h']
    """
    rest = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _say(trainer: Trainer, sentence: str) -> None:
    if trainer.is_global_zero:
        print(sentence, flush=True)
