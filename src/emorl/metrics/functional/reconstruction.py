"""Errors of reconstructions."""

from jaxtyping import Float64
from torch import Tensor

from emorl.metrics.functional.names import also_called


@also_called(reconstruction="preds", image="target")
def mean_squared_error(preds: Tensor, target: Tensor) -> Float64[Tensor, " batch"]:
    r"""Squared error of each image, averaged over its channels and pixels.

    $$ \mathrm{MSE}(\hat x, x) = \frac{1}{3HW} \sum_{c,h,w} (\hat x_{chw} - x_{chw})^2 $$

    Args:
        preds: reconstructions $\hat x$, floats of shape (B, 3, H, W), nominally in [0, 1].
        target: images $x$, floats of shape (B, 3, H, W) in [0, 1].

    Returns:
        One non-negative value for each image, shape (B,), computed in float64. A NaN in an image makes its value NaN.

    Raises:
        ValueError: if the shapes differ or are not four-dimensional, or if an input is not floating-point.

    >>> import torch
    >>> mean_squared_error(torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 3, 2, 2))
    tensor([0.2500], dtype=torch.float64)
    """
    _check_images(preds, target)
    return (preds.double() - target.double()).square().mean(dim=(1, 2, 3))


# Explicit checks, because annotations are enforced in the tests only, and other shapes would broadcast.
def _check_images(preds: Tensor, target: Tensor) -> None:
    if preds.ndim != 4 or preds.shape != target.shape:
        raise ValueError(
            "Expected 'preds' and 'target' of one shape (batch, channels, height, width),"
            f" got {tuple(preds.shape)} and {tuple(target.shape)}. Resize one to the other first."
        )
    for name, value in (("preds", preds), ("target", target)):
        if not value.is_floating_point():
            raise ValueError(f"Expected '{name}' as floats in [0, 1], got {value.dtype}. Divide 8-bit images by 255.")
