"""Provenance of a result: versions of code, libraries, machine and data."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import emorl

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

_RECORD = "base_weights", "started_from", "total_steps", "trained_on"


def versions(trainer: Trainer) -> dict[str, str | None]:
    """Return the versions of code, libraries, machine and data by name.

    ``git`` is the commit of the source tree, followed by ``-dirty`` if files differ from it, and None for an installed
    package. ``data`` is the manifest's checksum, and None for a folder of images.
    """
    device = trainer.strategy.root_device
    manifest = getattr(getattr(trainer, "datamodule", None), "manifest", None)
    return {
        "emorl": emorl.__version__,
        "git": git_commit(Path(emorl.__file__)),
        "python": platform.python_version(),
        "torch": version("torch"),
        "pytorch_lightning": version("pytorch_lightning"),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "data": None if manifest is None else manifest.checksum,
    }


def training(trainer: Trainer | None, started_from: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a checkpoint records of its training, for the model card.

    Args:
        trainer: the trainer, if there is one.
        started_from: the record of the weights that training started from, see `record_of`; None for new
            weights.

    Returns:
        ``trained_on``, the data set and its variant, if the data are shards; ``started_from``, if it is not None.
    """
    manifest = getattr(getattr(trainer, "datamodule", None), "manifest", None)
    data = {} if manifest is None else {"trained_on": manifest.title}
    return data if started_from is None else {**data, "started_from": started_from}


def record_of(card: dict[str, Any]) -> dict[str, Any]:
    """Return what a training that starts from weights records about them: a shipped name, or their training.

    >>> record_of({"weights": "tetrominoes", "total_steps": 102000}), record_of({"total_steps": 5, "model": {}})
    ({'base_weights': 'tetrominoes'}, {'total_steps': 5})
    """
    if "weights" in card:
        return {"base_weights": card["weights"]}
    return {name: card[name] for name in _RECORD if name in card}


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: *(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return named[1] if named else platform.processor() or platform.machine()


def git_commit(file: Path) -> str | None:
    """Return the commit of the repository that contains a file, or None if there is none."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None
