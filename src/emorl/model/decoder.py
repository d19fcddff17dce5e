"""Decoders: from a slot to its color and mask logit at each pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from emorl.model.position import PositionCode, PositionEmbedding, RampPosition
from emorl.model.recording import jit_traced
from emorl.ranges import counts


class Components(NamedTuple):
    """The K components of an image.

    >>> components = Components(torch.ones(2, 4, 3, 8, 8), torch.full((2, 4, 1, 8, 8), 0.25).log())
    >>> components.reconstruction.shape, components.reconstruction.unique()
    (torch.Size([2, 3, 8, 8]), tensor([1.]))
    """

    rgb: Float[Tensor, "batch slots 3 h w"]  # x_k in [0, 1]; unbounded for IODINE
    log_masks: Float[Tensor, "batch slots 1 h w"]  # log m_k; the masks of a pixel sum to one

    @property
    def masks(self) -> Float[Tensor, "batch slots 1 h w"]:
        """The masks m_k, in [0, 1]."""
        return self.log_masks.exp()

    @property
    def reconstruction(self) -> Float[Tensor, "batch 3 h w"]:
        """The mean image sum_k m_k x_k."""
        return (self.masks * self.rgb).sum(dim=1)


class Decoder(nn.Module, ABC):
    """Renders any number of slots, each independently of the others.

    >>> isinstance(SmallDecoder(slot_dim=8), Decoder)
    True
    """

    @abstractmethod
    def forward(self, slots: Float[Tensor, "batch slots dim"], size: tuple[int, int]) -> Components:
        """Decode each slot at ``size`` = (height, width) in pixels."""

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the grid that decodes to at least ``height`` x ``width``; by default any size is valid.

        Raises:
            ValueError: if this decoder cannot render the size.
        """
        return height, width


