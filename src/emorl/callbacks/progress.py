"""The progress bar, with loss, scores, speed and remaining time."""

from __future__ import annotations

import time
from typing import Any, cast

from pytorch_lightning import LightningModule, Trainer, callbacks

from emorl.callbacks.cost import duration
from emorl.callbacks.display import Bars, Lines, is_terminal
from emorl.module import SlotModule
from emorl.ranges import at_least


class ProgressBar(callbacks.ProgressBar):
    """Shows the progress of the whole run in optimizer steps, because a stream has no epochs.

    It also shows the loss, I, the last validation's FG-ARI and that at I = 0 if the model has slots there, images per
    second, and the remaining time including validation. Rates are averages since the last change of I. Validation,
    testing and prediction have separate bars.

    Args:
        minutes: minutes between two lines if the output is not a terminal; another line follows each validation.

    Raises:
        ValueError: if ``minutes`` is negative or NaN.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[ProgressBar(minutes=1.0)], logger=False, accelerator="cpu", max_steps=100)
    >>> any(isinstance(callback, ProgressBar) for callback in trainer.callbacks)
    True
    """

    def __init__(self, minutes: float = 5.0) -> None:
        at_least(0, minutes=minutes)
        super().__init__()
        self.minutes = minutes
        self.enabled = True
        self.display: Bars | Lines | None = None

    def enable(self) -> None:
        """Show progress."""
        self.enabled = True

    def disable(self) -> None:
        """Hide progress, as in all processes except one."""
        self.enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the measurement of speed."""
        self.pace = Pace(trainer.global_step, cast(SlotModule, pl_module).refinement_steps)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch."""
        refinement_steps = cast(SlotModule, pl_module).refinement_steps
        if self.pace.refinement_steps != refinement_steps:
            self.pace = Pace(trainer.global_step, refinement_steps)
        else:
            self.pace.images += len(batch["key"]) * trainer.world_size
        self._show_training(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the start time."""
        self.paused = time.monotonic()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Count a batch."""
        if not trainer.sanity_checking:
            self._show("validation", batch_idx + 1, sum(trainer.num_val_batches))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the scores; after ``validate`` close the bars for Lightning's table instead."""
        if trainer.state.fn != "fit":
            self._close()
        elif not trainer.sanity_checking:
            self.pace.pauses += time.monotonic() - self.paused
            self._show_training(trainer, now=True)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Count a batch."""
        self._show("test", batch_idx + 1, sum(trainer.num_test_batches))

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Count a batch."""
        self._show("predict", batch_idx + 1, sum(trainer.num_predict_batches))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bars after the last step, before Lightning prints a message."""
        if trainer.global_step >= trainer.estimated_stepping_batches:
            self._close()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bars before the report."""
        self._close()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bars."""
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bars."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bars before the error message."""
        self._close()

    def _show_training(self, trainer: Trainer, now: bool = False) -> None:
        self._show("training", trainer.global_step, trainer.estimated_stepping_batches, now)

    def _show(self, stage: str, done: int, total: float | int, now: bool = False) -> None:
        """Show progress if it is due, or if ``now`` is true."""
        if not self.enabled:
            return
        if self.display is None:
            self.display = Bars() if is_terminal() else Lines(self.minutes)
        if now or self.display.is_due(done, total):
            facts = self._facts(done, total) if stage == "training" else ""
            self.display.show(stage, done, None if total == float("inf") else int(total), facts)

    def _facts(self, step: int, total: float | int) -> str:
        metrics, pace = self.trainer.callback_metrics, self.pace
        facts = []
        if "train/loss" in metrics:
            facts.append(f"loss {metrics['train/loss']:.5g}")
        facts.append(f"I = {pace.refinement_steps}")
        if "val/fg_ari" in metrics:
            zero_step = metrics.get("val/zero_step/fg_ari")
            at_zero = "" if zero_step is None else f" (I = 0: {zero_step:.3f})"
            facts.append(f"FG-ARI {metrics['val/fg_ari']:.3f}{at_zero}")
        if pace.images and step > pace.first:
            facts.append(f"{pace.images_per_second():.3g} images/s")
            if step < total < float("inf"):
                facts.append(f"{duration(pace.seconds_left(step, int(total)))} left")
        return ", ".join(facts)

    def _close(self) -> None:
        if self.display is not None:
            self.display.close()
            self.display = None


class Pace:
    """The speed of training since the last change of I.

    Args:
        first: optimizer step of the change.
        refinement_steps: number I of refinement steps.
    """

    def __init__(self, first: int, refinement_steps: int) -> None:
        self.first = first
        self.refinement_steps = refinement_steps
        self.began = time.monotonic()
        self.images = 0
        self.pauses = 0.0  # seconds of validation

    def images_per_second(self) -> float:
        """Return the rate of training, without validation."""
        return self.images / (time.monotonic() - self.began - self.pauses)

    def seconds_left(self, step: int, total: int) -> float:
        """Return the estimated time from a step to the last in seconds, validations included."""
        return (time.monotonic() - self.began) * (total - step) / (step - self.first)
