"""Scores of single images as pure functions: from a batch to one float64 value for each image."""

from emorl.metrics.functional.overlap_scores import mean_best_overlap, mean_iou, segmentation_covering
from emorl.metrics.functional.reconstruction import mean_squared_error
from emorl.metrics.functional.segmentation import active_slots, adjusted_rand_index, masks_to_labels, resize_masks

__all__ = [
    "active_slots",
    "adjusted_rand_index",
    "masks_to_labels",
    "mean_best_overlap",
    "mean_iou",
    "mean_squared_error",
    "resize_masks",
    "segmentation_covering",
]
