"""Pictures of scenes: tensors in, 8-bit RGB tensors or PNG files out.

Nothing here knows of a logger or a trainer: `grid`, `decomposition` and `attention` return one picture as a
tensor, for `save_png` or for whatever shows it.
"""

import math
import os
from pathlib import Path

import torch
from jaxtyping import Float, Integer, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from emorl.files import atomic

BACKGROUND = (32, 32, 32)
# Sasha Trubetskoy, "List of 20 simple, distinct colors" (2017), without grey and navy (too close to
# BACKGROUND), olive (to brown), beige and apricot (to white and pink).
COLOURS = (
    (230, 25, 75),
    (60, 180, 75),
    (255, 225, 25),
    (67, 99, 216),
    (245, 130, 49),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
    (188, 246, 12),
    (250, 190, 190),
    (0, 128, 128),
    (230, 190, 255),
    (154, 99, 36),
    (128, 0, 0),
    (170, 255, 195),
)


def to_uint8(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Round images in [0, 1] to 8 bits; values outside the range are clamped.

    >>> to_uint8(torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.1])).tolist()
    [0, 0, 128, 255, 255]
    """
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8)


def colourise(labels: Integer[Tensor, "*batch height width"]) -> UInt8[Tensor, "*batch 3 height width"]:
    """Paint a label map: label 0 in the dark `BACKGROUND`, labels 1, 2, ... in `COLOURS`, over and over.

    Args:
        labels: non-negative integer labels.
    """
    palette = torch.tensor((BACKGROUND, *COLOURS), dtype=torch.uint8, device=labels.device)
    index = labels.long()
    index = torch.where(index == 0, 0, 1 + (index - 1) % len(COLOURS))
    return palette[index].movedim(-1, -3)


def grid(
    images: UInt8[Tensor, "n 3 height width"], columns: int, padding: int = 2
) -> UInt8[Tensor, "3 grid_height grid_width"]:
    """Lay images out row by row on white.

    Args:
        images: at least one image.
        columns: images in a row; the last row is filled up with white.
        padding: white pixels between the images and around them.

    Raises:
        ValueError: without an image, or with fewer than one column.
    """
    if len(images) == 0 or columns < 1:
        raise ValueError(
            f"Expected at least one image and one column, got {len(images)} images and {columns} columns."
            " Skip the picture of an empty batch."
        )
    rows = math.ceil(len(images) / columns)
    blanks = rows * columns - len(images)
    tiles = pad(images, (0, padding, 0, padding, 0, 0, 0, blanks), value=255)
    tiles = tiles.reshape(rows, columns, *tiles.shape[1:]).permute(2, 0, 3, 1, 4)
    return pad(tiles.flatten(3).flatten(1, 2), (padding, 0, padding, 0), value=255)


def decomposition(
    image: Float[Tensor, "batch 3 height width"],
    reconstruction: Float[Tensor, "batch 3 height width"],
    masks: Float[Tensor, "batch slots 1 height width"],
    components: Float[Tensor, "batch slots 3 height width"],
) -> UInt8[Tensor, "3 grid_height grid_width"]:
    """One row a scene: image, reconstruction, segmentation, then each slot's masked component on white.

    The segmentation gives each pixel to the slot with the largest mask. Slots take colours 1 to K, never the
    background's: no slot is known to hold the background.

    Args:
        image: scenes in [0, 1].
        reconstruction: their reconstructions in [0, 1].
        masks: slot masks in [0, 1], summing to one over the slots.
        components: slot images in [0, 1].
    """
    segmentation = colourise(masks.squeeze(2).argmax(1) + 1)
    slots = to_uint8(masks * components + (1 - masks))
    whole = torch.stack((to_uint8(image), to_uint8(reconstruction), segmentation), dim=1)
    tiles = torch.cat((whole, slots), dim=1)
    return grid(tiles.flatten(0, 1), columns=tiles.shape[1])


def attention(maps: Float[Tensor, "batch slots 1 height width"]) -> UInt8[Tensor, "3 grid_height grid_width"]:
    """One row a scene, one grey tile a slot: attention from black (none) to white (that map's own maximum).

    Args:
        maps: non-negative attention; a map of zeros stays black.
    """
    peak = maps.amax(dim=(-2, -1), keepdim=True)
    tiles = to_uint8(maps / torch.where(peak > 0, peak, 1)).expand(-1, -1, 3, -1, -1)
    return grid(tiles.flatten(0, 1), columns=tiles.shape[1])


def save_png(image: UInt8[Tensor, "3 height width"], path: str | os.PathLike[str]) -> None:
    """Write a picture to `path`, whole or not at all.

    Raises:
        DataError: if it cannot be written.
    """
    with atomic(Path(path)) as stream:
        Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy()).save(stream, format="PNG")