class BroadcastDecoder(Decoder):
    """Spatial broadcast: tile the slot over a grid, add a position embedding, convolve to 4 channels.

    Args:
        slot_dim: dimensions of a slot, D.
        position: builds the position code.

    >>> class Linear(BroadcastDecoder):
    ...     def build(self, slot_dim):
    ...         return nn.Sequential(nn.Conv2d(slot_dim, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    >>> Linear(slot_dim=16)(torch.rand(2, 4, 16), (35, 35)).masks.shape
    torch.Size([2, 4, 1, 35, 35])
    """

    def __init__(self, slot_dim: int, position: Callable[[], PositionCode] = RampPosition) -> None:
        super().__init__()
        self.position = PositionEmbedding(slot_dim, position)
        self.layers = self.build(slot_dim)

    @abstractmethod
    def build(self, slot_dim: int) -> nn.Sequential:
        """Return the layers from the grid to color (3 channels) and mask logit (1 channel)."""

    def forward(self, slots: Float[Tensor, "batch slots dim"], size: tuple[int, int]) -> Components:
        """Decode each slot at ``size`` = (height, width) in pixels."""
        batch, num_slots, dim = slots.shape
        positions = self.position(*self.grid(*size)).permute(2, 0, 1)  # (D, h, w)
        canvas = self.first(slots.reshape(batch * num_slots, dim), positions.unsqueeze(0))  # (B K, C, h', w')
        output = self.layers[2:](canvas.contiguous(memory_format=torch.channels_last))
        output = output.to(torch.promote_types(output.dtype, torch.float32)).unflatten(0, (batch, num_slots))
        output = output[..., : size[0], : size[1]]
        color, logits = output.split((3, 1), dim=2)
        return Components(color.sigmoid(), logits.log_softmax(dim=1))

    def first(self, slots: Float[Tensor, "n dim"], positions: Float[Tensor, "1 dim h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Apply the first layer and its activation to the slots tiled over the grid plus the position embedding."""
        return self.layers[:2](slots[:, :, None, None] + positions)  # type: ignore[no-any-return]


class ConvolutionalDecoder(BroadcastDecoder):
    """A broadcast decoder whose first layer is a convolution of stride 1, computed without convolving tiled slots.

    conv(tile(z) + P) = conv(tile(z)) + conv(P). conv(P) is the same for all slots. conv(tile(z)) is the same vector
    everywhere except within ``padding`` pixels of the border, so a canvas of the kernel's size contains all its values.
    """

    def first(self, slots: Float[Tensor, "n dim"], positions: Float[Tensor, "1 dim h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Apply the first layer and its activation without convolving K tiled slots."""
        layer = cast(nn.Conv2d, self.layers[0])
        border = int(layer.padding[0])
        placed = layer(positions).permute(0, 2, 3, 1)  # (1, h', w', C), with the bias
        tiny = slots[:, :, None, None].expand(-1, -1, *layer.kernel_size)
        constant = F.conv2d(tiny, layer.weight, padding=border).flatten(2).mT  # (n, regions, C)
        height, width, channels = placed.shape[1:]
        rows, columns = (kinds(n, border, border, constant.device) for n in (height, width))
        regions = one_hot((rows[:, None] * (2 * border + 1) + columns).flatten(), constant.shape[1]).to(constant.dtype)
        canvas = place(placed.reshape(-1, channels), regions, constant)
        canvas = self.layers[1](canvas)
        return cast(Tensor, canvas).view(-1, height, width, channels).permute(0, 3, 1, 2)


def place(
    placed: Float[Tensor, "pixels c"], regions: Float[Tensor, "pixels regions"], constant: Float[Tensor, "n regions c"]
) -> Float[Tensor, "n pixels c"]:
    """Return placed + regions @ constant for each slot."""
    if jit_traced():  # tracing cannot save a Python function
        return _placed(placed, regions, constant)
    return _Place.apply(placed, regions, constant)  # type: ignore[no-any-return, no-untyped-call]


def _placed(placed: Tensor, regions: Tensor, constant: Tensor) -> Tensor:
    slots = constant.shape[0]
    return torch.baddbmm(placed.expand(slots, -1, -1), regions.expand(slots, -1, -1), constant)


class _Place(torch.autograd.Function):
    """placed + regions @ constant for each slot.

    The gradients, which are sums over slots and pixels, are computed as matrix products, several times faster than
    those of broadcasting.
    """

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(placed: Tensor, regions: Tensor, constant: Tensor) -> Tensor:
        return _placed(placed, regions, constant)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], _: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor]:
        (regions,) = ctx.saved_tensors
        over_slots = gradient.new_ones(1, gradient.shape[0]) @ gradient.reshape(gradient.shape[0], -1)
        return over_slots.view(gradient.shape[1:]), None, regions.mT @ gradient


def kinds(size: int, before: int, after: int, device: torch.device) -> Int[Tensor, " size"]:
    """Number the kinds of rows (or columns) of a constant canvas, by what a convolution gives there.

    Each of the first ``before`` and of the last ``after`` is a separate kind; all others are one kind.
    """
    row = torch.arange(size, device=device)
    return row.clamp(max=before) + (row - (size - 1 - after)).clamp(min=0)


def one_hot(index: Int[Tensor, " n"], classes: int) -> Bool[Tensor, "n classes"]:
    """Mark each index's class. ``F.one_hot`` reads all values to check them, for which the host may have to wait."""
    return index[:, None] == torch.arange(classes, device=index.device)


def _interleave(layers: list[nn.Module], activation: type[nn.ReLU | nn.ELU]) -> nn.Sequential:
    """Put an activation between layers. It works in place, which halves the memory that an ELU stores for backward."""
    *hidden, last = layers
    return nn.Sequential(*(part for layer in hidden for part in (layer, activation(inplace=True))), last)


class SmallDecoder(ConvolutionalDecoder):
    """Three 5x5 convolutions of 32 channels and one of 3x3, on a grid with 6 extra pixels: for Tetrominoes.

    Args:
        slot_dim: dimensions of a slot, D.
        position: builds the position code.
        stride: pixels from one position of the grid to the next. Above 1 the last convolution outputs all pixels of a
            position (sub-pixel convolution, Shi et al., CVPR 2016).

    >>> SmallDecoder(slot_dim=16, stride=2)(torch.rand(2, 4, 16), (35, 35)).masks.shape
    torch.Size([2, 4, 1, 35, 35])
    """

    def __init__(self, slot_dim: int, position: Callable[[], PositionCode] = RampPosition, stride: int = 1) -> None:
        counts(1, stride=stride)
        self.stride = stride
        super().__init__(slot_dim, position)

    def build(self, slot_dim: int) -> nn.Sequential:
        """Return the convolutions."""
        channels = [slot_dim, 32, 32, 32]
        hidden = [nn.Conv2d(a, b, 5, padding=1) for a, b in pairwise(channels)]
        last = nn.Conv2d(32, 4 * self.stride**2, 3, padding=1)
        return _interleave([*hidden, last], nn.ReLU).append(nn.PixelShuffle(self.stride))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the grid's size; any image size is valid, because the output is cropped."""
        return -(-height // self.stride) + 6, -(-width // self.stride) + 6


class IodineDecoder(ConvolutionalDecoder):
    """Five unpadded 3x3 convolutions of 64 channels on a grid with 10 extra pixels (IODINE's decoder).

    Args:
        slot_dim: dimensions of a slot, D.
        position: builds the position code.

    >>> IodineDecoder(slot_dim=16)(torch.rand(2, 4, 16), (35, 35)).masks.shape
    torch.Size([2, 4, 1, 35, 35])
    """

    def build(self, slot_dim: int) -> nn.Sequential:
        """Return the convolutions."""
        channels = [slot_dim, 64, 64, 64, 64]
        hidden = [nn.Conv2d(a, b, 3) for a, b in pairwise(channels)]
        return _interleave([*hidden, nn.Conv2d(64, 4, 3)], nn.ELU)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the grid's size; any image size is valid."""
        return height + 10, width + 10


class BigDecoder(BroadcastDecoder):
    """Transposed convolutions from a grid 16 times smaller (Slot Attention's decoder).

    The authors' decoder renders 96x96 pixels, from a 6x6 grid; this one renders any multiples of 16.

    Args:
        slot_dim: dimensions of a slot, D.
        position: builds the position code.

    >>> BigDecoder(slot_dim=16)(torch.rand(2, 4, 16), (32, 48)).masks.shape
    torch.Size([2, 4, 1, 32, 48])
    """

    def build(self, slot_dim: int) -> nn.Sequential:
        """Return the transposed convolutions."""
        doubling = [
            nn.ConvTranspose2d(dim, 64, 5, stride=2, padding=2, output_padding=1) for dim in (slot_dim, 64, 64, 64)
        ]
        flat = [nn.ConvTranspose2d(64, 64, 5, padding=2), nn.ConvTranspose2d(64, 4, 3, padding=1)]
        return _interleave([*doubling, *flat], nn.ReLU)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the grid's size.

        Raises:
            ValueError: if a side is not a multiple of 16.
        """
        if height % 16 or width % 16:
            raise ValueError(
                f"Expected an image whose sides are multiples of 16, got {height}x{width}: resize the images, "
                "or choose SmallDecoder or IodineDecoder, which take any size."
            )
        return height // 16, width // 16
