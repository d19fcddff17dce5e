"""Training curves of the runs of a study, against time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from emorl.evaluation.outputs import scale_of
from emorl.figures import CYCLE, Figure, color
from emorl.history import read_history, read_record
from emorl.results import LABELS

_SCORES = "fg_ari", "ari", "fg_miou", "mse"
_COLUMNS = 2
_MINUTES = "time/minutes"
_MARKERS = "", "o", "s"  # of cases beyond the number of colors
# Of seeds: solid, then dashes.
_STYLES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (4, 1.5)),
    (0, (1, 1)),
    (0, (6, 1, 1, 1)),
    (0, (8, 4)),
    (0, (3, 1, 1, 1, 1, 1)),
)


def training_figure(runs: Mapping[str, Mapping[int, Path]]) -> Figure:
    """Draw FG-ARI, ARI, mIoU and MSE against minutes of training: a color for each case, a line style for each seed.

    Data without masks have MSE only. The scores are those at I = 0 if the model has slots there, and otherwise those
    after the last step.

    Args:
        runs: the ``metrics.csv`` of each case's runs, by seed; a run without the minutes of the callback `Clock` has no
            line.

    Returns:
        The figure.

    Raises:
        DataError: if a file is damaged.

    >>> len(training_figure({"full": {}}).axes)
    4
    """
    histories = {
        case: {seed: read_record(file, read_history) for seed, file in files.items()} for case, files in runs.items()
    }
    logged = {name.rpartition("/")[2] for curves in histories.values() for each in curves.values() for name in each}
    shown = [score for score in _SCORES if score in logged] or _SCORES
    columns = min(len(shown), _COLUMNS)
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(4.5 * columns, 3.2 * rows), layout="constrained")
    for place, score in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set(xlabel="minutes of training", ylabel=f"{LABELS[score]}, validation")
        axes.grid(alpha=0.3)
        for number, (case, curves) in enumerate(histories.items()):
            marker = _MARKERS[number // len(CYCLE) % len(_MARKERS)]
            for seed, history in curves.items():
                curve = history.get(f"val/zero_step/{score}", history.get(f"val/{score}"))
                if curve and _MINUTES in history:
                    steps, values = zip(*curve, strict=True)
                    known, minutes = zip(*history[_MINUTES], strict=True)
                    axes.plot(
                        np.interp(steps, known, minutes),
                        values,
                        color=color(number),
                        linestyle=_STYLES[seed % len(_STYLES)],
                        marker=marker,
                        markevery=0.1,
                        label=case,
                    )
        if score == "mse":
            axes.set_yscale(scale_of(value for line in axes.lines for value in np.asarray(line.get_ydata())))
        else:
            axes.set_ylim(-0.02, 1.02)
    _legend(figure.axes[0], sorted({seed for case in runs.values() for seed in case}))
    return figure


def _legend(axes: Axes, seeds: Sequence[int]) -> None:
    """Name the colors and markers of cases, and, if there are several seeds, their line styles."""
    entries = {
        f"{line.get_label()}": Line2D([], [], color=line.get_color(), marker=line.get_marker()) for line in axes.lines
    }
    if len(seeds) > 1:
        entries |= {
            f"seed {seed}": Line2D([], [], color="black", linestyle=_STYLES[seed % len(_STYLES)]) for seed in seeds
        }
    axes.legend(entries.values(), entries.keys(), handlelength=3)
