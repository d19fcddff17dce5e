"""The scores of an evaluation: of the last stage, and beside it of the bottom-up pass alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from emorl.metrics.functional import log_likelihood, masks_to_labels, resize_masks
from emorl.metrics.image_metric import ImageMean, Summary
from emorl.metrics.reconstruction import ReconstructionMSE, ReconstructionSquaredError
from emorl.metrics.segmentation import (
    ActiveSlots,
    AdjustedRandIndex,
    MeanBestOverlap,
    MeanIoU,
    SegmentationCovering,
)
from emorl.model import Inference, Stage
from emorl.types import Batch


class SegmentationScores(nn.Module):
    """The scores of one segmentation, each a mean over images; where ``fg_`` stands the background does not count.

    ``fg_ari`` and ``ari``, ``fg_miou`` and ``miou``, ``fg_mbo`` and the area-weighted ``fg_covering`` compare the
    pixels that each slot wins with the true segmentation; ``active_slots`` counts the slots that win one. Images in
    which no object is to be seen have no part in the scores without background.
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
        objects = (true > 0).any(dim=(1, 2))
        for metric in (self.fg_ari, self.fg_miou, self.fg_mbo, self.fg_covering):
            metric.update(predicted[objects], true[objects])
        for metric in (self.ari, self.miou):
            metric.update(predicted, true)
        self.active_slots.update(predicted)


class StageScores(SegmentationScores):
    """The scores of one stage: those of its decoder's masks, and of how it explains the image.

    ``mse`` (mean over channel-pixels) and ``squared_error`` (sum) compare reconstruction and image; ``nll``,
    ``log_likelihood`` and ``kl`` are in nats per image, ``nll`` without the constant 0.5 log 2 pi of each
    channel-pixel, ``log_likelihood`` with it, ``kl`` as in `Stage`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mse = ReconstructionMSE()
        self.squared_error = ReconstructionSquaredError()
        self.nll = ImageMean()
        self.log_likelihood = ImageMean()
        self.kl = ImageMean()

    def update(self, batch: Batch, stage: Stage) -> None:
        """Add a batch; padding (index -1) does not count."""
        self.update_masks(batch, stage.components.masks)
        real = batch["index"] >= 0
        reconstruction, image = stage.components.reconstruction[real], batch["image"][real].float() / 255
        self.mse.update(reconstruction, image)
        self.squared_error.update(reconstruction, image)
        self.nll.update(stage.nll[real])
        self.log_likelihood.update(log_likelihood(stage.nll[real], batch["image"].shape[1:].numel()))
        self.kl.update(stage.kl[real])


class Scores(nn.Module):
    """The scores of the last stage under their own names, those of stage 0 under ``zero_step/``.

    Args:
        kl_layers: number of layers L, to score the term of each in stage 0's KL: ``kl_layers/1`` and on.
        attention: also score the attention of the last layer as masks, under ``attention/``.
    """

    def __init__(self, kl_layers: int = 0, attention: bool = False) -> None:
        super().__init__()
        self.last = StageScores()
        self.zero_step = StageScores()
        self.kl_layers = nn.ModuleDict({f"{number}": ImageMean() for number in range(1, kl_layers + 1)})
        self.attention = SegmentationScores() if attention else None

    def update(self, batch: Batch, inference: Inference) -> None:
        """Add a batch."""
        self.last.update(batch, inference.stages[-1])
        self.zero_step.update(batch, inference.stages[0])
        for metric, kl in zip(self.kl_layers.values(), inference.kl_layers, strict=False):
            metric.update(kl[batch["index"] >= 0])  # type: ignore[operator]
        if self.attention is not None:
            attention = inference.attention[-1]
            masks = attention.view(*attention.shape[:2], 1, *batch["image"].shape[-2:])
            self.attention.update_masks(batch, masks)

    def named(self, prefix: str) -> dict[str, Metric]:
        """Return the metrics for ``LightningModule.log_dict``."""
        metrics = {name: metric for name, metric in self.named_modules() if isinstance(metric, Metric)}
        return {prefix + name.removeprefix("last.").replace(".", "/"): metric for name, metric in metrics.items()}

    def summary(self) -> dict[str, dict[str, Summary]]:
        """Return mean, standard error and number of images by group and score; every process must call this.

        Groups are ``last``, ``zero_step``, ``kl_layers`` (maybe empty) and, if it is scored, ``attention``.
        """
        return {
            group: {name: metric.summary() for name, metric in scores.named_children()}  # type: ignore[operator]
            for group, scores in self.named_children()
        }
