"""Scores of single images as pure functions: a batch in, one float64 value an image out."""

from emorl.metrics.functional.reconstruction import mean_squared_error
from emorl.metrics.functional.segmentation import adjusted_rand_index, masks_to_labels

__all__ = ["adjusted_rand_index", "masks_to_labels", "mean_squared_error"]
