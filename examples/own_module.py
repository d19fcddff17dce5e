"""A custom LightningModule around a trained encoder: it counts objects from slots, frozen or fine-tuned.

``python examples/own_module.py data/multi_dsprites --steps 500``; ``--finetune`` also trains the encoder.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

import emorl
from emorl import MultiObjectDataModule
from emorl.types import Batch


class CountObjects(LightningModule):
    """Number of objects of a scene: a sum over slots of a small network's outputs, which is invariant to their order.

    Args:
        name: name of the weights, see `emorl.load_pretrained`.
        finetune: whether to train the encoder; it remains in evaluation mode, which is deterministic.
    """

    def __init__(self, name: str = "multi_dsprites", finetune: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.slots = emorl.load_pretrained(name).requires_grad_(finetune)
        self.head = nn.Sequential(nn.Linear(self.slots.network.slot_dim, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the number of objects of each image."""
        return self.head(self.slots.encode(images).slots).sum(dim=(1, 2))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the squared error."""
        return self._loss(batch, "train/loss")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the squared error."""
        self._loss(batch, "val/loss")

    def _loss(self, batch: Batch, name: str) -> Tensor:
        real = batch["index"] >= 0  # others pad the last batch
        truth = batch["segmentation"].flatten(1).amax(dim=1).float()  # labels are consecutive
        loss = F.mse_loss(self(batch["image"])[real], truth[real])
        self.log(name, loss, prog_bar=True, batch_size=int(real.sum()))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Optimize all parameters that are not frozen."""
        return torch.optim.Adam((p for p in self.parameters() if p.requires_grad), lr=1e-3)


def main(root: str, steps: int, finetune: bool = False, batch_size: int = 16, **trainer: object) -> CountObjects:
    """Train and return the module."""
    module = CountObjects(finetune=finetune)
    size, labels = module.slots.image_size, ("segmentation",)
    data = MultiObjectDataModule(root, image_size=size, batch_size=batch_size, train_labels=labels)
    rhythm = {"max_steps": steps, "max_epochs": -1, "val_check_interval": steps, "check_val_every_n_epoch": None}
    Trainer(**rhythm, num_sanity_val_steps=0, **trainer).fit(module, data)
    return module


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Count objects from slots.")
    parser.add_argument("root", help="folder of shards of Multi-dSprites")
    parser.add_argument("--steps", type=int, default=500, help="optimizer steps")
    parser.add_argument("--finetune", action="store_true", help="also train the encoder")
    main(**vars(parser.parse_args()))
