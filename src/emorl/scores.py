"""The scores of an evaluation: of the last stage, and of stage 0 if there are slots before the first step."""

from __future__ import annotations

import logging

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import Metric

from emorl.metrics.functional import masks_to_labels, resize_masks
from emorl.metrics.image_metric import ImageMean, Summary
from emorl.metrics.reconstruction import ReconstructionMSE
from emorl.metrics.segmentation import (
    ActiveSlots,
    AdjustedRandIndex,
    MeanBestOverlap,
    MeanIoU,
    SegmentationCovering,
)
from emorl.model import Inference, SlotModel, Stage, unit_range
from emorl.results import FOREGROUND, NEED_TRUTH, WITHOUT_TRUTH, needs_truth
from emorl.types import Batch

logger = logging.getLogger(__name__)


class SegmentationScores(nn.Module):
    """The scores of one segmentation, each a mean over images; ``fg_`` means without the background.

    ``fg_ari`` and ``ari``, ``fg_miou`` and ``miou``, ``fg_mbo`` and the area-weighted ``fg_covering`` compare the
    pixels that each slot wins with the true segmentation; ``active_slots`` counts the slots that win one. Images
    without a visible object are excluded from the scores without background. If all images are, as in a data set
    without masks, scores that compare with the true segmentation are undefined and not reported.

    >>> sorted(SegmentationScores().summary())  # without images
    ['active_slots']
    """

    def __init__(self) -> None:
        super().__init__()
        self.fg_ari = AdjustedRandIndex()
        self.ari = AdjustedRandIndex(ignore_background=False)
        self.fg_miou = MeanIoU()
        self.miou = MeanIoU(ignore_background=False)
        self.fg_mbo = MeanBestOverlap()
        self.fg_covering = SegmentationCovering()
        self.active_slots = ActiveSlots()

    def update_masks(self, batch: Batch, masks: Tensor) -> None:
        """Add a batch of masks (B, K, 1, H, W), resized to the segmentation; padding (index -1) does not count.

        Images without a segmentation are all background.
        """
        real = batch["index"] >= 0
        true = batch.get("segmentation", torch.zeros_like(masks[:, 0, 0], dtype=torch.uint8))[real]
        if masks.shape[-2:] != true.shape[-2:]:
            masks = resize_masks(masks, *true.shape[-2:])
        predicted = masks_to_labels(masks)[real]
        objects = true.bool().any(dim=(1, 2))
        for name in NEED_TRUTH:
            chosen = objects if name in FOREGROUND else torch.ones_like(objects)
            getattr(self, name).update(predicted[chosen], true[chosen])
        self.active_slots.update(predicted)

    def has_truth(self) -> bool:
        """Return whether any image has a visible object; all processes must call this."""
        return int(self.fg_ari.summary().images) > 0

    def summary(self) -> dict[str, Summary]:
        """Return mean, standard error and number of images by score; every process must call this.

        If no image has an object, scores that need true masks are omitted.
        """
        found = {name: metric.summary() for name, metric in self.named_children()}  # type: ignore[operator]
        truth = found["fg_ari"].images > 0
        return {name: score for name, score in found.items() if truth or name not in NEED_TRUTH}


class StageScores(SegmentationScores):
    """The scores of one stage: those of the decoder's masks, and of the reconstruction.

    ``mse`` compares reconstruction and image, a mean over channel-pixels; ``nll`` and ``kl``, where the model has them,
    are in nats per image, as in `Stage`. The summary adds ``squared_error``, which is the MSE summed over
    channel-pixels, and ``log_likelihood``, which is -nll with its constant, 0.5 log 2 pi of each channel-pixel if the
    model's nll omits it.

    Args:
        model: the model.

    >>> from emorl.model import EfficientMORL
    >>> sorted(StageScores(EfficientMORL()).summary())
    ['active_slots', 'kl', 'log_likelihood', 'mse', 'nll', 'squared_error']
    """

    def __init__(self, model: SlotModel) -> None:
        super().__init__()
        self.constant = model.nll_constant
        self.channel_pixels = 0
        self.names = model.score_names
        self.mse = ReconstructionMSE()
        for name in self.names:
            setattr(self, name, ImageMean())

    def update(self, batch: Batch, stage: Stage) -> None:
        """Add a batch; padding (index -1) does not count."""
        self.update_masks(batch, stage.components.masks)
        real = batch["index"] >= 0
        self.channel_pixels = batch["image"][0].numel()
        self.mse.update(stage.components.reconstruction[real], unit_range(batch["image"])[real])
        for name in self.names:
            getattr(self, name).update(getattr(stage, name)[real])

    def summary(self) -> dict[str, Summary]:
        """Return mean, standard error and number of images by score; every process must call this."""
        found = super().summary()
        found["squared_error"] = found["mse"].scaled(float(self.channel_pixels))
        if "nll" in found:
            found["log_likelihood"] = found["nll"].scaled(-1.0, -self.constant * self.channel_pixels)
        return found


