"""Averaged weights, without waiting for the device."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel

from emorl.ranges import at_least


class AveragedWeights(WeightAveraging):
    """Averages the weights over the steps: after each one, average = decay * average + (1 - decay) * weights.

    The first average is the weights after the first step. Validation, checkpoints and the trained module have the
    average; resuming continues from both. Lightning's `EMAWeightAveraging` gives the same, but counts the steps on the
    device, for which each step waits. Buffers are copied.

    Args:
        decay: from 0 (no average) to below 1. About 1 / (1 - decay) steps are averaged.

    Raises:
        ValueError: if ``decay`` is out of range.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[AveragedWeights(decay=0.99)], logger=False, accelerator="cpu", max_steps=100)
    >>> any(isinstance(callback, AveragedWeights) for callback in trainer.callbacks)
    True
    """

    def __init__(self, decay: float = 0.998) -> None:
        at_least(0, decay=decay)
        if decay is None or decay >= 1:
            raise ValueError(f"Expected decay below 1, got {decay}. With 0.998, about 500 steps are averaged.")
        super().__init__(use_buffers=False)
        self.decay = decay
        self._average_model: _Average

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the module when a training starts.

        Raises:
            MisconfigurationException: if another callback averages weights, too.
        """
        if stage == "fit":
            others = [part for part in vars(trainer)["callbacks"] if isinstance(part, WeightAveraging)]
            if len(others) > 1:
                names = " and ".join(type(part).__name__ for part in others)
                told = f"Expected one callback that averages weights, got {names}"
                raise MisconfigurationException(f"{told}. Remove one; a recipe or overlay may have it.")
            self._average_model = _Average(pl_module)
            self._latest_update_step = 0  # of an earlier training with this callback

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the copy to the device, where the module is only now."""
        self._average_model.to(pl_module.device, non_blocking=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after an optimizer step."""
        self._average_model.decay = 0.0 if trainer.global_step == 1 else self.decay
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the weights: a checkpoint may be saved after this."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the trained module the average."""
        super().on_train_end(trainer, pl_module)


class _Average(AveragedModel):
    """An average that does not read its number of steps, which is on the device."""

    decay = 0.0

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        averages, weights = (tuple(each.parameters()) for each in (self.module, model))
        torch._foreach_lerp_(averages, weights, 1 - self.decay)
        for average, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            average.copy_(buffer, non_blocking=True)
        self.n_averaged += 1
