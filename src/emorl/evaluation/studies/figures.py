"""The common figure of studies: scores with their standard errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from emorl.figures import Figure
from emorl.results import LABELS

Row = Mapping[str, Any]


def curves(
    lines: Mapping[str, Sequence[Row]],
    x: str,
    label: str,
    scores: Sequence[str],
    title: str,
    legend: str = "",
    ordered: bool = True,
) -> Figure:
    """Draw scores against an integer variable.

    Args:
        lines: rows with a column ``x`` and the columns of `emorl.evaluation.studies.scores.cells`, by name of the line.
        x: column of the horizontal axis, with integers.
        label: label of the horizontal axis.
        scores: the scores to draw, one panel each; scores that the first line lacks are omitted, and rows without a
            score have no point in its panel.
        title: title of the figure.
        legend: title of the legend, which is shown if there are several lines.
        ordered: whether the variable is ordered; if not, points are not connected.

    Returns:
        A figure with a panel for each score.

    >>> rows = [{"I": 0, "mse": 0.5, "mse_se": 0.1}, {"I": 1, "mse": 0.4, "mse_se": 0.1}]
    >>> curves({"": rows}, "I", "steps I", ["mse"], "Refinement").axes[0].get_xlabel()
    'steps I'
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
            places, means, errors = ([float(row[column]) for row in points] for column in (x, score, f"{score}_se"))
            axes.errorbar(places, means, errors, fmt="o-" if ordered else "o", markersize=4, capsize=3, label=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    if len(lines) > 1:
        figure.axes[0].legend(title=legend)
    return figure
