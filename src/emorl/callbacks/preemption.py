"""Saving the last step of a run, and on SIGUSR1, SIGTERM or SIGINT: save, exit, resume exactly."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from emorl.resume import keepers, last_is_saved, save_last, stopping

logger = logging.getLogger(__name__)

ASKING = signal.SIGUSR1, signal.SIGTERM, signal.SIGINT  # in order of precedence


class Preemption(Checkpoint):
    """Saves ``last.ckpt`` after the current step and ends the process on SIGUSR1, SIGTERM or SIGINT (Ctrl-C).

    It also saves after the last step of training, even if `ModelCheckpoint` does not save at that step.

    On SIGUSR1 a SLURM job is also requeued; on SIGTERM it is not, because ``scancel`` sends it too. The exit status is
    128 plus the signal's number. It is enough if one process receives the signal. A second Ctrl-C stops at once without
    saving. Lightning's handler of SIGUSR1 saves within a step, and a run does not resume exactly from that.

    Raises:
        MisconfigurationException: if no `ModelCheckpoint` has ``save_last``, which defines the path of ``last.ckpt``.

    >>> from pytorch_lightning import Trainer
    >>> from pytorch_lightning.callbacks import ModelCheckpoint
    >>> trainer = Trainer(callbacks=[Preemption(), ModelCheckpoint(save_last=True)], logger=False, accelerator="cpu")
    >>> any(isinstance(callback, Preemption) for callback in trainer.callbacks)
    True
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.step = 0
        self.saved: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that ``last.ckpt`` has a path, and switch off Lightning's requeueing, in testing too.

        Lightning would save a file from which all later jobs in the trainer's folder would start.
        """
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False
        if stage == "fit" and not keepers(trainer):
            raise MisconfigurationException(
                "Expected a ModelCheckpoint with 'save_last: true' with Preemption, got none. Add one."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers, except in a trial run; Lightning restores the old ones when training ends.

        In a thread other than the main one, Python allows none: a signal then does what it did before. A background
        job, for which the shell ignores Ctrl-C, continues to ignore it.
        """
        self.received = self.saved = None
        trial = trainer.fast_dev_run  # type: ignore[attr-defined]
        if trial or threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._receive)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._receive_interrupt)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = number

    def _receive_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.received == number:
            signal.default_int_handler(number, frame)
        self._receive(number, frame)
        os.write(sys.stderr.fileno(), b"\nSaving after this step; press Ctrl-C again to exit without saving.\n")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Exit if the last step was saved; else store the step, to detect whether the batch completes one.

        The exit is delayed to this point because loggers log a step after its end, and because a validation that is due
        then would be lost: a resumed run starts with the next step.
        """
        self._go(trainer)
        self.step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after the last step, and if any process received a signal, except while gradients accumulate.

        In ``on_train_end`` the weights may already be replaced by their average.
        """
        if trainer.fast_dev_run or self.step == trainer.global_step:  # type: ignore[attr-defined]
            return
        if _last(trainer):
            save_last(trainer)
        elif _any(trainer, self.received is not None):
            self.saved = save_last(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step of a training that was stopped after `on_train_batch_end`, except in a trial run."""
        if not (trainer.fast_dev_run or last_is_saved(trainer)):  # type: ignore[attr-defined]
            save_last(trainer)

    def _go(self, trainer: Trainer) -> None:
        """End the process if the last step was saved."""
        if self.saved is None:
            return
        number = next((s for s in ASKING if _any(trainer, self.received == s)), ASKING[-1])
        if trainer.is_global_zero:
            logger.warning("step %d: saved %s on %s", trainer.global_step, self.saved, number.name)
            if number == signal.SIGUSR1 and (job := slurm_job()):
                queue_again(job)
        raise SystemExit(128 + number)


def slurm_job() -> str | None:
    """Return the ID of the SLURM job, or of the task in a job array; None outside SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def queue_again(job: str) -> None:
    """Have SLURM requeue a job under the same ID."""
    try:
        status = subprocess.run(["scontrol", "requeue", job], check=False).returncode
    except FileNotFoundError:
        status = 127
    if status:
        logger.warning("'scontrol requeue %s' failed with status %d: submit the job again to resume", job, status)


def _last(trainer: Trainer) -> bool:
    """Return whether training ends after this step."""
    epochs = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
    return stopping(trainer) or epochs or trainer.global_step == trainer.max_steps


def _any(trainer: Trainer, decision: bool) -> bool:
    return trainer.strategy.reduce_boolean_decision(decision, all=False)
