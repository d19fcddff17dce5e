"""Convolutions with TensorFlow's "same" padding."""

from __future__ import annotations

from math import ceil

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the numbers of zeros before and after ``size`` values for an output of ceil(size / stride) values.

    Their sum is max((ceil(size / stride) - 1) stride + kernel - size, 0); if it is odd, the larger part comes after.
    """
    total = max((ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def same_convolution(
    image: Float[Tensor, "n c h w"], weight: Float[Tensor, "c2 c k k"], bias: Tensor | None = None, stride: int = 1
) -> Float[Tensor, "n c2 h2 w2"]:
    """Convolve to ceil(h / stride) x ceil(w / stride)."""
    (top, bottom), (left, right) = (same_padding(size, weight.shape[-1], stride) for size in image.shape[-2:])
    if (top, left) == (bottom, right):
        return F.conv2d(image, weight, bias, stride, padding=(top, left))
    return F.conv2d(F.pad(image, (left, right, top, bottom)), weight, bias, stride)


class SameConv2d(nn.Conv2d):
    """A convolution with square kernel and TensorFlow's "same" padding.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the kernel in pixels, odd or even.
        stride: stride in pixels.

    >>> import torch
    >>> SameConv2d(3, 8, kernel=5, stride=2)(torch.rand(1, 3, 35, 64)).shape
    torch.Size([1, 8, 18, 32])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride)

    def forward(self, image: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """Convolve."""
        return same_convolution(image, self.weight, self.bias, self.stride[0])
