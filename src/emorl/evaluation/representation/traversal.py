"""Latent traversals: what becomes of a scene when single dimensions of a slot are swept, and all else stays."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from emorl.files import atomic
from emorl.model import SlotModel
from emorl.viz import grid, to_uint8

_TILE = 128  # pixels that a smaller frame is enlarged toward, by a whole factor
_INCHES = 0.6  # of a frame's side on paper
_MILLISECONDS = 120  # that a frame is shown


def sweep_values(slots: Float[Tensor, "scenes slots dim"], steps: int) -> Float[Tensor, "dim steps"]:
    """Return ``steps`` values of each dimension, evenly over the range that it takes in these slots."""
    low, high = slots.amin(dim=(0, 1)), slots.amax(dim=(0, 1))
    return low[:, None] + (high - low)[:, None] * torch.linspace(0, 1, steps, device=slots.device)


def sweep(
    network: SlotModel,
    slots: Float[Tensor, "slots dim"],
    slot: int,
    dims: Sequence[int],
    values: Float[Tensor, "dims steps"],
    size: tuple[int, int],
) -> Float[Tensor, "dims steps 3 h w"]:
    """Decode a scene over and over with one dimension of one slot set to a value, each time another.

    All variants of the slot are decoded beside the K slots, once. Masks are a softmax over slots, so that a variant
    has the mask sigmoid(its log-mask - logsumexp of the other slots'), whatever else was decoded with them.

    Args:
        network: the model.
        slots: slots of the scene.
        slot: number of the slot to vary.
        dims: its dimensions to vary, one at a time.
        values: the values of each.
        size: height and width of the pictures.

    Returns:
        The reconstructions.
    """
    steps = values.shape[1]
    variants = slots[slot].repeat(len(dims), steps, 1)
    for row, dim in enumerate(dims):
        variants[row, :, dim] = values[row]
    with torch.no_grad():
        decoded = network.decode(torch.cat((slots, variants.flatten(0, 1)))[None], size)
    rgb, log_masks = decoded.rgb[0], decoded.log_masks[0]
    others = [k for k in range(len(slots)) if k != slot]
    behind = (log_masks[others].softmax(dim=0) * rgb[others]).sum(dim=0)
    mask = (log_masks[len(slots) :] - log_masks[others].logsumexp(dim=0)).sigmoid()
    return torch.lerp(behind, rgb[len(slots) :], mask).view(len(dims), steps, 3, *size)


def traversal(
    network: SlotModel,
    slots: Float[Tensor, "slots dim"],
    slot: int,
    dims: Sequence[int],
    values: Float[Tensor, "dims steps"],
    size: tuple[int, int],
) -> UInt8[Tensor, "dims steps 3 h w"]:
    """Return the pictures of a traversal, enlarged by a whole factor if they are small; arguments as of `sweep`."""
    factor = max(1, _TILE // max(size))
    frames = to_uint8(sweep(network, slots, slot, dims, values, size)).cpu()
    return frames.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def animation(frames: UInt8[Tensor, "slots dims steps 3 h w"]) -> UInt8[Tensor, "frames 3 height width"]:
    """Lay traversals out, a row for each slot and a column for each dimension, that go there and back."""
    steps = frames.shape[2]
    there_and_back = [*range(steps), *range(steps - 2, 0, -1)]
    return torch.stack([grid(frames[:, :, step].flatten(0, 1), frames.shape[1]) for step in there_and_back])


def traversal_figure(frames: UInt8[Tensor, "slots dims steps 3 h w"], dims: Sequence[int]) -> Figure:
    """Draw traversals, a row for each slot and dimension and a column for each value."""
    slots, _, steps, _, height, width = frames.shape
    rows = [f"slot {slot + 1}, $z_{{{dim}}}$" for slot in range(slots) for dim in dims]
    columns = ["lowest", *[""] * (steps - 2), "highest"]
    figure = Figure(figsize=(_INCHES * steps + 1.2, _INCHES * len(rows) * height / width + 0.5), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(grid(frames.flatten(0, 2), steps).permute(1, 2, 0).numpy(), aspect="auto")
    axes.set_yticks(np.arange(len(rows)) * (height + 2) + 1.5 + height / 2, rows)
    axes.set_xticks(np.arange(steps) * (width + 2) + 1.5 + width / 2, columns)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def write_gif(frames: UInt8[Tensor, "frames 3 h w"], out: Path, name: str) -> Path:
    """Write an animation that repeats for ever as ``NAME.gif``, and return its path.

    Raises:
        DataError: if it cannot be written.
    """
    first, *others = (Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()) for frame in frames)
    content, path = io.BytesIO(), out / f"{name}.gif"
    first.save(content, format="GIF", save_all=True, append_images=others, duration=_MILLISECONDS, loop=0)
    with atomic(path) as stream:
        stream.write(content.getvalue())
    return path
