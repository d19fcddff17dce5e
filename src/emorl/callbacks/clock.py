"""Logs what training takes."""

from __future__ import annotations

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Clock(Callback):
    """Logs ``time/minutes``, the wall time of all sessions of a run, and ``time/images_per_second``.

    Minutes count what a run really takes, validation and pictures included; the rate is of training alone, over all
    processes, since the last validation.
    """

    def __init__(self) -> None:
        self.earlier = 0.0  # minutes of the sessions before this one
        self.started = time.monotonic()
        self._restart()

    @property
    def minutes(self) -> float:
        """Minutes of training so far."""
        return self.earlier + (time.monotonic() - self.started) / 60

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to count."""
        self.started = time.monotonic()
        self._restart()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log both."""
        self.images += len(batch["key"]) * trainer.world_size
        rate = self.images / (time.monotonic() - self.mark)
        pl_module.log_dict({"time/minutes": self.minutes, "time/images_per_second": rate})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave validation out of the rate."""
        self._restart()

    def _restart(self) -> None:
        self.mark, self.images = time.monotonic(), 0

    def state_dict(self) -> dict[str, Any]:
        """Return the minutes so far."""
        return {"minutes": self.minutes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from an earlier session."""
        self.earlier = state_dict["minutes"]