class Scores(nn.Module):
    """The scores of the last stage under their own names, those of stage 0, if it has slots, under ``zero_step/``.

    The model's further ``terms`` have their own names.

    Args:
        model: the model.
        attention: whether to score the attention of the last layer as masks, too, under ``attention/``.

    >>> from emorl.model import EfficientMORL
    >>> list(Scores(EfficientMORL()).summary())
    ['last', 'zero_step', 'terms']
    """

    def __init__(self, model: SlotModel, attention: bool = False) -> None:
        super().__init__()
        self.last = StageScores(model)
        self.zero_step = StageScores(model) if model.min_steps == 0 else None
        self.told = False  # whether omitted scores were reported
        self.terms = nn.ModuleDict({name: ImageMean() for name in model.term_names})
        self.attention = SegmentationScores() if attention else None

    def update(self, batch: Batch, inference: Inference) -> None:
        """Add a batch."""
        self.last.update(batch, inference.stages[-1])
        if self.zero_step is not None:
            self.zero_step.update(batch, inference.stages[0])
        for name, metric in self.terms.items():
            metric.update(inference.terms[name][batch["index"] >= 0])  # type: ignore[operator]
        if self.attention is not None:
            self.attention.update_masks(batch, inference.layers[-1].attention.unsqueeze(2))

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.named("").values():
            metric.reset()

    def named(self, prefix: str) -> dict[str, Metric]:
        """Return all metrics by the names under which they are logged."""
        metrics = {name: metric for name, metric in self.named_modules() if isinstance(metric, Metric)}
        return {prefix + _public(name).replace(".", "/"): metric for name, metric in metrics.items()}

    def has_truth(self) -> bool:
        """Return whether any image has a visible object; all processes must call this."""
        return self.last.has_truth()

    def summary(self) -> dict[str, dict[str, Summary]]:
        """Return mean, standard error and number of images by group and score; every process must call this.

        Groups are ``last``, ``terms`` and, if they are scored, ``zero_step`` and ``attention``.
        """
        found = {"last": self.last.summary()}
        if self.zero_step is not None:
            found["zero_step"] = self.zero_step.summary()
        found["terms"] = {name: metric.summary() for name, metric in self.terms.items()}  # type: ignore[operator]
        if self.attention is not None:
            found["attention"] = self.attention.summary()
        return found


def log_scores(module: LightningModule, scores: Scores, split: str) -> None:
    """Log all scores at the end of an evaluation; if no image has an object, warn which scores are omitted.

    A single batch or process does not show whether there are objects.

    Args:
        module: the module that logs.
        scores: its scores.
        split: ``val`` or ``test``.

    Raises:
        MisconfigurationException: if a checkpoint callback, early stopping or a scheduler monitors an omitted score.

    Example:
        ```python
        def on_test_epoch_end(self):  # of a LightningModule
            log_scores(self, self.test_scores, "test")
        ```
    """
    truth, trainer = scores.has_truth(), module.trainer
    for name, metric in scores.named(f"{split}/").items():
        if truth or not needs_truth(name):
            module.log(name, metric)
        else:
            metric.reset()
    if truth or trainer.sanity_checking:
        return
    if trainer.is_global_zero and not scores.told:
        logger.warning("%s: %s", split, WITHOUT_TRUTH)
    scores.told = True
    if trainer.state.fn == TrainerFn.FITTING:
        waiting = (*trainer.checkpoint_callbacks, *trainer.early_stopping_callbacks, *trainer.lr_scheduler_configs)
        for part in waiting:
            if needs_truth(monitor := getattr(part, "monitor", None) or ""):
                name = type(part).__name__
                raise MisconfigurationException(
                    f"Expected {name} to monitor a score that needs no true masks, got {monitor!r}. Monitor val/nll "
                    "or val/mse with mode min; emorl.callbacks.BestCheckpoint does so automatically."
                )


def _public(name: str) -> str:
    """Return a metric's name without the groups that are omitted in logged names."""
    return name.removeprefix("last.").removeprefix("terms.")
