"""Completes the batches of a user's data loader with what the model and the callbacks read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from emorl.types import Batch


def completed(batch: Any, first: int, rank: int = 0) -> Batch:
    """Return a batch with the index and the key of each image; those that are there stay.

    Args:
        batch: a dict with ``image``, [B, 3, H, W], 8-bit or float in [0, 1], and any other key of `Batch`; or the
            images alone.
        first: index of the first image of all processes.
        rank: this process; each has as many images.

    Raises:
        ValueError: if it is something else, or a segmentation is no label map of each image.

    >>> completed({"image": torch.zeros(2, 3, 8, 8)}, first=4)["key"]
    ['000004', '000005']
    """
    if isinstance(batch, Tensor):
        batch = {"image": batch}
    elif isinstance(batch, (list, tuple)) and len(batch) == 1:  # of a TensorDataset of images
        batch = {"image": batch[0]}
    if not isinstance(batch, Mapping) or not isinstance(batch.get("image"), Tensor):
        got = f"a dict with {', '.join(map(str, batch)) or 'no key'}" if isinstance(batch, Mapping) else _kind(batch)
        raise ValueError(
            f"Expected a batch {{'image': tensor of shape [B, 3, H, W]}}, got {got}. Have the data set return a dict "
            "with 'image', and with 'segmentation' if there are true masks; see emorl.types.Batch."
        )
    image = batch["image"]
    if image.ndim != 4 or image.shape[1] != 3:
        last = image.ndim == 4 and image.shape[-1] == 3
        remedy = "Move channels to the front: image.movedim(-1, 1)." if last else "Add a batch axis, or repeat gray."
        raise ValueError(f"Expected images of shape [B, 3, H, W], got {list(image.shape)}. {remedy}")
    if (labels := batch.get("segmentation")) is not None:
        _check_labels(labels, len(image))
    first += rank * len(image)
    indices = range(first, first + len(image))
    made = dict(batch)
    if "index" not in made:
        made["index"] = torch.tensor(indices)
    if "key" not in made:
        made["key"] = [f"{index:06d}" for index in indices]
    return cast(Batch, made)


def _check_labels(labels: Any, images: int) -> None:
    """Check the type and shape of true label maps."""
    expected = "Expected 'segmentation' as a tensor of integers of shape [B, H, W]"
    if not isinstance(labels, Tensor):
        raise ValueError(f"{expected}, got {_kind(labels)}. Stack the label maps of the images.")
    if labels.ndim != 3 or len(labels) != images:
        channel = "Remove the channel axis: segmentation.squeeze(1)."
        remedy = channel if labels.ndim == 4 and labels.shape[1] == 1 else "Give one label map for each image."
        raise ValueError(f"{expected}, with B = {images} images, got {list(labels.shape)}. {remedy}")
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"{expected}, got {labels.dtype}. Convert the labels: segmentation.long().")


def _kind(batch: Any) -> str:
    return f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, (list, tuple)) else "")
