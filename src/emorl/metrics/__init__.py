"""Scores of decompositions: pure functions in `functional`, and torchmetrics averaging them over images."""

from emorl.metrics.image_metric import ImageMean, ImageMetric, Summary
from emorl.metrics.reconstruction import ReconstructionMSE
from emorl.metrics.scores import Scores
from emorl.metrics.segmentation import AdjustedRandIndex

__all__ = ["AdjustedRandIndex", "ImageMean", "ImageMetric", "ReconstructionMSE", "Scores", "Summary"]
