"""Where a run keeps its files."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import Trainer


def run_folder(trainer: Trainer) -> Path:
    """Return the logger's folder, or else the trainer's; every process must call this: Lightning broadcasts it."""
    return Path(trainer.log_dir or trainer.default_root_dir)
