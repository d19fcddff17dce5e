"""The figures of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from emorl.evaluation.outputs import scale_of
from emorl.figures import Figure
from emorl.history import Curve

_CHART = (5.0, 3.2)  # inches
_BINS = 20  # from 0 to 1


def distribution(values: Mapping[str, Float64[Tensor, " scenes"]], label: str) -> Figure:
    """Draw the distribution over scenes of a score of at most 1.

    Args:
        values: the scores by name.
        label: name of the score.

    >>> import torch
    >>> distribution({"I = 0": torch.tensor([0.5, 1.0], dtype=torch.float64)}, "FG-ARI").axes[0].get_xlabel()
    'FG-ARI'
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

    >>> by_reading([{"slots": "layer 1", "mse": 0.5, "mse_se": 0.1}], "mse", "MSE").axes[0].get_ylabel()
    'MSE'
    """
    figure, axes = _chart("", label)
    means, errors = ([row[column] for row in rows] for column in (score, f"{score}_se"))
    axes.errorbar([row["slots"].replace(" ", "\n") for row in rows], means, errors, marker="o", capsize=3)
    return figure


def training_curves(lines: Mapping[str, Curve], label: str, marks: Sequence[int], logarithmic: bool) -> Figure:
    """Draw values against optimizer steps.

    Args:
        lines: the curves by name.
        label: label of the vertical axis.
        marks: steps to mark with a dotted line.
        logarithmic: whether to use a logarithmic scale for values that span a decade or more.

    >>> training_curves({"loss": [(0, 1.0), (10, 0.01)]}, "loss", marks=[5], logarithmic=True).axes[0].get_yscale()
    'log'
    """
    figure, axes = _chart("optimizer step", label)
    for name, curve in lines.items():
        axes.plot(*zip(*curve, strict=True), label=name)
    for step in marks:
        axes.axvline(step, color="gray", linestyle=":", linewidth=1)
    if logarithmic:
        axes.set_yscale(scale_of(value for curve in lines.values() for _, value in curve))
    axes.legend()
    return figure


def _chart(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_CHART, layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
