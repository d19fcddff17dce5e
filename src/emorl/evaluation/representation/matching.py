"""Matching of slots to objects, which defines the code of each object."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Integer
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor

from emorl.metrics.functional.overlaps import check_labels

MIN_PIXELS = 50
MIN_IOU = 0.1


class Matches(NamedTuple):
    """The matched objects, and the numbers of unmatched ones.

    >>> labels = torch.arange(2).repeat_interleave(60).view(1, 2, 60)
    >>> match(predicted=labels, true=labels).missed
    0
    """

    scene: Int64[Tensor, " n"]
    label: Int64[Tensor, " n"]  # label of the object in its scene, from 1
    slot: Int64[Tensor, " n"]
    iou: Float64[Tensor, " n"]  # MIN_IOU to 1
    small: int  # number of visible objects with fewer than MIN_PIXELS pixels
    missed: int  # number of objects for which no slot reaches MIN_IOU


class Codes(NamedTuple):
    """Codes and factors of objects.

    >>> Codes(code=np.zeros((5, 32)), value=np.zeros((5, 4))).code.shape
    (5, 32)
    """

    code: Float[np.ndarray, "objects dim"]  # slots
    value: Float64[np.ndarray, "objects factors"]  # numbers of `Factor.encode`


def match(predicted: Integer[Tensor, "scenes h w"], true: Integer[Tensor, "scenes h w"]) -> Matches:
    """Match each object to a different slot so that the sum of a scene's IoUs is maximal (Hungarian algorithm).

    Objects with fewer than `MIN_PIXELS` pixels are not matched, and pairs with an IoU under `MIN_IOU` are dropped. The
    background is not an object. A slot's area includes its pixels on the background, see `mean_iou`.

    Args:
        predicted: slot of each pixel, 0 to K - 1.
        true: label of each pixel, 0 for the background.

    Returns:
        Scene, label, slot and IoU of each matched object.

    Raises:
        ValueError: if the shapes differ, or if labels are not integers or are negative.

    >>> predicted = torch.tensor([[0, 0, 1, 1, 1], [2, 2, 2, 2, 2]]).repeat_interleave(40, dim=0)[None]
    >>> match(predicted, true=(predicted == 1) + 2 * (predicted == 2))[:3]
    (tensor([0, 0]), tensor([1, 2]), tensor([1, 2]))
    """
    check_labels(predicted=predicted, true=true)
    parts, small, missed = [np.empty((0, 4))], 0, 0
    for scene, (slots, objects) in enumerate(zip(predicted.cpu().numpy(), true.cpu().numpy(), strict=True)):
        area, iou = overlap(slots, objects)
        large = np.flatnonzero(area >= MIN_PIXELS)
        rows, slot = linear_sum_assignment(iou[large], maximize=True)
        pairs = np.stack((np.full(len(rows), scene), large[rows] + 1, slot, iou[large[rows], slot]), axis=1)
        parts.append(pairs[pairs[:, 3] >= MIN_IOU])
        small += int(((area > 0) & (area < MIN_PIXELS)).sum())
        missed += len(large) - len(parts[-1])
    table = torch.from_numpy(np.concatenate(parts))
    scene_of, label, slot_of = table[:, :3].long().unbind(dim=1)
    return Matches(scene_of, label, slot_of, table[:, 3], small, missed)


def overlap(
    slots: Integer[np.ndarray, "h w"], objects: Integer[np.ndarray, "h w"]
) -> tuple[Int64[np.ndarray, " objects"], Float64[np.ndarray, "objects slots"]]:
    """Return the area in pixels of every object of a scene and its IoU with every slot, label 1 first.

    >>> area, iou = overlap(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]))
    >>> area.tolist(), iou.round(2).tolist()
    ([3], [[0.25, 0.67]])
    """
    shape = int(objects.max()) + 1, int(slots.max()) + 1
    shared = np.zeros(shape, dtype=np.int64)
    np.add.at(shared, (objects, slots), 1)
    area = shared.sum(axis=1)
    union = area[:, None] + shared.sum(axis=0) - shared
    return area[1:], (shared / np.maximum(union, 1))[1:]
