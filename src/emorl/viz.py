"""Pictures of scenes: tensors in, 8-bit RGB tensors or PNG files out.

This module is independent of loggers and trainers: `decomposition`, `attention` and `sheet` return one labeled picture
as a tensor, which `save_png` writes.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from emorl.files import atomic, to_write
from emorl.palette import COLORS as COLORS
from emorl.renamed import former_attributes

__all__ = [
    "attention",
    "colorize",
    "decomposition",
    "enlarge",
    "gray",
    "grid",
    "outlined",
    "save_labels",
    "save_png",
    "sheet",
    "slot_names",
    "slot_tiles",
    "summary_tiles",
    "to_uint8",
]

if not TYPE_CHECKING:
    __getattr__ = former_attributes(__name__)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

TILE = 128  # smaller tiles are enlarged, by an integer factor, to at least this number of pixels
BACKGROUND = (32, 32, 32)
PAGE = 228  # gray of a sheet, on which white tiles show
_INK = (32, 32, 32)
_CHECKS, _CHECK = (112, 144), 8  # grays of the checkerboard behind components, and pixels of a square
_GAP, _SWATCH = 4, 5  # pixels between tiles, and of the bar of color under a slot's name
_FONT = 18, 9  # size of letters in pixels: the minimum, and the divisor of a tile's side
_OUTLINE = 2  # width of an outline in pixels
_LONGEST = 28  # maximum number of letters in a row's label
_LACKING = "\U0010ffff"  # a letter that no font contains


def to_uint8(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Round images in [0, 1] to 8 bits; values outside the range are clamped.

    Returns:
        Integers from 0 to 255.

    >>> to_uint8(torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.1])).tolist()
    [0, 0, 128, 255, 255]
    """
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8)


def colorize(labels: Integer[Tensor, "*batch height width"]) -> UInt8[Tensor, "*batch 3 height width"]:
    """Color a label map: label 0 in the dark `BACKGROUND`, labels 1, 2, ... in `COLORS`, which repeat.

    Args:
        labels: non-negative integer labels.

    Returns:
        The colors, 0 to 255.

    >>> colorize(torch.tensor([[0, 1, 2]]))[:, 0, 0].tolist()
    [32, 32, 32]
    """
    palette = torch.tensor((BACKGROUND, *COLORS), dtype=torch.uint8, device=labels.device)
    index = labels.long()
    index = torch.where(index == 0, 0, 1 + (index - 1) % len(COLORS))
    return palette[index].movedim(-1, -3)


def enlarge(images: Tensor) -> Tensor:
    """Repeat the pixels of images [.., H, W] by the smallest integer factor that makes H and W ``TILE`` or more.

    Returns:
        The larger images.

    >>> enlarge(torch.zeros(3, 35, 35)).shape, enlarge(torch.zeros(3, 240, 320)).shape
    (torch.Size([3, 140, 140]), torch.Size([3, 240, 320]))
    """
    factor = max(1, math.ceil(TILE / min(images.shape[-2:])))
    return images.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def outlined(
    image: UInt8[Tensor, "*batch 3 height width"], labels: Integer[Tensor, "*batch height width"], width: int = _OUTLINE
) -> UInt8[Tensor, "*batch 3 height width"]:
    """Draw the outline of each label's region over an image, inside the region and in the label's color.

    Args:
        image: images.
        labels: non-negative integer labels.
        width: width of the outline in pixels.

    Returns:
        The images with outlines.

    >>> labels = torch.ones(16, 16, dtype=torch.long)
    >>> labels[:, 8:] = 2
    >>> outlined(torch.zeros(3, 16, 16, dtype=torch.uint8), labels, width=1).any(dim=0)[0].nonzero().flatten().tolist()
    [7, 8]
    """
    both = torch.stack((labels.float(), -labels.float())).flatten(0, -3)[:, None]
    highest, lowest = max_pool2d(both, 2 * width + 1, stride=1, padding=width).view(2, *labels.shape)
    return torch.where((highest != -lowest).unsqueeze(-3), colorize(labels), image)


