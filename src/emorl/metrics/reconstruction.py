"""Reconstruction errors, averaged over a data set."""

from torch import Tensor

from emorl.metrics.functional import mean_squared_error
from emorl.metrics.image_metric import ImageMetric


class ReconstructionMSE(ImageMetric):
    """Mean squared error of each image over its channels and pixels, averaged over images.

    >>> import torch
    >>> mse = ReconstructionMSE()
    >>> mse.update(torch.full((2, 3, 4, 4), 0.5), torch.ones(2, 3, 4, 4))
    >>> mse.compute()
    tensor(0.2500, dtype=torch.float64)
    """

    higher_is_better = False

    def update(self, reconstruction: Tensor, image: Tensor) -> None:
        """Add a batch; arguments and errors as in `emorl.metrics.functional.mean_squared_error`.

        Args:
            reconstruction: floats (B, 3, H, W), nominally in [0, 1].
            image: floats (B, 3, H, W) in [0, 1].
        """
        self._add(mean_squared_error(reconstruction, image))
