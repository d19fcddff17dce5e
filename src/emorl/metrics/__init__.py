"""Scores of decompositions: pure functions in `functional`, and torchmetrics classes that average them over images."""

from emorl.metrics.image_metric import ImageMean, ImageMetric, Summary
from emorl.metrics.reconstruction import ReconstructionMSE
from emorl.metrics.segmentation import (
    ActiveSlots,
    AdjustedRandIndex,
    MeanBestOverlap,
    MeanIoU,
    SegmentationCovering,
    SegmentationMetric,
)

__all__ = [
    "ActiveSlots",
    "AdjustedRandIndex",
    "ImageMean",
    "ImageMetric",
    "MeanBestOverlap",
    "MeanIoU",
    "ReconstructionMSE",
    "SegmentationCovering",
    "SegmentationMetric",
    "Summary",
]
