"""Segmentation scores, averaged over a data set."""

from torch import Tensor

from emorl.metrics.functional import adjusted_rand_index
from emorl.metrics.image_metric import ImageMetric


class AdjustedRandIndex(ImageMetric):
    """Adjusted Rand index of each image, averaged over images: "FG-ARI", or "ARI" with the background.

    Every image is a clustering of its own. torchmetrics' `AdjustedRandScore` is another quantity: it pools
    the pixels of all images into one clustering.

    Args:
        ignore_background: leave out the pixels with true label 0.

    >>> import torch
    >>> fg_ari = AdjustedRandIndex()
    >>> fg_ari.update(torch.tensor([[[5, 5, 3]], [[1, 2, 1]]]), torch.tensor([[[1, 1, 2]], [[0, 3, 3]]]))
    >>> fg_ari.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = True

    def __init__(self, ignore_background: bool = True) -> None:
        super().__init__()
        self.ignore_background = ignore_background

    def update(self, predicted: Tensor, true: Tensor) -> None:
        """Add a batch; arguments and errors as in `emorl.metrics.functional.adjusted_rand_index`.

        Args:
            predicted: integer labels (B, H, W).
            true: integer labels (B, H, W), 0 for the background.
        """
        self._add(adjusted_rand_index(predicted, true, self.ignore_background))
