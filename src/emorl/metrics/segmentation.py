"""Segmentation scores, averaged over a data set."""

from abc import ABC, abstractmethod
from math import nan

from jaxtyping import Float64
from torch import Tensor

from emorl.metrics.functional import (
    active_slots,
    adjusted_rand_index,
    mean_best_overlap,
    mean_iou,
    segmentation_covering,
)
from emorl.metrics.image_metric import ImageMetric


class SegmentationMetric(ImageMetric, ABC):
    """A segmentation score of each image, averaged over images.

    Args:
        ignore_background: leave out the background, true label 0, as the score's function says.
        undefined: value of an image whose score is 0/0, such as one without an object; the conventions in use are 1
            (scikit-learn), 0, NaN, which makes the mean NaN, and "skip", which leaves the image out of the mean and of
            the number of images.

    Raises:
        ValueError: if ``undefined`` is a word other than "skip".
    """

    higher_is_better = True

    def __init__(self, ignore_background: bool = True, undefined: float | str = 1.0) -> None:
        super().__init__()
        if isinstance(undefined, str) and undefined != "skip":
            raise ValueError(f"Expected 'undefined' as a number or \"skip\", got {undefined!r}.")
        self.ignore_background = ignore_background
        self.undefined = undefined

    def update(self, predicted: Tensor, true: Tensor) -> None:
        """Add a batch; errors as of the score's function.

        Args:
            predicted: integer labels (B, H, W).
            true: integer labels (B, H, W), 0 for the background.
        """
        values = self._values(predicted, true, nan if self.undefined == "skip" else float(self.undefined))
        self._add(values[~values.isnan()] if self.undefined == "skip" else values)

    @abstractmethod
    def _values(self, predicted: Tensor, true: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
        """Return the score of each image."""


class AdjustedRandIndex(SegmentationMetric):
    """Adjusted Rand index of each image, averaged over images: "FG-ARI", or "ARI" with the background.

    Every image is a clustering of its own. torchmetrics' `AdjustedRandScore` is another quantity: it pools
    the pixels of all images into one clustering. Arguments as of `SegmentationMetric`.

    >>> import torch
    >>> fg_ari = AdjustedRandIndex()
    >>> fg_ari.update(torch.tensor([[[5, 5, 3]], [[1, 2, 1]]]), torch.tensor([[[1, 1, 2]], [[0, 3, 3]]]))
    >>> fg_ari.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    def _values(self, predicted: Tensor, true: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
        return adjusted_rand_index(predicted, true, self.ignore_background, undefined)


class MeanIoU(SegmentationMetric):
    """IoU of each image's objects with the slots matched to them, averaged over objects, then over images.

    See `emorl.metrics.functional.mean_iou`. Arguments as of `SegmentationMetric`.

    >>> import torch
    >>> miou = MeanIoU(undefined="skip")
    >>> miou.update(torch.tensor([[[5, 5, 7, 7]], [[1, 2, 1, 2]]]), torch.tensor([[[0, 1, 1, 2]], [[0, 0, 0, 0]]]))
    >>> miou.compute()
    tensor(0.4167, dtype=torch.float64)
    """

    def _values(self, predicted: Tensor, true: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
        return mean_iou(predicted, true, self.ignore_background, undefined)


class MeanBestOverlap(SegmentationMetric):
    """Best IoU of each image's objects with any slot, averaged over objects, then over images: "mBO" or "mSC".

    See `emorl.metrics.functional.mean_best_overlap`. Arguments as of `SegmentationMetric`.
    """

    def _values(self, predicted: Tensor, true: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
        return mean_best_overlap(predicted, true, self.ignore_background, undefined)


class SegmentationCovering(SegmentationMetric):
    """Best IoU of each image's objects with any slot, weighted by the objects' areas, averaged over images: "SC".

    See `emorl.metrics.functional.segmentation_covering`. Arguments as of `SegmentationMetric`.
    """

    def _values(self, predicted: Tensor, true: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
        return segmentation_covering(predicted, true, self.ignore_background, undefined)


class ActiveSlots(ImageMetric):
    """Number of slots of each image that win at least one pixel, averaged over images.

    >>> import torch
    >>> active = ActiveSlots()
    >>> active.update(torch.tensor([[[0, 0, 3]], [[2, 2, 2]]]))
    >>> active.compute()
    tensor(1.5000, dtype=torch.float64)
    """

    def update(self, predicted: Tensor) -> None:
        """Add a batch; argument and errors as in `emorl.metrics.functional.active_slots`.

        Args:
            predicted: integer labels (B, H, W).
        """
        self._add(active_slots(predicted))
