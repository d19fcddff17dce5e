"""The best checkpoint, by a score that is available for the data."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

MONITORS = {"val/fg_ari": "max", "val/nll": "min", "val/mse": "min"}  # which direction is better


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint of the best validation.

    The score is FG-ARI; without true masks it is the NLL, or the MSE of a model without a likelihood. It is chosen at
    the first validation, and a resumed run keeps it.

    Args:
        filename: name of the checkpoint without its suffix, in the run's folder of checkpoints.

    Raises:
        MisconfigurationException: if validation logs none of these scores.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[BestCheckpoint()], logger=False, accelerator="cpu", max_steps=100)
    >>> any(isinstance(callback, BestCheckpoint) for callback in trainer.callbacks)
    True
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
        """Key of the state in a checkpoint, which does not depend on the monitored score."""
        return type(self).__qualname__

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the monitored score at the first validation, then save the checkpoint if it is the best."""
        if self.monitor is None and not trainer.sanity_checking:
            self._choose(next((name for name in MONITORS if name in trainer.callback_metrics), "val/mse"))
        super().on_validation_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the monitored score."""
        if state_dict["monitor"] is not None:
            self._choose(state_dict["monitor"])
        super().load_state_dict(state_dict)

    def _choose(self, monitor: str) -> None:
        self.monitor, self.mode = monitor, MONITORS[monitor]
        self.kth_value = torch.tensor(torch.inf if self.mode == "min" else -torch.inf)
