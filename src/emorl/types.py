"""The batch type, from the data to the model."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from jaxtyping import Int, UInt8
from torch import Tensor


class Batch(TypedDict):
    """A batch of scenes; `emorl.batches.completed` builds one from images.

    >>> from emorl.batches import completed
    >>> import torch
    >>> batch: Batch = completed({"image": torch.rand(2, 3, 35, 35)}, 0, 0)
    >>> batch["index"].tolist()
    [0, 1]
    """

    image: UInt8[Tensor, "batch 3 h w"]  # 0 to 255, converted to float on the device; a user's loader may give [0, 1]
    index: Int[Tensor, " batch"]  # of the scene in its split, on the CPU; -1 marks padding, which is not scored
    key: list[str]  # name of each scene
    box: NotRequired[Int[Tensor, "batch 4"]]  # crop in the stored image in pixels: left, upper, right, lower
    segmentation: NotRequired[UInt8[Tensor, "batch h2 w2"]]  # label map, 0 = background; only if it was read
    factors: NotRequired[list[list[dict[str, float | str]]]]  # of each scene's object i at i - 1; only if read
