"""Keeps the last step of a run, and ends one that is asked to stop, so that it can resume exactly."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

logger = logging.getLogger(__name__)

ASKING = signal.SIGUSR1, signal.SIGTERM, signal.SIGINT  # if several come, the first of these counts


class Preemption(Checkpoint):
    """Saves ``last.ckpt`` after the step under way and ends the process, on SIGUSR1, SIGTERM and SIGINT (Ctrl-C).

    It also saves after the last step of training, which need not be one that `ModelCheckpoint` saves after.

    On SIGUSR1, a job of SLURM is queued again as well; SIGTERM may be that of ``scancel``. The status of the process is
    that of a signal, 128 and its number. One process that gets the signal is enough. A second Ctrl-C stops at once and
    saves nothing. Lightning's own handling of SIGUSR1 saves in the midst of a step, from which a run does not resume
    exactly.

    Raises:
        MisconfigurationException: if there is no `ModelCheckpoint` with ``save_last`` to say where ``last.ckpt`` is.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.step = 0
        self.saved: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look for the folder of ``last.ckpt``, and take requeueing over from Lightning, in tests too.

        Lightning would save a file that every later job in the trainer's folder starts from.
        """
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False
        if stage == "fit" and not _keepers(trainer):
            raise MisconfigurationException(
                "Expected a ModelCheckpoint with 'save_last: true' beside Preemption, got none. Add one."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over; Lightning gives them back when training ends. A trial run has nothing to save.

        A job in the background, for which the shell ignores Ctrl-C, keeps ignoring it.
        """
        self.received = self.saved = None
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
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
        os.write(sys.stderr.fileno(), b"\nSaving after this step; press Ctrl-C again to stop at once, unsaved.\n")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Go, if the last step was saved; or else remember the step, to tell whether the batch completes one.

        So late, because loggers hear of a step after its end, and because a validation that is due then would never be
        made up: a resumed run begins with the next step.
        """
        self._go(trainer)
        self.step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, if a signal came to any process; not while gradients accumulate, nor when training is over anyway."""
        unfinished = self.step < trainer.global_step != trainer.max_steps
        if unfinished and _any(trainer, self.received is not None):
            self.saved = save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, if the last step is not one that `ModelCheckpoint` has saved after; a trial run leaves nothing."""
        if not trainer.fast_dev_run and _keepers(trainer)[0]._last_global_step_saved != trainer.global_step:  # type: ignore[attr-defined]
            save(trainer)

    def _go(self, trainer: Trainer) -> None:
        """End the process, if the last step was saved."""
        if self.saved is None:
            return
        number = next((s for s in ASKING if _any(trainer, self.received == s)), ASKING[-1])
        if trainer.is_global_zero:
            logger.warning("step %d: saved %s on %s", trainer.global_step, self.saved, number.name)
            if number == signal.SIGUSR1 and (job := slurm_job()):
                queue_again(job)
        raise SystemExit(128 + number)


def save(trainer: Trainer) -> Path:
    """Write the checkpoint from which the run resumes, in place of the last one; return its path."""
    keeper = _keepers(trainer)[0]
    assert keeper.dirpath is not None
    path = keeper.last_model_path or f"{keeper.dirpath}/{keeper.CHECKPOINT_NAME_LAST}{keeper.FILE_EXTENSION}"
    keeper.last_model_path = path  # or else it would call its next one last-v1.ckpt
    trainer.save_checkpoint(path, weights_only=False)
    return Path(path)


def slurm_job() -> str | None:
    """Return the number of SLURM's job, of the task alone in an array of jobs; None outside SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def queue_again(job: str) -> None:
    """Have SLURM queue a job again, under its number."""
    try:
        status = subprocess.run(["scontrol", "requeue", job], check=False).returncode
    except FileNotFoundError:
        status = 127
    if status:
        logger.warning("'scontrol requeue %s' failed with status %d: submit the job again to resume", job, status)


def _keepers(trainer: Trainer) -> list[ModelCheckpoint]:
    callbacks = trainer.checkpoint_callbacks
    return [callback for callback in callbacks if isinstance(callback, ModelCheckpoint) and callback.save_last]


def _any(trainer: Trainer, decision: bool) -> bool:
    return trainer.strategy.reduce_boolean_decision(decision, all=False)
