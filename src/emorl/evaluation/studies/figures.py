"""The figures that studies share: scores with their standard errors, and pictures with labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jaxtyping import UInt8
from matplotlib.figure import Figure
from torch import Tensor

from emorl.evaluation.outputs import DPI
from emorl.results import LABELS

Row = Mapping[str, object]

_TILE = 90  # pixels that a smaller tile is enlarged to at least, by a whole factor
_GAP = 2  # pixels between the tiles that emorl.viz lays out
_FONT = 6  # points
_LETTER = 0.6 * _FONT * DPI / 72  # pixels that a letter takes


def curves(
    lines: Mapping[str, Sequence[Row]], x: str, label: str, scores: Sequence[str], title: str, legend: str = ""
) -> Figure:
    """Draw scores against a number.

    Args:
        lines: rows with a column ``x`` and the columns of `emorl.evaluation.studies.scores.cells`, by name of the line.
        x: column of the horizontal axis.
        label: label of the horizontal axis.
        scores: the scores to draw, a panel each; those that the first line does not have are left out, and rows without
            a score have no point in its panel.
        title: title of the figure.
        legend: title of the legend, which is there if there are several lines.
    """
    scores = [score for score in scores if all(score in row for row in next(iter(lines.values())))]
    columns = min(len(scores), 3)
    rows = -(-len(scores) // columns)
    figure = Figure(figsize=(3.6 * columns, 0.5 + 2.8 * rows), layout="constrained")
    figure.suptitle(f"{title}:{' ' if columns > 1 else chr(10)}mean ± standard error over scenes")
    for place, score in enumerate(scores, start=1):
        axes = figure.add_subplot(rows, columns, place, xlabel=label, title=LABELS[score])
        for name, rows_ in lines.items():
            points = [row for row in rows_ if score in row]
            places, means, errors = ([number(row[column]) for row in points] for column in (x, score, f"{score}_se"))
            axes.errorbar(places, means, errors, marker="o", markersize=4, capsize=3, label=name)
        axes.set_xticks(sorted({number(row[x]) for points in lines.values() for row in points}))
        axes.grid(alpha=0.3)
    if len(lines) > 1:
        figure.axes[0].legend(title=legend)
    return figure


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


def number(value: object) -> float:
    """Return a cell as a number."""
    return float(str(value))
