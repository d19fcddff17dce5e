"""The folder of a run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from emorl.errors import DataError
from emorl.files import locked

CONFIG = "config.yaml"  # the resolved configuration of a run
LIGHTNINGS = "last", "best", "hpc", "registry"  # names of checkpoints that Lightning resolves itself, in training


def run_folder(trainer: Trainer) -> Path:
    """Return the folder that contains a run's ``checkpoints``: SAVE_DIR/NAME/VERSION of the first logger.

    Without a logger it is the trainer's ``default_root_dir``. All processes must call this, because it is broadcast.
    """
    return Path(trainer.strategy.broadcast(str(_own_folder(trainer))))


def _own_folder(trainer: Trainer) -> Path:
    if not trainer.loggers:
        return Path(trainer.default_root_dir)
    logger = trainer.loggers[0]
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or trainer.default_root_dir, str(logger.name), version)


def stay_in_folder(loggers: Iterable[Logger], checkpoint: str) -> None:
    """Have loggers without a version log to the folder of the resumed run instead of the next ``version_N``.

    Args:
        loggers: the trainer's loggers. A logger is not changed if the run's folder is outside its root folder.
        checkpoint: path of the checkpoint, in ``checkpoints`` of the run's folder.
    """
    run = Path(checkpoint).resolve().parent.parent
    if not (run / CONFIG).exists():
        return
    for logger in loggers:
        if not isinstance(logger, CSVLogger | TensorBoardLogger) or logger._version is not None:
            continue
        if Path(logger.root_dir).resolve() == run.parent:
            logger._version = run.name


@contextmanager
def removed_if_refused(trainer: Trainer) -> Iterator[None]:
    """Remove the new folder of a run, and its W&B run, if the run fails before ``config.yaml`` is written.

    Loggers create their folders before model and data are checked. What was there before remains.
    """
    before, begun = _own_folder(trainer), _wandb_run()
    missing = [folder for folder in (before, *before.parents) if not folder.exists()]
    others = set(before.parent.glob("*"))
    try:
        yield
    except BaseException:
        folder = _own_folder(trainer)  # W&B chooses its name late
        new = missing and folder not in others
        if new and trainer.is_global_zero and not (folder / CONFIG).exists():
            if _wandb_run() is not begun:
                _remove_wandb(trainer)
            _remove(folder)
            for parent in missing[1:]:
                with suppress(OSError):  # other processes may write there
                    parent.rmdir()
        raise


def _remove(folder: Path) -> None:
    """Remove a folder, unless another process has locked it."""
    if folder.exists():
        with suppress(DataError), locked(folder):
            shutil.rmtree(folder)


def _wandb_run() -> Any:
    """Return the W&B run of this process, None if there is none."""
    return sys.modules["wandb"].run if "wandb" in sys.modules else None


def _remove_wandb(trainer: Trainer) -> None:
    """Remove the folder of the W&B run and the links into it; settings, sweeps and other runs lie beside it."""
    run = _wandb_run()
    if run is None or not any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
        return
    files = Path(run.dir).resolve().parent
    run.finish(exit_code=1)
    for path in files.parent.iterdir():
        if path.is_symlink() and path.resolve().is_relative_to(files):
            path.unlink()
    shutil.rmtree(files, ignore_errors=True)
    with suppress(OSError):  # it is not empty
        files.parent.rmdir()
