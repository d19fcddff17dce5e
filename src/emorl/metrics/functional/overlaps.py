"""Contingency tables of true and predicted segments, from which all segmentation scores are computed."""

from __future__ import annotations

from operator import index
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64, Shaped
from torch import Tensor


class Segments(NamedTuple):
    """The segments of one of the two partitions."""

    cell: Int64[Tensor, " cells"]  # the segment of each cell
    image: Int64[Tensor, " segments"]
    pixels: Int64[Tensor, " segments"]


class Overlaps(NamedTuple):
    """The nonempty cells of a batch's contingency tables.

    A dense table of a single 128 x 128 image with a segment for each pixel would need 2 GiB.
    """

    batch: int
    image: Int64[Tensor, " cells"]
    true: Int64[Tensor, " cells"]  # label of the true segment, 0 for the background
    predicted: Int64[Tensor, " cells"]  # label of the predicted segment
    pixels: Int64[Tensor, " cells"]  # number of pixels in both

    def foreground(self) -> Overlaps:
        """Return the cells of objects, without the background."""
        keep = self.true != 0
        return Overlaps(self.batch, *(part[keep] for part in self[1:]))

    def segments(self, labels: Int64[Tensor, " cells"]) -> Segments:
        """Merge the cells with equal label, `true` or `predicted`, into segments."""
        keys, cell = torch.unique(labels * self.batch + self.image, return_inverse=True)
        return Segments(cell, keys % self.batch, torch.zeros_like(keys).index_add_(0, cell, self.pixels))

    def sums(self, values: Tensor, image: Int64[Tensor, " values"]) -> Tensor:
        """Return the sum of values of each image."""
        return values.new_zeros(self.batch).index_add_(0, image, values)


def count_overlaps(preds: Tensor, target: Tensor, ignore_index: int | None = None) -> Overlaps:
    """Count the pixels of each pair of a true and a predicted segment.

    Args:
        preds: labels of shape (B, H, W), of any integer type or boolean, non-negative but otherwise arbitrary.
        target: true labels of the same shape and types, 0 for the background.
        ignore_index: label in ``target`` of void pixels, which are excluded, whatever their label in ``preds``.

    Raises:
        ValueError: if the shapes differ or are not (B, H, W), if labels are not integers or, outside void pixels, are
            negative, or if ``ignore_index`` is not an integer.
    """
    check_maps(preds=preds, target=target)
    batch = len(target)
    image = torch.arange(batch, device=target.device)[:, None, None].expand(target.shape)
    if (void := check_ignore_index(ignore_index)) is not None:
        keep = ~_is_void(target, void)
        target, preds = (labels * keep.to(labels.dtype) for labels in (target, preds))
    check_signs(preds=preds, target=target)
    (t, t_count), (p, p_count) = _number(target), _number(preds)
    keys = (image * t_count + t) * p_count + p
    if void is not None:
        keys = keys[keep]  # torch 2.7 cannot index the labels themselves if they are uint16, uint32 or uint64
    keys, pixels = torch.unique(keys, return_counts=True)
    pair = keys // p_count
    return Overlaps(batch, pair // t_count, pair % t_count, keys % p_count, pixels)


def ratio(numerator: Tensor, denominator: Tensor, undefined: float) -> Float64[Tensor, " batch"]:
    """Divide; where the denominator is 0 return ``undefined``.

    Conventions in use are 1 (scikit-learn and the default here: no object was missed), 0, NaN, and to skip such images:
    use NaN and drop these values, as the metrics do for "skip".
    """
    return torch.where(denominator == 0, undefined, numerator.double() / denominator)


def check_ignore_index(ignore_index: object) -> int | None:
    """Return the label of void pixels, or None.

    Raises:
        ValueError: if it is neither an integer nor None.
    """
    if ignore_index is None:
        return None
    try:
        if isinstance(ignore_index, bool):
            raise TypeError
        return index(ignore_index)  # type: ignore[arg-type]
    except TypeError:
        got = f"{ignore_index!r}. Give the label of the void pixels, such as 255."
        raise ValueError(f"Expected 'ignore_index' as an integer or None, got {got}") from None


# Explicit checks, because annotations are enforced in the tests only.
def check_labels(**maps: Tensor) -> None:
    """Check that tensors are label maps of the same shape.

    Raises:
        ValueError: if the shapes differ or are not (B, H, W), or if labels are not integers or are negative.
    """
    check_maps(**maps)
    check_signs(**maps)


def check_maps(**maps: Tensor) -> None:
    """Check that tensors are maps of the same shape (B, H, W), boolean or of an integer type.

    Raises:
        ValueError: if the shapes differ or are not (B, H, W), or if labels are not integers.
    """
    shapes = [tuple(labels.shape) for labels in maps.values()]
    if len(shapes[0]) != 3 or len(set(shapes)) > 1:
        raise ValueError(
            f"Expected {' and '.join(map(repr, maps))} of one shape (batch, height, width),"
            f" got {' and '.join(map(str, shapes))}. Resize one to the other first."
        )
    for name, labels in maps.items():
        if labels.is_floating_point() or labels.is_complex():
            raise ValueError(
                f"Expected '{name}' as integer labels, got {labels.dtype}. Use masks_to_labels on slot masks."
            )


def check_signs(**maps: Tensor) -> None:
    """Check that labels are not negative.

    Raises:
        ValueError: if a label is negative.
    """
    for name, labels in maps.items():
        if labels.dtype.is_signed and (labels < 0).any():
            raise ValueError(
                f"Expected '{name}' as non-negative labels, got {int(labels.min())}."
                " Use 0 for background or unlabeled pixels, or leave void pixels out with ignore_index."
            )


def _is_void(target: Tensor, ignore_index: int) -> Bool[Tensor, "batch height width"]:
    limits = torch.iinfo(torch.uint8 if target.dtype == torch.bool else target.dtype)
    if not limits.min <= ignore_index <= limits.max:
        return torch.zeros_like(target, dtype=torch.bool)
    return target.long() == (ignore_index if ignore_index < 2**63 else ignore_index - 2**64)


def _number(labels: Shaped[Tensor, "*shape"]) -> tuple[Int64[Tensor, "*shape"], int]:
    """Return labels renumbered to small values, with 0 unchanged, and their upper bound: products cannot overflow."""
    wide = labels.dtype == torch.uint64  # int64 has the same order after flipping the highest bit
    zero = -(2**63) if wide else 0
    labels = labels.long() ^ zero
    if not wide and (largest := int(labels.max()) if labels.numel() else 0) < 2**20:
        return labels, largest + 1
    values, numbers = torch.unique(torch.cat((labels.new_full((1,), zero), labels.flatten())), return_inverse=True)
    return numbers[1:].view_as(labels), len(values)
