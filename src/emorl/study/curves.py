"""Training curves of the runs of a study, against time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from emorl.evaluation.outputs import scale_of
from emorl.figures import CYCLE, Figure, color
from emorl.history import read_history
from emorl.results import LABELS

_SCORES = "fg_ari", "ari", "fg_miou", "mse"
_COLUMNS = 2
_MINUTES = "time/minutes"


def training_figure(runs: Mapping[str, Sequence[Path]]) -> Figure:
    """Draw FG-ARI, ARI, mIoU and MSE against minutes of training: a line for each run, a color for each case.

    Data without masks have MSE only. The scores are those at I = 0 if the model has slots there, and otherwise those
    after the last step.

    Args:
        runs: the ``metrics.csv`` of each case's runs; a run without the minutes of the callback `Clock` has no line.

    >>> len(training_figure({"full": []}).axes)
    4
    """
    histories = {case: [read_history(file) for file in files] for case, files in runs.items()}
    logged = {name.rpartition("/")[2] for curves in histories.values() for history in curves for name in history}
    shown = [score for score in _SCORES if score in logged] or _SCORES
    columns = min(len(shown), _COLUMNS)
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(4.5 * columns, 3.2 * rows), layout="constrained")
    for place, score in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set(xlabel="minutes of training", ylabel=f"{LABELS[score]}, validation")
        axes.grid(alpha=0.3)
        for number, (case, curves) in enumerate(histories.items()):
            style = ("-", "--", ":")[number // len(CYCLE) % 3]
            for history in curves:
                curve = history.get(f"val/zero_step/{score}", history.get(f"val/{score}"))
                if curve and _MINUTES in history:
                    steps, values = zip(*curve, strict=True)
                    known, minutes = zip(*history[_MINUTES], strict=True)
                    axes.plot(np.interp(steps, known, minutes), values, style, color=color(number), label=case)
        if score == "mse":
            axes.set_yscale(scale_of(value for line in axes.lines for value in np.asarray(line.get_ydata())))
        else:
            axes.set_ylim(-0.02, 1.02)
    first = figure.axes[0]
    cases = dict(zip(*first.get_legend_handles_labels()[::-1], strict=True))
    first.legend(cases.values(), cases.keys())
    return figure
