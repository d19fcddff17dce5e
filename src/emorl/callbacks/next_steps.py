"""Prints the folder of a run, and at its end the commands for the next steps."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from signal import SIGUSR1

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from emorl.callbacks.folder import CONFIG, run_folder
from emorl.callbacks.preemption import slurm_job


class NextSteps(Callback):
    """Prints the run's folder before training, and after it the checkpoint and the commands to test and predict.

    If training is stopped (Ctrl-C or a signal), it prints the command that resumes it, unless SLURM requeues the job.
    The commands use the run's ``config.yaml`` and write to its folder; paths are relative to the working directory. A
    trial run (``fast_dev_run``) has no checkpoint, so nothing is printed. Without a split ``test`` there is no command
    to test, and ``predict`` reads a split that exists.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[NextSteps()], logger=False, accelerator="cpu", max_steps=100)
    >>> any(isinstance(callback, NextSteps) for callback in trainer.callbacks)
    True
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Determine the run's folder."""
        self.folder = run_folder(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the folder, after all checks of the run have passed."""
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            print(f"Run folder: {_short(self.folder)}", flush=True)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the checkpoint and the commands, if there are a checkpoint and a configuration for them."""
        path = None if trainer.fast_dev_run else checkpoint(trainer)  # type: ignore[attr-defined]
        data = trainer.datamodule  # type: ignore[attr-defined]
        known = hasattr(data, "manifest") and (self.folder / CONFIG).exists()
        if trainer.is_global_zero and path is not None and known:
            tested = "test" in data.manifest.splits
            split = split_to_predict(data.predict_split, data.manifest.splits)
            aim = "To test it, and to decompose images:" if tested else "To decompose images (there is no split test):"
            print(f"Checkpoint: {_short(path)}. {aim}")
            options = [] if split == data.predict_split else ["--data.predict_split", split]
            for command in commands(self.folder, path, tested, options):
                print(f"  {command}")
            print(f"predict decomposes the split {split}; for a folder of images, add --data.root FOLDER.", flush=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Print the command that resumes, if training was stopped and there is a checkpoint."""
        stopped = isinstance(exception, KeyboardInterrupt | SystemExit | SIGTERMException)
        queued = isinstance(exception, SystemExit) and exception.code == 128 + SIGUSR1 and slurm_job() is not None
        path = checkpoint(trainer) if stopped and not queued else None
        if trainer.is_global_zero and path is not None and (self.folder / CONFIG).exists():
            resume = ["emorl", "fit", "-c", _short(self.folder / CONFIG), "--ckpt_path", _short(path)]
            print(f"To resume:\n  {shlex.join(resume)}", flush=True)


def checkpoint(trainer: Trainer) -> Path | None:
    """Return a run's last checkpoint, else its best one, or None."""
    keepers = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    paths = [keeper.last_model_path for keeper in keepers] + [keeper.best_model_path for keeper in keepers]
    return next((Path(path) for path in paths if path and Path(path).is_file()), None)


def split_to_predict(chosen: str, splits: Iterable[str]) -> str:
    """Return the chosen split if it exists, else the first of test, val, train and all others.

    >>> split_to_predict("test", ["train", "val"])
    'val'
    """
    names = list(splits)
    return next(name for name in (chosen, "test", "val", "train", *names) if name in names)


def commands(folder: Path, path: Path, tested: bool, options: Sequence[str]) -> list[str]:
    """Return the commands that test a checkpoint of a run and predict with it.

    Args:
        folder: the run's folder, with its ``config.yaml``.
        path: the checkpoint.
        tested: whether the data have a split to test on.
        options: additional options of predict.
    """
    config = folder / CONFIG
    pretrained = yaml.safe_load(config.read_text()).get("pretrained") is not None
    common = ["-c", _short(config), "--ckpt_path", _short(path), *(["--pretrained", "null"] if pretrained else [])]
    common += ["--trainer.logger", "false"]
    test = ["emorl", "test", *common, "--output_dir", _short(folder)]
    predict = ["emorl", "predict", *common, "--output_dir", _short(folder / "predictions"), *options]
    return [shlex.join(command) for command in ([test, predict] if tested else [predict])]


def _short(path: Path) -> str:
    """Return a path relative to the working directory if it is inside it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
