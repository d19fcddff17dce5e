"""Scores of whole segmentations: the adjusted Rand index, and the number of active slots."""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from emorl.metrics.functional.names import also_called
from emorl.metrics.functional.overlaps import check_labels, count_overlaps, ratio


def masks_to_labels(
    masks: Shaped[Tensor, "batch slots 1 height width"],
) -> Int64[Tensor, "batch height width"]:
    """Return for each pixel the slot with the largest mask, the first of equal ones.

    Args:
        masks: slot masks, or their logits, of any type: soft, integer or boolean. To score at another resolution, call
            `resize_masks` first.

    Returns:
        Slot indices in 0, ..., K - 1. No index is reserved for the background.

    Raises:
        ValueError: if the masks have another shape.

    >>> masks_to_labels(torch.tensor([0.2, 0.8, 0.5, 0.5]).reshape(2, 2, 1, 1, 1)).flatten()
    tensor([1, 0])
    """
    _check_masks(masks)
    comparable = masks if masks.is_floating_point() else masks.long()
    return comparable.squeeze(2).argmax(dim=1)


def resize_masks(
    masks: Shaped[Tensor, "batch slots 1 h w"], height: int, width: int
) -> Float[Tensor, "batch slots 1 height width"]:
    """Return soft masks, resized bilinearly to compare them with a true segmentation of another resolution.

    The authors' code scores CLEVR in this way: it resizes masks from 96 x 96 to 192 x 192, the size of the crop, before
    the argmax. Its filter is Pillow's bicubic one, so scores differ slightly.

    Args:
        masks: slot masks, or their logits; integer or boolean masks become float32.
        height: height of the result, in pixels.
        width: width of the result, in pixels.

    Raises:
        ValueError: if the masks have another shape.

    >>> resize_masks(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 1, 2), 1, 4).flatten()
    tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """
    _check_masks(masks)
    soft = masks if masks.is_floating_point() else masks.float()
    return F.interpolate(soft.squeeze(2), (height, width), mode="bilinear", align_corners=False).unsqueeze(2)


def _check_masks(masks: Tensor) -> None:
    if masks.ndim != 5 or masks.shape[2] != 1:
        raise ValueError(f"Expected masks [batch, slots, 1, height, width], got shape {tuple(masks.shape)}.")


@also_called(predicted="preds", true="target")
def adjusted_rand_index(
    preds: Tensor,
    target: Tensor,
    ignore_background: bool = True,
    undefined: float = 1.0,
    ignore_index: int | None = None,
) -> Float64[Tensor, " batch"]:
    r"""Adjusted Rand index (ARI) of each image's segmentation.

    With $n_{ij}$ the number of pixels in true segment $i$ and predicted segment $j$, $a_i$ and $b_j$ its row
    and column sums, and $n$ the number of pixels (Hubert & Arabie, "Comparing partitions", 1985, equation 5):

    $$ \mathrm{ARI} = \frac{C - E}{\frac12 (A + B) - E}, \qquad C = \sum_{ij} \binom{n_{ij}}{2}, \quad
       A = \sum_i \binom{a_i}{2}, \quad B = \sum_j \binom{b_j}{2}, \quad E = A B \Big/ \binom{n}{2} $$

    It is 1 for equal partitions, 0 on average for random ones, and at least -0.5. It does not depend on the numbering
    of labels.

    The formula is 0/0 if both partitions are trivial and equal: one segment, or a segment for each pixel, or fewer than
    two pixels. Examples are an image without foreground when the background is ignored, and a single object within one
    slot. The value is then `undefined`, by default 1 as in scikit-learn's `adjusted_rand_score`. A single object that
    is split between slots scores 0.

    Args:
        preds: labels of shape (B, H, W), of any integer type or boolean, non-negative but otherwise arbitrary.
        target: true labels of the same shape and types, 0 for the background.
        ignore_background: whether to exclude the pixels with true label 0, which gives "FG-ARI". Label 0 in `preds` is
            an ordinary label.
        undefined: value of an image whose score is 0/0.
        ignore_index: label in ``target`` of void pixels, which are excluded.

    Returns:
        One value in [-0.5, 1] for each image, shape (B,). Pairs are counted exactly, in integers.

    Raises:
        ValueError: if the shapes differ or are not (B, H, W), if labels are not integers or, outside void pixels, are
            negative, or if ``ignore_index`` is not an integer.

    >>> target = torch.tensor([[[0, 1, 1, 2, 2]]])
    >>> preds = torch.tensor([[[9, 7, 7, 9, 9]]])
    >>> adjusted_rand_index(preds, target)
    tensor([1.], dtype=torch.float64)
    >>> adjusted_rand_index(preds, target, ignore_background=False)
    tensor([0.5455], dtype=torch.float64)
    """
    cells = count_overlaps(preds, target, ignore_index)
    if ignore_background:
        cells = cells.foreground()
    _, true_image, true_pixels = cells.segments(cells.true)
    _, predicted_image, predicted_pixels = cells.segments(cells.predicted)
    return _from_pairs(
        both=cells.sums(_pairs(cells.pixels), cells.image),
        in_true=cells.sums(_pairs(true_pixels), true_image),
        in_predicted=cells.sums(_pairs(predicted_pixels), predicted_image),
        pairs=_pairs(cells.sums(cells.pixels, cells.image)),
        undefined=undefined,
    )


