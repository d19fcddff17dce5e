"""Wall time and speed of training."""

from __future__ import annotations

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class Clock(Callback):
    """Logs ``time/minutes``, the wall time of all sessions of a run, and ``time/images_per_second``.

    Minutes include validation and pictures. The rate is that of training since the last validation, over all processes.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[Clock()], logger=False, accelerator="cpu", max_steps=100)
    >>> any(isinstance(callback, Clock) for callback in trainer.callbacks)
    True
    """

    def __init__(self) -> None:
        self.earlier = 0.0  # minutes of the sessions before this one
        self.started: float | None = None  # time at which this session started; None between sessions
        self._restart()

    @property
    def minutes(self) -> float:
        """Minutes of training so far."""
        return self.earlier + (0.0 if self.started is None else (time.monotonic() - self.started) / 60)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock: from 0 in a new run, else from the minutes of its earlier sessions."""
        if trainer.global_step == 0:
            self.earlier = 0.0
        self.started = time.monotonic()
        self._restart()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop the clock of a session that is stopped."""
        self._stop()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log minutes and rate."""
        self.images += len(batch["key"]) * trainer.world_size
        rate = self.images / (time.monotonic() - self.mark)
        values = {"time/minutes": self.minutes, "time/images_per_second": rate}
        pl_module.log_dict({name: torch.full((), value, device=pl_module.device) for name, value in values.items()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exclude validation from the rate."""
        self._restart()

    def _stop(self) -> None:
        self.earlier, self.started = self.minutes, None

    def _restart(self) -> None:
        self.mark, self.images = time.monotonic(), 0

    def state_dict(self) -> dict[str, Any]:
        """Return the minutes so far."""
        return {"minutes": self.minutes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the minutes of earlier sessions."""
        self.earlier = state_dict["minutes"]