def grid(
    images: UInt8[Tensor, "n 3 height width"], columns: int, padding: int = 2, page: int = 255
) -> UInt8[Tensor, "3 grid_height grid_width"]:
    """Arrange images row by row, on white by default.

    Args:
        images: at least one image.
        columns: number of images in a row.
        padding: number of pixels between the images and around them.
        page: gray level between the images, from 0 (black) to 255 (white).

    Returns:
        One picture, 0 to 255.

    Raises:
        ValueError: if there is no image, or no column.

    >>> grid(torch.zeros(5, 3, 32, 32, dtype=torch.uint8), columns=3).shape
    torch.Size([3, 70, 104])
    """
    if len(images) == 0 or columns < 1:
        raise ValueError(
            f"Expected at least one image and one column, got {len(images)} images and {columns} columns."
            " Skip the picture of an empty batch."
        )
    rows = math.ceil(len(images) / columns)
    blanks = rows * columns - len(images)
    tiles = pad(images, (0, padding, 0, padding, 0, 0, 0, blanks), value=page)
    tiles = tiles.reshape(rows, columns, *tiles.shape[1:]).permute(2, 0, 3, 1, 4)
    return pad(tiles.flatten(3).flatten(1, 2), (padding, 0, padding, 0), value=page)


def sheet(
    tiles: UInt8[Tensor, "rows columns 3 height width"], columns: Sequence[str], rows: Sequence[str] = ()
) -> UInt8[Tensor, "3 sheet_height sheet_width"]:
    """Arrange tiles, enlarged by `enlarge`, on light gray, with names of columns and rows.

    A column named ``slot N`` has a bar in the color of label N, see `colorize`.

    Args:
        tiles: at least one row and one column.
        columns: names of the columns.
        rows: names of the rows, of one or several lines; the middle of a long line is omitted. By default no names.

    Returns:
        One picture, 0 to 255, for `save_png`.

    Raises:
        ValueError: if there are no tiles, or if the numbers of names differ from those of columns or rows.

    >>> sheet(torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8), columns=["image", "slot 1"]).dtype
    torch.uint8
    """
    if len(columns) != tiles.shape[1] or (rows and len(rows) != len(tiles)):
        got = f"{len(rows)} rows and {len(columns)} columns"
        raise ValueError(f"Expected names of {len(tiles)} rows and {tiles.shape[1]} columns, got {got}. Name each.")
    tiles = enlarge(tiles.cpu())
    size = max(_FONT[0], tiles.shape[-1] // _FONT[1])
    font = _font(size, "".join((*columns, *rows)))
    names = ["\n".join(_shortened(line, font) for line in row.split("\n")) for row in rows]
    left = max((math.ceil(font.getlength(line)) + 2 * _GAP for name in names for line in name.split("\n")), default=0)
    top = size + _SWATCH + 3 * _GAP
    page = pad(grid(tiles.flatten(0, 1), len(columns), _GAP, PAGE), (left, 0, top, 0), value=PAGE)
    picture = Image.fromarray(page.permute(1, 2, 0).contiguous().numpy())
    draw = ImageDraw.Draw(picture)
    height, width = (side + _GAP for side in tiles.shape[-2:])
    for place, name in enumerate(columns):
        x = left + _GAP + place * width
        draw.text((x + (width - _GAP) / 2, _GAP + size / 2), name, _INK, font, anchor="mm")
        if slot := re.fullmatch(r"slot (\d+)", name):
            color = COLORS[(int(slot[1]) - 1) % len(COLORS)]
            draw.rectangle((x, top - _SWATCH, x + width - _GAP - 1, top - 1), color)
    for place, name in enumerate(names):
        draw.text((_GAP, top + _GAP + (place + 0.5) * height), name, _INK, font, anchor="lm")
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def decomposition(
    image: Float[Tensor, "batch 3 height width"],
    reconstruction: Float[Tensor, "batch 3 height width"],
    masks: Float[Tensor, "batch slots 1 height width"],
    components: Float[Tensor, "batch slots 3 height width"],
    truth: Integer[Tensor, "batch height width"] | None = None,
    rows: Sequence[str] = (),
) -> UInt8[Tensor, "3 sheet_height sheet_width"]:
    """Draw a row for each scene: image, outlines of slots, reconstruction, masks, truth and each slot's component.

    In outlines and masks, each pixel belongs to the slot with the largest mask. Slots have colors 1 to K, never the
    background's, because it is unknown which slot represents the background. Components are drawn over a gray
    checkerboard, with the mask as opacity. See also `sheet`.

    Args:
        image: scenes in [0, 1].
        reconstruction: their reconstructions in [0, 1].
        masks: slot masks in [0, 1], summing to one over the slots.
        components: slot images in [0, 1].
        truth: true label maps, if known.
        rows: names of the scenes; by default no names.

    Returns:
        One picture, 0 to 255, for `save_png`.

    >>> import emorl
    >>> model, images = emorl.load_pretrained("tetrominoes"), torch.zeros(2, 3, 35, 35)
    >>> found = model.reconstruct(images)
    >>> decomposition(images, found.reconstruction, found.masks, found.rgb, rows=["first", "second"]).dtype
    torch.uint8
    """
    names, tiles = summary_tiles(image, reconstruction, masks, truth)
    slots = slot_tiles(masks, components)
    return sheet(torch.cat((tiles, slots), dim=1), [*names, *slot_names(masks.shape[1])], rows)


def slot_tiles(
    masks: Float[Tensor, "batch slots 1 height width"], components: Float[Tensor, "batch slots 3 height width"]
) -> UInt8[Tensor, "batch slots 3 tile_height tile_width"]:
    """Return each slot's component, enlarged and over a gray checkerboard; arguments as for `decomposition`.

    >>> slot_tiles(torch.ones(1, 2, 1, 64, 64) / 2, torch.rand(1, 2, 3, 64, 64)).shape
    torch.Size([1, 2, 3, 128, 128])
    """
    masks, components = enlarge(masks.float()), enlarge(components.float())
    return to_uint8(masks * components + (1 - masks) * _checkerboard(*masks.shape[-2:]).to(masks.device))


def summary_tiles(
    image: Float[Tensor, "batch 3 height width"],
    reconstruction: Float[Tensor, "batch 3 height width"],
    masks: Float[Tensor, "batch slots 1 height width"],
    truth: Integer[Tensor, "batch height width"] | None = None,
) -> tuple[list[str], UInt8[Tensor, "batch columns 3 tile_height tile_width"]]:
    """Return the tiles of a `decomposition` that show all slots together, enlarged, and their names; same arguments.

    >>> image = torch.rand(1, 3, 64, 64)
    >>> summary_tiles(image, reconstruction=image, masks=torch.ones(1, 2, 1, 64, 64) / 2)[0]
    ['image', 'outlines', 'reconstruction', 'masks']
    """
    labels = enlarge(masks.squeeze(2).argmax(1) + 1)
    tiles = {
        "image": enlarge(to_uint8(image)),
        "outlines": outlined(enlarge(to_uint8(image)), labels),
        "reconstruction": enlarge(to_uint8(reconstruction)),
        "masks": colorize(labels),
    }
    if truth is not None:
        tiles["truth"] = enlarge(colorize(truth))
    return list(tiles), torch.stack(list(tiles.values()), dim=1)


def attention(
    maps: Float[Tensor, "batch slots 1 height width"],
    rows: Sequence[str] = (),
    image: Float[Tensor, "batch 3 height width"] | None = None,
) -> UInt8[Tensor, "3 sheet_height sheet_width"]:
    """Draw a row for each scene and a gray tile for each slot: attention from black (0) to white (the map's maximum).

    Args:
        maps: non-negative attention; a map of zeros is black.
        rows: names of the scenes; by default no names.
        image: scenes in [0, 1] to draw before their attention; by default none.

    Returns:
        One picture, 0 to 255, for `save_png`.

    >>> attention(torch.rand(2, 4, 1, 35, 35), rows=["first", "second"]).dtype
    torch.uint8
    """
    tiles, names = gray(maps), slot_names(maps.shape[1])
    if image is not None:
        tiles, names = torch.cat((to_uint8(image)[:, None], tiles), dim=1), ["image", *names]
    return sheet(tiles, names, rows)


def gray(maps: Float[Tensor, "*batch 1 height width"], white: float | None = None) -> UInt8[Tensor, "*batch 3 _ _"]:
    """Draw maps from black (0) to white (the value ``white``, by default each map's maximum).

    Returns:
        The tiles, 0 to 255.

    >>> gray(torch.tensor([[[0.0, 1.0, 2.0]]]))[0].tolist()
    [[0, 128, 255]]
    """
    peak = maps.amax(dim=(-2, -1), keepdim=True) if white is None else torch.full_like(maps[..., :1, :1], white)
    tiles = to_uint8(maps / torch.where(peak > 0, peak, 1))
    return tiles.expand(*maps.shape[:-3], 3, *maps.shape[-2:])


def slot_names(slots: int) -> list[str]:
    """Return the names of slots in pictures, which count from 1, like labels.

    >>> slot_names(2)
    ['slot 1', 'slot 2']
    """
    return [f"slot {slot}" for slot in range(1, slots + 1)]


def save_png(image: UInt8[Tensor, "3 height width"], path: str | os.PathLike[str]) -> None:
    """Write a picture as PNG, atomically.

    Raises:
        DataError: if the file cannot be written.

    >>> import tempfile
    >>> save_png(torch.zeros(3, 35, 35, dtype=torch.uint8), path := Path(tempfile.mkdtemp(), "image.png"))
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    _save(Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy()), path)


def save_labels(labels: Integer[Tensor, "height width"], path: str | os.PathLike[str]) -> None:
    """Write a label map as a PNG with a palette: pixel values are the labels, drawn in the colors of `colorize`.

    Args:
        labels: labels from 0 to 255.
        path: the file.

    Raises:
        DataError: if it cannot be written.
        ValueError: if a label is below 0 or above 255.

    >>> import tempfile
    >>> save_labels(torch.tensor([[0, 1], [2, 3]]), path := Path(tempfile.mkdtemp(), "labels.png"))
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    stored = labels.to(torch.uint8)
    if not (labels == stored).all():
        raise ValueError(f"Expected labels from 0 to 255, got {labels.min()} to {labels.max()}.")
    pixels = stored.cpu().numpy()
    picture = Image.frombytes("P", pixels.shape[::-1], pixels.tobytes())
    picture.putpalette(colorize(torch.arange(256)[None]).movedim(0, -1).flatten().tolist())
    _save(picture, path)


def _save(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    with atomic(to_write(path)) as stream:
        picture.save(stream, format="PNG")


def _checkerboard(height: int, width: int) -> Float[Tensor, "height width"]:
    odd = (torch.arange(height)[:, None] // _CHECK + torch.arange(width) // _CHECK) % 2
    return torch.where(odd == 1, _CHECKS[1] / 255, _CHECKS[0] / 255)


def _font(size: int, text: str) -> Font:
    """Return Pillow's default font or, if it lacks a letter, matplotlib's DejaVu Sans, if matplotlib is installed."""
    font = ImageFont.load_default(size)
    spec = None if all(_drawable(letter, font) for letter in _composed(text)) else find_spec("matplotlib")
    places = (spec and spec.submodule_search_locations) or ()
    files = [file for place in places if (file := Path(place, "mpl-data/fonts/ttf/DejaVuSans.ttf")).is_file()]
    return ImageFont.truetype(files[0], size) if files else font


def _composed(text: str) -> str:
    """Return a text in which a letter and its accent are one character; in file names of some systems they are two."""
    return unicodedata.normalize("NFC", text)


def _drawable(letter: str, font: Font) -> bool:
    """Return whether a font contains a letter, instead of drawing a box for it."""
    if not letter.isprintable():
        return letter == "\n"
    return bytes(font.getmask(letter)) != bytes(font.getmask(_LACKING))


def _shortened(name: str, font: Font) -> str:
    """Return a name that can be drawn: letters that the font lacks are escaped, the middle of a long name omitted."""
    text = "".join(letter if _drawable(letter, font) else ascii(letter)[1:-1] for letter in _composed(name))
    half = (_LONGEST - 1) // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}…{text[-half:]}"
