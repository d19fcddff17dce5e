"""Warnings of collapsed training: unused slots, one slot for all pixels, posterior collapse, mean colors."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from emorl.metrics.functional import active_slots, masks_to_labels, mean_squared_error
from emorl.model import Inference, unit_range
from emorl.ranges import at_least
from emorl.types import Batch

logger = logging.getLogger(__name__)


class Symptoms(NamedTuple):
    """Measurements that show a collapse, one value per image."""

    unused_share: Float64[Tensor, " batch"]  # share of slots that win no pixel
    largest_share: Float64[Tensor, " batch"]  # share of pixels that the largest slot wins; NaN for a single slot
    kl_per_dimension: Float[Tensor, " batch"]  # in nats, of the last stage (at I = 0 of all layers); NaN without a KL
    error: Float64[Tensor, " batch"]  # squared error of the reconstruction
    spread: Float64[Tensor, " batch"]  # squared error of the image's mean color


def symptoms(batch: Batch, inference: Inference) -> Symptoms:
    """Return the measurements of a batch."""
    image, stage = unit_range(batch["image"]), inference.stages[-1]
    winners = masks_to_labels(stage.components.masks)
    unused = 1 - active_slots(winners) / stage.slots.shape[1]
    largest = (winners == winners.flatten(1).mode().values[:, None, None]).double().mean((1, 2))
    spread = mean_squared_error(image.mean((-2, -1), keepdim=True).expand_as(image), image)
    error = mean_squared_error(stage.components.reconstruction, image)
    if stage.slots.shape[1] == 1:
        largest = torch.full_like(largest, torch.nan)
    kl = torch.full_like(error, torch.nan) if stage.kl is None else stage.kl / stage.slots[0].numel()
    return Symptoms(unused, largest, kl, error, spread)


class CollapseAlarm(Callback):
    """Warns at each validation if slots are unused or posteriors carry no information.

    Logs the means over images ``val/unused_share``, ``val/largest_share`` and ``val/kl_per_dimension`` (see
    `Symptoms`), and ``val/unexplained``, the ratio of the squared error to that of images painted in their mean color.
    It warns if a value crosses its threshold. Unused slots are counted in each image, because different images may use
    different slots.

    Args:
        unused_share: threshold in [0, 1]; above it most slots win no pixel.
        largest_share: threshold in [0, 1]; above it one slot wins nearly all pixels.
        kl_per_dimension: threshold in nats; below it the posterior equals the prior.
        unexplained: threshold; above it a reconstruction is no better than the image's mean color.

    Raises:
        ValueError: if a threshold is negative or NaN.

    >>> alarm = CollapseAlarm()
    >>> alarm.warnings({"val/unused_share": 0.0, "val/largest_share": 1.0, "val/unexplained": 0.5})
    ['one slot wins nearly every pixel: start with more refinement steps, or another seed']
    """

    def __init__(
        self,
        unused_share: float = 0.5,
        largest_share: float = 0.99,
        kl_per_dimension: float = 0.01,
        unexplained: float = 0.95,
    ) -> None:
        at_least(0, unused_share=unused_share, largest_share=largest_share)
        at_least(0, kl_per_dimension=kl_per_dimension, unexplained=unexplained)
        self.unused_share = unused_share
        self.largest_share = largest_share
        self.kl_per_dimension = kl_per_dimension
        self.unexplained = unexplained
        self._sums: Tensor | None = None  # over images: their number and their `Symptoms`

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start without measurements, such as those of a validation that failed."""
        self._sums = None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Measure a batch without padding."""
        found = symptoms(batch, outputs)
        columns = torch.stack((torch.ones_like(found.error), *found), dim=1)
        sums = columns[batch["index"] >= 0].sum(dim=0)
        self._sums = sums if self._sums is None else self._sums + sums

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means over the batches of all processes."""
        if self._sums is not None:
            images, unused, largest, kl, error, spread = trainer.strategy.reduce(self._sums, reduce_op="sum")
            means = {"unused_share": unused, "largest_share": largest, "kl_per_dimension": kl}
            found = {f"val/{name}": total / images for name, total in means.items() if not total.isnan()}
            found["val/unexplained"] = error / spread if spread else torch.zeros_like(error)
            pl_module.log_dict(found, sync_dist=True)  # they are equal; Lightning warns of what it does not synchronize

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            for warning in self.warnings({name: float(value) for name, value in trainer.callback_metrics.items()}):
                logger.warning("step %d: %s", trainer.global_step, warning)

    def warnings(self, measured: dict[str, float]) -> list[str]:
        """Return a sentence for each kind of collapse that the logged values show."""
        found = []
        if (unused := measured["val/unused_share"]) > self.unused_share:
            remedy = "lower --model.network.num_slots, or the learning rate"
            found.append(f"{unused:.0%} of an image's slots win no pixel: {remedy}")
        if measured.get("val/largest_share", 0.0) > self.largest_share:
            found.append("one slot wins nearly every pixel: start with more refinement steps, or another seed")
        if measured.get("val/kl_per_dimension", torch.inf) < self.kl_per_dimension:
            found.append("the posterior is the prior: lower the weight of the KL")
        if measured["val/unexplained"] > self.unexplained:
            less = ", or lower the weight of the KL" if "val/kl_per_dimension" in measured else ""
            found.append(f"reconstructions are no better than one color per image: train longer{less}")
        return found
