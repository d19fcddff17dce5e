"""The batch that travels from the data to the model."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from jaxtyping import Int, UInt8
from torch import Tensor


class Batch(TypedDict):
    """A batch of scenes; `emorl.batches.completed` makes one of images alone."""

    image: UInt8[Tensor, "batch 3 h w"]  # 0 to 255: made float on the device; of one's own loader also float in [0, 1]
    index: Int[Tensor, " batch"]  # of the sample in its split; -1 pads a batch and counts for nothing
    key: list[str]  # names the sample
    box: NotRequired[Int[Tensor, "batch 4"]]  # of the stored image that is shown: left, upper, right, lower, in pixels
    segmentation: NotRequired[UInt8[Tensor, "batch h2 w2"]]  # label map, 0 = background; absent unless it was read
    factors: NotRequired[list[list[dict[str, float | str]]]]  # of each scene's objects, object i at i - 1; likewise