@also_called(predicted="preds", true="target")
def active_slots(
    preds: Tensor, target: Tensor | None = None, ignore_index: int | None = None
) -> Float64[Tensor, " batch"]:
    r"""Number of slots of each image that win at least one pixel.

    $$ \bigl| \{ k : \exists\, h, w: \; k = \operatorname{argmax}_{k'} m_{k'hw} \} \bigr| $$

    Args:
        preds: slot labels of shape (B, H, W), see `masks_to_labels`.
        target: true labels of shape (B, H, W), needed with ``ignore_index`` only.
        ignore_index: label in ``target`` of void pixels, which are excluded.

    Returns:
        One number in 1, ..., K for each image, shape (B,); 0 for an image whose pixels are all void.

    Raises:
        ValueError: if the shapes differ or are not (B, H, W), if labels are not integers or, outside void pixels, are
            negative, or if ``ignore_index`` is not an integer or is given without ``target``.

    >>> active_slots(torch.tensor([[[0, 0, 3]], [[2, 2, 2]]]))
    tensor([2., 1.], dtype=torch.float64)
    """
    if target is None:
        if ignore_index is not None:
            raise ValueError(f"Expected 'target' with ignore_index={ignore_index}, got none. Give the true labels too.")
        check_labels(preds=preds)
        target = torch.zeros_like(preds)
    cells = count_overlaps(preds, target, ignore_index)
    _, image, pixels = cells.segments(cells.predicted)
    return cells.sums(torch.ones_like(pixels), image).double()


def _pairs(n: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    return n * (n - 1) // 2


def _from_pairs(
    both: Int64[Tensor, " batch"],
    in_true: Int64[Tensor, " batch"],
    in_predicted: Int64[Tensor, " batch"],
    pairs: Int64[Tensor, " batch"],
    undefined: float,
) -> Float64[Tensor, " batch"]:
    r"""Return the ARI from numerator and denominator times $\binom{n}{2}$, which avoids cancellation.

    Args:
        both: $C$, pairs of pixels that share a segment in both partitions.
        in_true: $A$, pairs that share a true segment.
        in_predicted: $B$, pairs that share a predicted segment.
        pairs: $\binom{n}{2}$, all pairs.
        undefined: the value of 0/0.
    """
    neither = pairs - in_true - in_predicted + both
    above_chance = both.double() * neither - (in_true - both).double() * (in_predicted - both)
    at_most = (in_true.double() * (pairs - in_predicted) + in_predicted.double() * (pairs - in_true)) / 2
    return ratio(above_chance, at_most, undefined)
