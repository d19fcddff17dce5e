"""The scores of an evaluation: of the last stage, and beside it of the bottom-up pass alone."""

from __future__ import annotations

from torch import nn
from torchmetrics import Metric

from emorl.metrics.functional import masks_to_labels
from emorl.metrics.image_metric import ImageMean, Summary
from emorl.metrics.reconstruction import ReconstructionMSE
from emorl.metrics.segmentation import AdjustedRandIndex
from emorl.model import Inference, Stage
from emorl.types import Batch


class StageScores(nn.Module):
    """The scores of one stage, each a mean over images.

    ``fg_ari`` and ``ari`` (with background) compare the slots' largest masks with the true segmentation; ``mse``
    compares reconstruction and image; ``nll`` and ``kl`` are in nats per image, ``kl`` as in `Stage`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fg_ari = AdjustedRandIndex()
        self.ari = AdjustedRandIndex(ignore_background=False)
        self.mse = ReconstructionMSE()
        self.nll = ImageMean()
        self.kl = ImageMean()

    def update(self, batch: Batch, stage: Stage) -> None:
        """Add a batch; padding (index -1) does not count."""
        real = batch["index"] >= 0
        predicted, true = masks_to_labels(stage.components.masks)[real], batch["segmentation"][real]
        self.fg_ari.update(predicted, true)
        self.ari.update(predicted, true)
        self.mse.update(stage.components.reconstruction[real], batch["image"][real].float() / 255)
        self.nll.update(stage.nll[real])
        self.kl.update(stage.kl[real])


class Scores(nn.Module):
    """The scores of the last stage under their own names, those of stage 0 under ``zero_step/``."""

    def __init__(self) -> None:
        super().__init__()
        self.last = StageScores()
        self.zero_step = StageScores()

    def update(self, batch: Batch, inference: Inference) -> None:
        """Add a batch."""
        self.last.update(batch, inference.stages[-1])
        self.zero_step.update(batch, inference.stages[0])

    def named(self, prefix: str) -> dict[str, Metric]:
        """Return the metrics for ``LightningModule.log_dict``."""
        metrics = {name: metric for name, metric in self.named_modules() if isinstance(metric, Metric)}
        return {prefix + name.removeprefix("last.").replace(".", "/"): metric for name, metric in metrics.items()}

    def summary(self) -> dict[str, dict[str, Summary]]:
        """Return mean, standard error and number of images by stage and score; every process must call this."""
        return {
            stage: {name: metric.summary() for name, metric in scores.named_children()}  # type: ignore[operator]
            for stage, scores in self.named_children()
        }
