"""How training went, against the time it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from emorl.evaluation.outputs import scale_of
from emorl.history import read_history
from emorl.results import LABELS

_SCORES = "fg_ari", "mse"
_MINUTES = "time/minutes"


def training_figure(runs: Mapping[str, Sequence[Path]]) -> Figure:
    """Draw FG-ARI, if any run has it, and MSE against minutes of training: a line for each run, a color for each case.

    They are those at I = 0 of a model that has slots there, and else those of its last step.

    Args:
        runs: the ``metrics.csv`` of each case's runs; one without the minutes of the callback `Clock` has no line.
    """
    histories = {case: [read_history(file) for file in files] for case, files in runs.items()}
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    logged = {name.rpartition("/")[2] for curves in histories.values() for history in curves for name in history}
    shown = [score for score in _SCORES if score in logged or "mse" not in logged]  # without masks MSE alone
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for score, axes in zip(shown, panels, strict=True):
        axes.set(xlabel="minutes of training", ylabel=f"{LABELS[score]}, validation")
        axes.grid(alpha=0.3)
        for number, (case, curves) in enumerate(histories.items()):
            style = "-" if number < 10 else "--"  # matplotlib has ten colors
            for history in curves:
                curve = history.get(f"val/zero_step/{score}", history.get(f"val/{score}"))
                if curve and _MINUTES in history:
                    steps, values = zip(*curve, strict=True)
                    known, minutes = zip(*history[_MINUTES], strict=True)
                    axes.plot(np.interp(steps, known, minutes), values, style, color=f"C{number}", label=case)
        if score == "fg_ari":
            axes.set_ylim(-0.02, 1.02)
        else:
            axes.set_yscale(scale_of(value for line in axes.lines for value in np.asarray(line.get_ydata())))
    cases = dict(zip(*panels[0].get_legend_handles_labels()[::-1], strict=True))
    panels[0].legend(cases.values(), cases.keys())
    return figure
