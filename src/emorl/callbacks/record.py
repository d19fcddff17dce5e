"""What every run leaves behind of how it came about."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback

from emorl.callbacks.folder import run_folder
from emorl.provenance import versions


class RunRecord(SaveConfigCallback):
    """Writes the resolved configuration and the versions to the run's folder, and gives both to every logger.

    The folder gets ``config.yaml``, which repeats the run, and ``versions.json`` (see `versions`). Loggers get the
    configuration nested as it is, with lists of classes as in `by_class`, and the versions under ``versions``.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record the run once; the checkpoint that a training goes on from is no part of what repeats it.

        Raises:
            MisconfigurationException: if a new training is to begin in the folder of another.
        """
        self.folder = run_folder(trainer)
        if stage == "fit":
            last = self.folder / "checkpoints" / "last.ckpt"
            if self.config.ckpt_path is None and last.exists() and not trainer.fast_dev_run:  # type: ignore[attr-defined]
                remedy = f"Go on with it by --ckpt_path {last}, or choose another trainer.logger.version."
                raise MisconfigurationException(f"Expected a folder for a new run, got that of {last}. {remedy}")
            self.config = self.config.clone()
            self.config.ckpt_path = None
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add the versions, and tell the loggers; runs in the first process alone."""
        found = versions(trainer)
        (self.folder / "versions.json").write_text(json.dumps(found, indent=2) + "\n")
        config = json.loads(self.parser.dump(self.config, format="json", skip_none=False))
        for logger in trainer.loggers:
            logger.log_hyperparams({**by_class(config), "versions": found})


def by_class(value: Any) -> Any:
    """Return a configuration in which each list of classes is a dict by name: loggers cannot filter by lists.

    >>> by_class([{"class_path": "a.Clock"}, {"class_path": "b.Clock", "init_args": {"n": [1, 2]}}])
    {'Clock': {'class_path': 'a.Clock'}, 'Clock_2': {'class_path': 'b.Clock', 'init_args': {'n': [1, 2]}}}
    """
    if isinstance(value, dict):
        return {key: by_class(part) for key, part in value.items()}
    if (
        not value
        or not isinstance(value, list)
        or not all(isinstance(part, dict) and "class_path" in part for part in value)
    ):
        return value
    named: dict[str, Any] = {}
    numbers: Counter[str] = Counter()
    for part in value:
        name = part["class_path"].rpartition(".")[2]
        numbers[name] += 1
        named[name if numbers[name] == 1 else f"{name}_{numbers[name]}"] = by_class(part)
    return named
