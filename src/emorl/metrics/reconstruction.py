"""Reconstruction errors, averaged over a data set."""

from torch import Tensor

from emorl.metrics.functional import mean_squared_error
from emorl.metrics.functional.names import also_called
from emorl.metrics.image_metric import ImageMetric


class ReconstructionMSE(ImageMetric):
    """Mean squared error of each image over its channels and pixels, averaged over images.

    Arguments are those of `ImageMetric`.

    >>> import torch
    >>> mse = ReconstructionMSE()
    >>> mse.update(torch.full((2, 3, 4, 4), 0.5), torch.ones(2, 3, 4, 4))
    >>> mse.compute()
    tensor(0.2500, dtype=torch.float64)
    """

    higher_is_better = False
    is_differentiable = True
    plot_lower_bound = 0.0

    @also_called(reconstruction="preds", image="target")
    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch; errors are those of `emorl.metrics.functional.mean_squared_error`.

        Args:
            preds: reconstructions, floats (B, 3, H, W), nominally in [0, 1].
            target: images, floats (B, 3, H, W) in [0, 1].
        """
        self._add(mean_squared_error(preds, target))
