"""Latent traversals: decodings of a scene while one dimension of one slot is swept and all others are fixed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from emorl.figures import Figure
from emorl.files import atomic
from emorl.model import SlotModel
from emorl.viz import grid, to_uint8

_TILE = 128  # smaller frames are enlarged by an integer factor up to this number of pixels
_INCHES = 0.6  # side of a frame in a figure
_MILLISECONDS = 120  # duration of a frame of an animation


def sweep_values(slots: Float[Tensor, "scenes slots dim"], steps: int) -> Float[Tensor, "dim steps"]:
    """Return ``steps`` values of each dimension, evenly spaced over its range in these slots.

    >>> sweep_values(torch.tensor([[[0.0], [2.0]]]), steps=3)
    tensor([[0., 1., 2.]])
    """
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
    """Decode a scene for several values of single dimensions of one slot.

    All variants of the slot are decoded together with the K slots, in one call. Masks are a softmax over slots, so the
    mask of a variant is sigmoid(its log-mask - logsumexp of the other slots' log-masks), independent of the other
    variants.

    Args:
        network: the model.
        slots: slots of the scene.
        slot: number of the slot to vary.
        dims: its dimensions to vary, one at a time.
        values: the values of each dimension.
        size: height and width of the decoded images.

    Returns:
        The reconstructions, in [0, 1].

    >>> from emorl.model import EfficientMORL
    >>> network = EfficientMORL(num_slots=3, slot_dim=4)
    >>> sweep(network, torch.randn(3, 4), slot=0, dims=[1, 2], values=torch.zeros(2, 5), size=(8, 8)).shape
    torch.Size([2, 5, 3, 8, 8])
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
    """Return the images of a traversal, enlarged by an integer factor if they are small; arguments as in `sweep`.

    >>> from emorl.model import EfficientMORL
    >>> network = EfficientMORL(num_slots=3, slot_dim=4)
    >>> traversal(network, torch.randn(3, 4), slot=0, dims=[1], values=torch.zeros(1, 5), size=(8, 8)).shape
    torch.Size([1, 5, 3, 128, 128])
    """
    factor = max(1, _TILE // max(size))
    frames = to_uint8(sweep(network, slots, slot, dims, values, size)).cpu()
    return frames.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def animation(frames: UInt8[Tensor, "slots dims steps 3 h w"]) -> UInt8[Tensor, "frames 3 height width"]:
    """Arrange traversals, with a row for each slot and a column for each dimension, and play them forward and backward.

    Returns:
        The frames, 0 to 255.

    >>> len(animation(torch.zeros(3, 2, 5, 3, 8, 8, dtype=torch.uint8)))
    8
    """
    steps = frames.shape[2]
    there_and_back = [*range(steps), *range(steps - 2, 0, -1)]
    return torch.stack([grid(frames[:, :, step].flatten(0, 1), frames.shape[1]) for step in there_and_back])


def traversal_figure(frames: UInt8[Tensor, "slots dims steps 3 h w"], dims: Sequence[int]) -> Figure:
    """Draw traversals, a row for each slot and dimension and a column for each value.

    Returns:
        The figure.

    >>> figure = traversal_figure(torch.zeros(2, 1, 5, 3, 8, 8, dtype=torch.uint8), dims=[3])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['slot 1, $z_{3}$', 'slot 2, $z_{3}$']
    """
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
    """Write a looping animation as ``NAME.gif``, and return its path.

    Raises:
        DataError: if it cannot be written.

    >>> import tempfile
    >>> write_gif(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), Path(tempfile.mkdtemp()), "sweep").name
    'sweep.gif'
    """
    first, *others = (Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()) for frame in frames)
    content, path = io.BytesIO(), out / f"{name}.gif"
    first.save(content, format="GIF", save_all=True, append_images=others, duration=_MILLISECONDS, loop=0)
    with atomic(path) as stream:
        stream.write(content.getvalue())
    return path
