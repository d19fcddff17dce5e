"""Segmentation scores, averaged over a data set."""

from abc import ABC, abstractmethod
from math import nan
from typing import Any

from jaxtyping import Float64
from torch import Tensor

from emorl.metrics.functional import (
    active_slots,
    adjusted_rand_index,
    mean_best_overlap,
    mean_iou,
    segmentation_covering,
)
from emorl.metrics.functional.names import also_called
from emorl.metrics.functional.overlaps import check_ignore_index
from emorl.metrics.image_metric import ImageMetric


class SegmentationMetric(ImageMetric, ABC):
    """A segmentation score of each image, averaged over images.

    Args:
        ignore_background: whether to exclude the background, true label 0; see the function of the score.
        undefined: value of an image whose score is 0/0, such as one without objects. Conventions in use are 1
            (scikit-learn), 0, NaN, which makes the mean NaN, and "skip", which excludes the image from the mean and
            from the number of images.
        ignore_index: true label of void pixels, such as 255 or -1, which are excluded; None if there are none.
        kwargs: keyword arguments of `ImageMetric`.

    Raises:
        ValueError: if ``undefined`` is a string other than "skip", or if ``ignore_index`` is not an integer.

    >>> AdjustedRandIndex(undefined="skip", ignore_index=255)
    AdjustedRandIndex(ignore_background=True, undefined='skip', ignore_index=255)
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        ignore_background: bool = True,
        undefined: float | str = 1.0,
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(undefined, str) and undefined != "skip":
            raise ValueError(f"Expected 'undefined' as a number or \"skip\", got {undefined!r}.")
        self.ignore_background = ignore_background
        self.undefined = undefined
        self.ignore_index = check_ignore_index(ignore_index)

    @also_called(predicted="preds", true="target")
    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch; errors are those of the score's function.

        Args:
            preds: labels (B, H, W), of any integer type or boolean.
            target: true labels (B, H, W), of any integer type or boolean, 0 for the background.
        """
        values = self._values(preds, target, nan if self.undefined == "skip" else float(self.undefined))
        self._add(values[~values.isnan()] if self.undefined == "skip" else values)

    @abstractmethod
    def _values(self, preds: Tensor, target: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
        """Return the score of each image."""


class AdjustedRandIndex(SegmentationMetric):
    """Adjusted Rand index of each image, averaged over images: "FG-ARI", or "ARI" with the background.

    Each image is a separate clustering. torchmetrics' `AdjustedRandScore` is another quantity: it pools the pixels of
    all images into one clustering. Arguments are those of `SegmentationMetric`.

    >>> import torch
    >>> fg_ari = AdjustedRandIndex()
    >>> fg_ari.update(torch.tensor([[[5, 5, 3]], [[1, 2, 1]]]), torch.tensor([[[1, 1, 2]], [[0, 3, 3]]]))
    >>> fg_ari.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    plot_lower_bound = -0.5

    def _values(self, preds: Tensor, target: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
        return adjusted_rand_index(preds, target, self.ignore_background, undefined, self.ignore_index)


class MeanIoU(SegmentationMetric):
    """IoU of each image's objects with the slots matched to them, averaged over objects, then over images.

    See `emorl.metrics.functional.mean_iou`. Arguments are those of `SegmentationMetric`.

    >>> import torch
    >>> miou = MeanIoU(undefined="skip")
    >>> miou.update(torch.tensor([[[5, 5, 7, 7]], [[1, 2, 1, 2]]]), torch.tensor([[[0, 1, 1, 2]], [[0, 0, 0, 0]]]))
    >>> miou.compute()
    tensor(0.4167, dtype=torch.float64)
    """

    def _values(self, preds: Tensor, target: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
        return mean_iou(preds, target, self.ignore_background, undefined, self.ignore_index)


class MeanBestOverlap(SegmentationMetric):
    """Best IoU of each image's objects with any slot, averaged over objects, then over images: "mBO" or "mSC".

    See `emorl.metrics.functional.mean_best_overlap`. Arguments are those of `SegmentationMetric`.

    >>> import torch
    >>> score = MeanBestOverlap()
    >>> score.update(torch.tensor([[[5, 5, 7, 7]]]), torch.tensor([[[0, 1, 1, 2]]]))
    >>> score.compute()
    tensor(0.4167, dtype=torch.float64)
    """

    def _values(self, preds: Tensor, target: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
        return mean_best_overlap(preds, target, self.ignore_background, undefined, self.ignore_index)


class SegmentationCovering(SegmentationMetric):
    """Best IoU of each image's objects with any slot, weighted by the objects' areas, averaged over images: "SC".

    See `emorl.metrics.functional.segmentation_covering`. Arguments are those of `SegmentationMetric`.

    >>> import torch
    >>> score = SegmentationCovering()
    >>> score.update(torch.tensor([[[5, 5, 7, 7]]]), torch.tensor([[[0, 1, 1, 2]]]))
    >>> score.compute()
    tensor(0.3889, dtype=torch.float64)
    """

    def _values(self, preds: Tensor, target: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
        return segmentation_covering(preds, target, self.ignore_background, undefined, self.ignore_index)


class ActiveSlots(ImageMetric):
    """Number of slots of each image that win at least one pixel, averaged over images.

    Args:
        ignore_index: true label of void pixels, which are excluded; None if there are none.
        kwargs: keyword arguments of `ImageMetric`.

    Raises:
        ValueError: if ``ignore_index`` is not an integer.

    >>> import torch
    >>> active = ActiveSlots()
    >>> active.update(torch.tensor([[[0, 0, 3]], [[2, 2, 2]]]))
    >>> active.compute()
    tensor(1.5000, dtype=torch.float64)
    """

    plot_lower_bound = 0.0

    def __init__(self, ignore_index: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_index = check_ignore_index(ignore_index)

    @also_called(predicted="preds", true="target")
    def update(self, preds: Tensor, target: Tensor | None = None) -> None:
        """Add a batch; errors are those of `emorl.metrics.functional.active_slots`.

        Args:
            preds: slot labels (B, H, W).
            target: true labels (B, H, W), needed with ``ignore_index`` only.
        """
        self._add(active_slots(preds, target, self.ignore_index))
