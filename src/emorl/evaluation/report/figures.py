"""The figures of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float64, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from emorl.evaluation.outputs import DPI

Curve = list[tuple[int, float]]  # (step, value)

_TILE = 90  # pixels that a smaller tile is enlarged to at least, by a whole factor
_GAP = 2  # pixels between the tiles that emorl.viz lays out
_FONT = 6  # points
_LETTER = 0.6 * _FONT * DPI / 72  # pixels that a letter takes
_CHART = (5.0, 3.2)  # inches
_BINS = 20  # from 0 to 1


def labelled(picture: UInt8[Tensor, "3 h w"], rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Name the rows and columns of a picture of `emorl.viz`, each of its pixels enlarged by the same whole factor.

    Args:
        picture: tiles as `emorl.viz.grid` lays them out.
        rows: labels, one a row of tiles; they may have several lines.
        columns: labels, one a column.
    """
    pitch = (picture.shape[-1] - _GAP) // len(columns), (picture.shape[-2] - _GAP) // len(rows)
    factor = math.ceil(_TILE / (min(pitch) - _GAP))
    height, width = (size * factor for size in picture.shape[-2:])
    left = round(_LETTER * (max(len(line) for row in rows for line in row.split("\n")) + 2))
    top = round(_LETTER * 4)
    figure = Figure(figsize=((left + width) / DPI, (top + height) / DPI))
    axes = figure.add_axes((left / (left + width), 0, width / (left + width), height / (top + height)))
    pixels = picture.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
    axes.imshow(pixels.permute(1, 2, 0).cpu().numpy(), interpolation="nearest", aspect="auto")
    axes.set_xticks([factor * (_GAP + pitch[0] * (column + 0.5)) for column in range(len(columns))], columns)
    axes.set_yticks([factor * (_GAP + pitch[1] * (row + 0.5)) for row in range(len(rows))], rows)
    axes.tick_params(length=0, labelsize=_FONT, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure


def distribution(values: Mapping[str, Float64[Tensor, " scenes"]], label: str) -> Figure:
    """Draw how a score, at most 1, is distributed over scenes.

    Args:
        values: the scores by name.
        label: name of the score.
    """
    figure, axes = _chart(label, "scenes")
    lowest = math.floor(_BINS * min(float(scores.min()) for scores in values.values()))
    edges = [number / _BINS for number in range(min(lowest, _BINS - 1), _BINS + 1)]
    for name, scores in values.items():
        axes.hist(scores.numpy(), edges, histtype="stepfilled", alpha=0.45, label=name)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def by_reading(rows: Sequence[Mapping[str, Any]], score: str, label: str) -> Figure:
    """Draw a score of each layer and step with its standard error.

    Args:
        rows: the table of `emorl.evaluation.studies.layers.Readings`.
        score: column of the score.
        label: name of the score.
    """
    figure, axes = _chart("", label)
    means, errors = ([row[column] for row in rows] for column in (score, f"{score}_se"))
    axes.errorbar([row["slots"] for row in rows], means, errors, marker="o", capsize=3)
    return figure


def curves(lines: Mapping[str, Curve], label: str, marks: Sequence[int], logarithmic: bool) -> Figure:
    """Draw values against optimiser steps.

    Args:
        lines: the curves by name.
        label: what is drawn.
        marks: steps to mark with a dotted line.
        logarithmic: the scale of the values.
    """
    figure, axes = _chart("optimiser step", label)
    for name, curve in lines.items():
        axes.plot(*zip(*curve, strict=True), label=name)
    for step in marks:
        axes.axvline(step, color="grey", linestyle=":", linewidth=1)
    if logarithmic:
        axes.set_yscale("log")
    axes.legend()
    return figure


def _chart(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_CHART, layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
