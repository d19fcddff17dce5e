r"""Scores of single objects by intersection over union (IoU) with predicted segments.

The IoU of true object $i$ and predicted segment $j$ counts the pixels of the whole image, so that a slot that contains
an object and background around it gets a lower score:

$$ \mathrm{IoU}_{ij} = \frac{n_{ij}}{a_i + b_j - n_{ij}} $$

with $n_{ij}$ the number of pixels in both, and $a_i$ and $b_j$ the number in each. A slot without pixels is ignored.
"""

import numpy as np
import torch
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor

from emorl.metrics.functional.names import also_called
from emorl.metrics.functional.overlaps import Overlaps, count_overlaps, ratio


@also_called(predicted="preds", true="target")
def mean_iou(
    preds: Tensor,
    target: Tensor,
    ignore_background: bool = True,
    undefined: float = 1.0,
    ignore_index: int | None = None,
) -> Float64[Tensor, " batch"]:
    r"""Mean IoU of an image's objects with the segments matched to them ("mIoU", Hungarian matching).

    $$ \mathrm{mIoU} = \frac{1}{M} \max_\pi \sum_{i=1}^{M} \mathrm{IoU}_{i \pi(i)} $$

    where $\pi$ matches each segment to at most one object; an object without a segment counts 0.

    Args:
        preds: labels of shape (B, H, W), of any integer type or boolean, non-negative but otherwise arbitrary.
        target: true labels of the same shape and types, 0 for the background.
        ignore_background: whether to exclude the background from the objects, so that no segment is matched to it.
        undefined: value of an image without an object, M = 0.
        ignore_index: label in ``target`` of void pixels, which are excluded from objects, segments and images.

    Returns:
        One value in [0, 1] for each image, shape (B,). The matching is computed by scipy on the CPU.

    Raises:
        ValueError: if the shapes differ or are not (B, H, W), if labels are not integers or, outside void pixels, are
            negative, or if ``ignore_index`` is not an integer.

    >>> target = torch.tensor([[[0, 1, 1, 2]]])
    >>> preds = torch.tensor([[[5, 5, 7, 7]]])
    >>> mean_iou(preds, target)
    tensor([0.4167], dtype=torch.float64)
    >>> mean_iou(preds, torch.tensor([[[255, 1, 255, 2]]]), ignore_index=255)
    tensor([1.], dtype=torch.float64)
    """
    cells, iou = _objects(preds, target, ignore_background, ignore_index)
    _, image, _ = cells.segments(cells.true)
    objects = cells.sums(torch.ones_like(image), image)
    sizes = cells.sums(torch.ones_like(cells.image), cells.image).tolist()
    columns = (torch.split(part.cpu(), sizes) for part in (cells.true, cells.predicted, iou))
    matched = [_matched(*(part.numpy() for part in parts)) for parts in zip(*columns, strict=True)]
    return ratio(iou.new_tensor(matched), objects, undefined)


@also_called(predicted="preds", true="target")
def mean_best_overlap(
    preds: Tensor,
    target: Tensor,
    ignore_background: bool = True,
    undefined: float = 1.0,
    ignore_index: int | None = None,
) -> Float64[Tensor, " batch"]:
    r"""Return the mean over an image's objects of the best IoU with any segment ("mBO"); objects may share a segment.

    $$ \mathrm{mBO} = \frac{1}{M} \sum_{i=1}^{M} \max_j \mathrm{IoU}_{ij} $$

    For label maps it equals the unweighted segmentation covering, "mSC" (Engelcke et al., "GENESIS", 2020).
    Arguments, result and errors are those of `mean_iou`; the result is never below that of `mean_iou`.

    >>> target = torch.tensor([[[0, 1, 1, 2]]])
    >>> mean_best_overlap(torch.tensor([[[5, 5, 7, 7]]]), target)
    tensor([0.4167], dtype=torch.float64)
    >>> mean_best_overlap(torch.zeros_like(target), target)
    tensor([0.3750], dtype=torch.float64)
    """
    return _covering(*_objects(preds, target, ignore_background, ignore_index), undefined, by_area=False)


@also_called(predicted="preds", true="target")
def segmentation_covering(
    preds: Tensor,
    target: Tensor,
    ignore_background: bool = True,
    undefined: float = 1.0,
    ignore_index: int | None = None,
) -> Float64[Tensor, " batch"]:
    r"""Return the best IoU of an image's objects, weighted by their areas ("SC").

    $$ \mathrm{SC} = \frac{1}{\sum_i a_i} \sum_{i=1}^{M} a_i \max_j \mathrm{IoU}_{ij} $$

    (Arbelaez et al., "Contour detection and hierarchical image segmentation", 2011; Engelcke et al., "GENESIS", 2020).
    Without weights it is `mean_best_overlap`. Arguments, result and errors are those of `mean_iou`.

    >>> target = torch.tensor([[[0, 1, 1, 2]]])
    >>> segmentation_covering(torch.zeros_like(target), target)
    tensor([0.4167], dtype=torch.float64)
    """
    return _covering(*_objects(preds, target, ignore_background, ignore_index), undefined, by_area=True)


def _objects(
    preds: Tensor, target: Tensor, ignore_background: bool, ignore_index: int | None
) -> tuple[Overlaps, Float64[Tensor, " cells"]]:
    """Return the overlaps of the objects with the segments, and the IoU of each."""
    cells = count_overlaps(preds, target, ignore_index)
    object_, segment = cells.segments(cells.true), cells.segments(cells.predicted)
    union = object_.pixels[object_.cell] + segment.pixels[segment.cell] - cells.pixels
    iou = cells.pixels.double() / union
    return (cells.foreground(), iou[cells.true != 0]) if ignore_background else (cells, iou)


def _covering(
    cells: Overlaps, iou: Float64[Tensor, " cells"], undefined: float, by_area: bool
) -> Float64[Tensor, " batch"]:
    cell, image, pixels = cells.segments(cells.true)
    best = iou.new_zeros(len(pixels)).scatter_reduce_(0, cell, iou, "amax")
    weight = pixels if by_area else torch.ones_like(pixels)
    return ratio(cells.sums(weight * best, image), cells.sums(weight, image), undefined)


def _matched(true: np.ndarray, predicted: np.ndarray, iou: np.ndarray) -> float:
    """Return the largest sum of IoUs of one image's objects, matched one-to-one to segments."""
    (objects, i), (segments, j) = (np.unique(labels, return_inverse=True) for labels in (true, predicted))
    table = np.zeros((len(objects), len(segments)))
    table[i, j] = iou
    return float(table[linear_sum_assignment(table, maximize=True)].sum())
