"""Callbacks for W&B; with other loggers they do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Int
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from emorl.callbacks.pictures import first_scenes
from emorl.metrics.functional import masks_to_labels
from emorl.model import Inference
from emorl.ranges import counts
from emorl.types import Batch

if TYPE_CHECKING:
    from wandb import Run


class WandbSegmentations(Callback):
    """Logs scenes with W&B's segmentation overlays as ``segmentations`` at each validation.

    The overlay ``slots`` is the last stage's segmentation, ``objects`` the true one if the data have masks.

    Args:
        images: number of scenes, from the first validation batch without padding.

    Raises:
        ValueError: if ``images`` is below 1 or not whole.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[WandbSegmentations(images=4)], logger=False, accelerator="cpu", max_steps=100)
    >>> any(isinstance(callback, WandbSegmentations) for callback in trainer.callbacks)
    True
    """

    def __init__(self, images: int = 8) -> None:
        counts(1, images=images)
        self.images = images

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Log the first batch."""
        if batch_idx != 0 or trainer.sanity_checking:
            return
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                first = first_scenes(batch, self.images)
                scenes = list(batch["image"][first].movedim(1, -1).cpu().numpy())
                shown = overlays(batch, outputs, first)
                logger.log_image("segmentations", scenes, step=trainer.global_step, masks=shown)


def overlays(batch: Batch, inference: Inference, scenes: Int[Tensor, " n"]) -> list[dict[str, Any]]:
    """Return W&B's masks of some scenes of a batch; slots count from 1, as in pictures."""
    masks = inference.stages[-1].components.masks[scenes]
    labels = {"slots": masks_to_labels(masks) + 1}
    names = {"slots": {slot: f"slot {slot}" for slot in range(1, masks.shape[1] + 1)}}
    if "segmentation" in batch and batch["segmentation"].any():
        labels["objects"] = batch["segmentation"][scenes]
        objects = range(1, int(batch["segmentation"].max()) + 1)
        names["objects"] = {0: "background"} | {number: f"object {number}" for number in objects}
    return [
        {name: {"mask_data": maps[i].cpu().numpy(), "class_labels": names[name]} for name, maps in labels.items()}
        for i in range(len(masks))
    ]


class WandbCheckpoints(Callback):
    """Uploads the run's checkpoints as versions of the artifact ``model-RUN_ID`` when training ends or fails.

    The alias ``latest`` is the last checkpoint, ``best`` the best of a `ModelCheckpoint` with a ``monitor``. In
    contrast, ``log_model`` of `WandbLogger` assigns ``best`` to the last saved checkpoint if a second `ModelCheckpoint`
    has no ``monitor``, and it does not support offline runs.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[WandbCheckpoints()], logger=False, accelerator="cpu", max_steps=100)
    >>> any(isinstance(callback, WandbCheckpoints) for callback in trainer.callbacks)
    True
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Upload the checkpoints."""
        self._keep(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Upload the checkpoints of a stopped run, too."""
        self._keep(trainer)

    def _keep(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                for alias, path in sorted(checkpoints(trainer)):  # W&B assigns 'latest' to the last version
                    keep(logger.experiment, alias, path)


def keep(run: Run, alias: str, path: str) -> None:
    """Log a checkpoint as a version of the run's artifact."""
    from wandb import Artifact  # a slow import, needed with W&B only

    artifact = Artifact(f"model-{run.id}", type="model")
    artifact.add_file(path, name="model.ckpt")
    run.log_artifact(artifact, aliases=[alias])


def checkpoints(trainer: Trainer) -> Iterator[tuple[str, str]]:
    """Yield the aliases ``best`` and ``latest`` with the path of the checkpoint, if it exists."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            if callback.monitor and Path(callback.best_model_path).is_file():
                yield "best", callback.best_model_path
            if Path(callback.last_model_path).is_file():
                yield "latest", callback.last_model_path
