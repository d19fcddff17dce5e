"""IODINE's decoder, whose layers have the size of the image."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.decoder import Components, Decoder, kinds, one_hot, place
from emorl.model.iodine.convolution import SameConv2d, same_convolution, same_padding
from emorl.model.iodine.coordinates import ramps
from emorl.model.position import PositionCode
from emorl.ranges import counts

CONSTANT = 5.0  # constant input channel of the authors' code


class Drawing(NamedTuple):
    """Colors and mask logits of each slot.

    >>> drawing = IodinePixelDecoder(slot_dim=8).draw(torch.rand(2, 4, 8), (35, 35))
    >>> drawing.logits.shape
    torch.Size([2, 4, 1, 35, 35])
    """

    colors: Float[Tensor, "batch slots 3 h w"]  # unbounded; the image is in [0, 1]
    logits: Float[Tensor, "batch slots 1 h w"]  # their softmax over slots gives the masks

    @property
    def components(self) -> Components:
        """Colors and log masks."""
        return Components(self.colors, self.logits.log_softmax(dim=1))


class IodinePixelDecoder(Decoder):
    """Tile the slot over the image, concatenate row and column, convolve to mask logit and color.

    Zero padding keeps the size, an ELU follows each layer but the last, and colors are unbounded. The defaults are
    those of the authors' code for sprites; its CLEVR6 decoder has 64 channels and a kernel of 3. (`IodineDecoder` is
    EfficientMORL's variant.)

    Args:
        slot_dim: dimensions of a slot, D.
        channels: channels of the hidden layers.
        kernel: side of the kernels in pixels.
        layers: number of hidden layers, 1 or more.
        constants: whether to concatenate a constant 5 to the slot, as in the authors' code.
        stride: pixels from one position of the canvas to the next; an extension, the authors' code has 1. Above 1 the
            last layer outputs all pixels of a position (sub-pixel convolution, Shi et al., CVPR 2016).
        position: builds the position code that is concatenated to the slot; an extension, the authors' code has row and
            column, each from -1 to 1.

    >>> decoder = IodinePixelDecoder(slot_dim=8)
    >>> decoder(torch.rand(2, 4, 8), (35, 35)).rgb.shape
    torch.Size([2, 4, 3, 35, 35])
    """

    def __init__(
        self,
        slot_dim: int,
        channels: int = 32,
        kernel: int = 5,
        layers: int = 4,
        constants: bool = False,
        stride: int = 1,
        position: Callable[[], PositionCode] | None = None,
    ) -> None:
        super().__init__()
        counts(1, channels=channels, kernel=kernel, layers=layers, stride=stride)
        self.constants = constants
        self.stride = stride
        self.position = None if position is None else position()
        places = 2 if self.position is None else self.position.channels
        first = SameConv2d(slot_dim + constants + places, channels, kernel)
        hidden = [SameConv2d(channels, channels, kernel) for _ in range(layers - 1)]
        self.layers = nn.ModuleList([first, *hidden, SameConv2d(channels, 4 * stride**2, kernel)])

    def forward(self, slots: Float[Tensor, "batch slots dim"], size: tuple[int, int]) -> Components:
        """Decode each slot at ``size`` = (height, width) in pixels."""
        return self.draw(slots, size).components

    def draw(self, slots: Float[Tensor, "batch slots dim"], size: tuple[int, int]) -> Drawing:
        """Return colors and mask logits of each slot at ``size`` = (height, width) in pixels."""
        canvas = self.first(slots.flatten(0, 1), self.grid(*size)).contiguous(memory_format=torch.channels_last)
        for layer in self.layers[1:]:
            canvas = layer(F.elu(canvas, inplace=True))
        pixels = F.pixel_shuffle(canvas.to(torch.promote_types(canvas.dtype, torch.float32)), self.stride)
        output = pixels[..., : size[0], : size[1]].reshape(*slots.shape[:2], 4, *size)
        logits, colors = torch.split(output, [1, 3], dim=2)
        return Drawing(colors, logits)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the canvas size; any image size is valid, because `draw` crops the output."""
        return ceil(height / self.stride), ceil(width / self.stride)

    def places(self, height: int, width: int, like: Tensor) -> Float[Tensor, "c h w"]:
        """Return the position code of the canvas, with the dtype and device of ``like``."""
        if self.position is None:
            return torch.stack(ramps(height, width, -1.0, 1.0, like))
        return self.position(height, width, like).permute(2, 0, 1)  # type: ignore[no-any-return]

    def first(self, slots: Float[Tensor, "n dim"], size: tuple[int, int]) -> Float[Tensor, "n c h w"]:
        """Apply the first layer without convolving the tiled slots.

        The layer is the sum of two convolutions. That of the coordinates is the same for all slots. That of the tiled
        slot varies only near the edges, so a canvas as large as the kernel contains all its values.
        """
        layer = cast(SameConv2d, self.layers[0])
        if self.constants:
            slots = F.pad(slots, (0, 1), value=CONSTANT)
        of_slots, of_places = layer.weight.tensor_split([slots.shape[1]], dim=1)
        places = self.places(*size, like=slots).unsqueeze(0)
        placed = same_convolution(places, of_places, layer.bias).permute(0, 2, 3, 1)  # (1, H, W, C)
        rows, columns = (_kinds(n, layer.kernel_size[0], slots.device) for n in size)
        seen = [min(n, layer.kernel_size[0]) for n in size]
        tiny = slots[:, :, None, None].expand(-1, -1, *seen)
        constant = same_convolution(tiny, of_slots).flatten(2).mT  # (n, regions, C)
        regions = one_hot((rows[:, None] * seen[1] + columns).flatten(), constant.shape[1]).to(constant.dtype)
        canvas = place(placed.flatten(0, 2), regions, constant)
        return canvas.view(-1, *size, canvas.shape[-1]).permute(0, 3, 1, 2)


def _kinds(size: int, kernel: int, device: torch.device) -> Tensor:
    """Number the kinds of rows (or columns); a canvas of min(size, kernel) rows has each kind once."""
    if size <= kernel:
        return torch.arange(size, device=device)
    return kinds(size, *same_padding(size, kernel, stride=1), device)
