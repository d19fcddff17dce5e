"""How well a predicted segmentation groups the pixels of the true one."""

import torch
from jaxtyping import Float, Float64, Int64, Integer
from torch import Tensor


def masks_to_labels(
    masks: Float[Tensor, "batch slots 1 height width"],
) -> Int64[Tensor, "batch height width"]:
    """Give every pixel to the slot with the largest mask; of equal masks, to the first.

    Args:
        masks: slot masks, or their logits. To score at another resolution, resize them before this.

    Returns:
        Slot indices in 0, ..., K - 1. None of them means background.

    >>> masks_to_labels(torch.tensor([0.2, 0.8, 0.5, 0.5]).reshape(2, 2, 1, 1, 1)).flatten()
    tensor([1, 0])
    """
    return masks.squeeze(2).argmax(dim=1)


def adjusted_rand_index(predicted: Tensor, true: Tensor, ignore_background: bool = True) -> Float64[Tensor, " batch"]:
    r"""Adjusted Rand index (ARI) of each image's segmentation.

    With $n_{ij}$ the number of pixels in true segment $i$ and predicted segment $j$, $a_i$ and $b_j$ its row
    and column sums, and $n$ the number of pixels (Hubert & Arabie, "Comparing partitions", 1985, equation 5):

    $$ \mathrm{ARI} = \frac{C - E}{\frac12 (A + B) - E}, \qquad C = \sum_{ij} \binom{n_{ij}}{2}, \quad
       A = \sum_i \binom{a_i}{2}, \quad B = \sum_j \binom{b_j}{2}, \quad E = A B \Big/ \binom{n}{2} $$

    It is 1 for equal partitions, 0 on average for random ones, and never below -0.5. Labels are mere names.

    Where the formula is 0/0 both partitions are trivial in the same way (one segment, or a segment for every
    pixel, or fewer than two pixels in all), hence equal, and the value is 1: so it is for an image without
    foreground when the background is ignored. scikit-learn's `adjusted_rand_score` does the same.

    Args:
        predicted: integer labels of shape (B, H, W), non-negative but otherwise arbitrary.
        true: integer labels of shape (B, H, W), non-negative, 0 for the background.
        ignore_background: leave out the pixels with true label 0, as in the field's "FG-ARI". Label 0 in
            `predicted` has no such meaning.

    Returns:
        One value in [-0.5, 1] an image, shape (B,). Pairs are counted exactly, in integers.

    Raises:
        ValueError: if the shapes differ or are not (B, H, W), or if labels are not integers or are negative.

    >>> true = torch.tensor([[[0, 1, 1, 2, 2]]])
    >>> predicted = torch.tensor([[[9, 7, 7, 9, 9]]])
    >>> adjusted_rand_index(predicted, true)
    tensor([1.], dtype=torch.float64)
    >>> adjusted_rand_index(predicted, true, ignore_background=False)
    tensor([0.5455], dtype=torch.float64)
    """
    _check_labels(predicted, true)
    batch = len(true)
    keep = true != 0 if ignore_background else torch.ones_like(true, dtype=torch.bool)
    image = torch.arange(batch, device=true.device)[:, None, None].expand_as(true)[keep]
    t, p = _enumerate(true[keep]), _enumerate(predicted[keep])
    return _from_pairs(
        both=_pairs(t * len(p) + p, image, batch),
        in_true=_pairs(t, image, batch),
        in_predicted=_pairs(p, image, batch),
        pairs=_pairs(torch.zeros_like(image), image, batch),
    )


def _enumerate(labels: Integer[Tensor, " pixels"]) -> Int64[Tensor, " pixels"]:
    """Number the labels that occur 0, 1, ..., so that products of two numbers cannot overflow."""
    numbers: Tensor = torch.unique(labels.long(), return_inverse=True)[1]
    return numbers


def _pairs(labels: Int64[Tensor, " pixels"], image: Int64[Tensor, " pixels"], batch: int) -> Int64[Tensor, " batch"]:
    """Each image's number of pairs of pixels with the same label.

    Only the cells of the contingency table that occur are stored: with a segment for every pixel, the dense
    table of a single 128 x 128 image would take 2 GiB.
    """
    cells, n = torch.unique(_enumerate(labels) * batch + image, return_counts=True)
    counts = torch.zeros(batch, dtype=torch.int64, device=image.device)
    return counts.index_add_(0, cells % batch, n * (n - 1) // 2)


def _from_pairs(
    both: Int64[Tensor, " batch"],
    in_true: Int64[Tensor, " batch"],
    in_predicted: Int64[Tensor, " batch"],
    pairs: Int64[Tensor, " batch"],
) -> Float64[Tensor, " batch"]:
    r"""The ARI, numerator and denominator times $\binom{n}{2}$: two sums that nearly cancel become products.

    Args:
        both: $C$, pairs of pixels that share a segment in both partitions.
        in_true: $A$, pairs that share a true segment.
        in_predicted: $B$, pairs that share a predicted segment.
        pairs: $\binom{n}{2}$, all pairs.
    """
    neither = pairs - in_true - in_predicted + both
    above_chance = both.double() * neither - (in_true - both).double() * (in_predicted - both)
    at_most = (in_true.double() * (pairs - in_predicted) + in_predicted.double() * (pairs - in_true)) / 2
    return torch.where(at_most == 0, 1.0, above_chance / at_most)


# Checked by hand rather than by annotation, which nothing enforces outside the tests.
def _check_labels(predicted: Tensor, true: Tensor) -> None:
    if true.ndim != 3 or predicted.shape != true.shape:
        raise ValueError(
            "Expected 'predicted' and 'true' of one shape (batch, height, width),"
            f" got {tuple(predicted.shape)} and {tuple(true.shape)}. Resize one to the other first."
        )
    for name, labels in (("predicted", predicted), ("true", true)):
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise ValueError(
                f"Expected '{name}' as integer labels, got {labels.dtype}. Use masks_to_labels on slot masks."
            )
        if (labels < 0).any():
            raise ValueError(
                f"Expected '{name}' as non-negative labels, got {int(labels.min())}."
                " Use 0 for background or unlabelled pixels."
            )
