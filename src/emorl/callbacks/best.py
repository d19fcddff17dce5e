"""Keeps the best checkpoint, by a score that the data have."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

MONITORS = {"val/fg_ari": "max", "val/nll": "min", "val/mse": "min"}  # what is best of each


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint of the best validation: by FG-ARI or, without masks, by NLL, or MSE of a model without one.

    The first validation decides which; a run that is resumed keeps to it.

    Args:
        filename: name of the checkpoint, without its suffix, in the folder of the run's checkpoints.

    Raises:
        MisconfigurationException: if validation logs none of them.
    """

    def __init__(self, filename: str = "best") -> None:
        super().__init__(
            filename=filename,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    @property
    def state_key(self) -> str:
        """Name of the state in a checkpoint, whatever is monitored."""
        return type(self).__qualname__

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose what to monitor, if that is open, and keep the checkpoint if it is the best."""
        if self.monitor is None and not trainer.sanity_checking:
            self._choose(next((name for name in MONITORS if name in trainer.callback_metrics), "val/mse"))
        super().on_validation_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep to what was monitored."""
        if state_dict["monitor"] is not None:
            self._choose(state_dict["monitor"])
        super().load_state_dict(state_dict)

    def _choose(self, monitor: str) -> None:
        self.monitor, self.mode = monitor, MONITORS[monitor]
        self.kth_value = torch.tensor(torch.inf if self.mode == "min" else -torch.inf)
