"""Pictures of the decomposition of validation images, for any logger."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int, UInt8
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CometLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import Tensor

from emorl.callbacks.folder import run_folder
from emorl.model import ImageNoise, Inference, unit_range
from emorl.module import SlotModule
from emorl.ranges import counts
from emorl.types import Batch
from emorl.viz import attention, decomposition, save_png


class LogReconstructions(Callback):
    """Logs at each validation a picture of each stage, and one of the attention of each layer.

    A stage's picture has a row for each scene, see `emorl.viz.decomposition`. All loggers that support images receive
    the pictures; without such a logger they are PNG files in ``pictures/`` of the run's folder.

    Args:
        images: number of scenes in a picture, from the first validation batch without padding. A run that ends before
            its first validation shows scenes of its last training batch.

    Raises:
        ValueError: if ``images`` is below 1 or not whole.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[LogReconstructions(images=4)], logger=False, accelerator="cpu", max_steps=100)
    >>> any(isinstance(callback, LogReconstructions) for callback in trainer.callbacks)
    True
    """

    def __init__(self, images: int = 8) -> None:
        counts(1, images=images)
        self.images = images
        self.unseen: Batch | None = None  # the last training batch, until the first picture

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the state."""
        self.shown = False

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Log pictures of the first batch."""
        if batch_idx == 0 and not trainer.sanity_checking:
            self._show(trainer, batch, outputs)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch until there is a validation."""
        self.unseen = None if self.shown else batch

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log pictures of the last training batch, if there was no validation."""
        module, batch, self.unseen = cast(SlotModule, pl_module), self.unseen, None
        if batch is None or self.shown:
            return
        modes = [(part, part.training) for part in module.modules()]  # parts may be frozen
        module.eval()
        self._show(trainer, batch, module(batch["image"], module.refinement_steps, ImageNoise(batch["index"])))
        for part, training in modes:
            part.training = training

    def _show(self, trainer: Trainer, batch: Batch, inference: Inference) -> None:
        self.shown = True
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # a trial run writes no files
            return
        folder = run_folder(trainer) / "pictures"
        if trainer.is_global_zero:
            for name, picture in pictures(batch, inference, self.images).items():
                log_picture(trainer, name, picture, folder)


def first_scenes(batch: Batch, count: int) -> Int[Tensor, " n"]:
    """Return the positions of at most ``count`` first scenes of a batch, without padding."""
    return (batch["index"] >= 0).nonzero().flatten()[:count]


def pictures(batch: Batch, inference: Inference, images: int) -> dict[str, UInt8[Tensor, "3 h w"]]:
    """Return the pictures of the first scenes of a batch by name."""
    first = first_scenes(batch, images)
    image = unit_range(batch["image"])[first]
    keys = [batch["key"][place] for place in first.tolist()]
    shown = {}
    for stage in inference.stages:
        reconstruction, masks, rgb = (
            part[first].float()
            for part in (stage.components.reconstruction, stage.components.masks, stage.components.rgb)
        )
        shown[f"stage_{stage.step}"] = decomposition(image, reconstruction, masks, rgb, rows=keys)
    for number, layer in enumerate(inference.layers, start=1):
        shown[f"attention_{number}"] = attention(layer.attention[first].float().unsqueeze(2), keys, image)
    return shown


def log_picture(trainer: Trainer, name: str, picture: UInt8[Tensor, "3 h w"], folder: Path) -> None:
    """Log a picture to all loggers that support images, or else write it to a file in ``folder``."""
    taken = [_give(logger, f"pictures/{name}", picture, trainer.global_step) for logger in trainer.loggers]
    if not any(taken):
        save_png(picture, folder / f"step_{trainer.global_step:07d}_{name}.png")


def _give(logger: Logger, name: str, picture: UInt8[Tensor, "3 h w"], step: int) -> bool:
    pixels = picture.permute(1, 2, 0).cpu().numpy()
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, picture, step)
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [pixels], step=step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, pixels, key=name, step=step)
    elif isinstance(logger, CometLogger):
        logger.experiment.log_image(pixels, name=name, step=step)
    else:
        return False
    return True
