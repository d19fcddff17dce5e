"""Tables and figure of the scores of runs with different configurations and seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from emorl.evaluation.outputs import scale_of
from emorl.figures import Figure, color
from emorl.results import LABELS, needs_truth, stage_label

SUMMARY = ("fg_ari", "ari", "fg_miou", "mse", "kl")


class Scored(NamedTuple):
    """A run, and its scores as in the ``metrics.json`` of ``emorl test``; empty if it is not finished.

    >>> Scored("full", 0, {"I=0": {"mse": {"mean": 0.5}}}).mean("I=0", "mse")
    0.5
    """

    case: str
    seed: int
    stages: dict[str, dict[str, dict[str, float | None]]]  # by ``I=..``, then by name: mean, standard error, images
    failed: bool = False  # whether the run ended with an error

    def mean(self, stage: str, score: str) -> float | None:
        """Return a score's mean, or None if it is unknown."""
        return self.stages.get(stage, {}).get(score, {}).get("mean")


def score_rows(runs: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return a row for every score of every run.

    >>> score_rows([Scored("full", 0, {"I=0": {"mse": {"mean": 0.5}}})])
    [{'case': 'full', 'seed': 0, 'I': '0', 'score': 'mse', 'mean': 0.5}]
    """
    return [
        {"case": run.case, "seed": run.seed, "I": stage.removeprefix("I="), "score": name, **summary}
        for run in runs
        for stage, scores in run.stages.items()
        for name, summary in scores.items()
    ]


def summary_rows(runs: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return a row for each case and I: mean ``NAME`` and standard deviation ``NAME_sd`` of scores over finished runs.

    Scores that need ground truth have a column only if a finished run has them.

    >>> runs = [Scored("full", seed, {"I=0": {"mse": {"mean": mse}}}) for seed, mse in enumerate((1.0, 3.0))]
    >>> row = summary_rows(runs)[0]
    >>> row["runs"], row["mse"], round(row["mse_sd"], 3)
    (2, 2.0, 1.414)
    """
    rows = []
    known = known_scores(runs, SUMMARY)
    for case, group in _by_case(runs).items():
        failed = " ".join(str(run.seed) for run in group if run.failed)
        for stage in _stages(group) or [""]:
            finished = [run for run in group if stage in run.stages]
            row = {"case": case, "I": stage.removeprefix("I="), "runs": len(finished), "failed seeds": failed}
            for score in known:
                values = [value for run in finished if (value := run.mean(stage, score)) is not None]
                whole = 0 < len(values) == len(finished)  # a mean over a part of the runs would be biased
                row[score] = statistics.fmean(values) if whole else None
                row[f"{score}_sd"] = statistics.stdev(values) if whole and len(values) > 1 else None
            rows.append(row)
    return rows


def seeds_figure(runs: Sequence[Scored]) -> Figure:
    """Draw FG-ARI, if any run has it, and MSE of every run by case, with one marker for each I.

    Returns:
        The figure.

    >>> len(seeds_figure([Scored("full", 0, {"I=0": {"mse": {"mean": 0.5}}})]).axes)
    1
    """
    cases = list(_by_case(runs))
    figure = Figure(figsize=(9, 1.2 + 0.3 * len(cases)), layout="constrained")
    scores = known_scores(runs, ("fg_ari", "mse"))
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axes, score in zip(panels, scores, strict=True):
        for number, stage in enumerate(_stages(runs)):
            known = [run for run in runs if run.mean(stage, score) is not None]
            places = [cases.index(run.case) + 0.15 * number for run in known]
            values, label = [run.mean(stage, score) for run in known], stage_label(stage)
            axes.plot(values, places, "o", color=color(number), ms=4, label=label)
        if score == "mse":
            axes.set_xscale(scale_of(x for line in axes.lines for x in np.asarray(line.get_xdata())))
        if axes.get_xscale() == "linear":
            axes.locator_params(axis="x", nbins=5)
        axes.set(xlabel=LABELS[score], yticks=range(len(cases)), yticklabels=cases, ylim=(len(cases) - 0.5, -0.5))
        axes.grid(alpha=0.3)
    if _stages(runs):
        panels[0].legend()
    return figure


def known_scores(runs: Sequence[Scored], names: Sequence[str]) -> list[str]:
    """Return the names of scores, without those that need ground truth if no finished run has them.

    >>> known_scores([Scored("full", 0, {"I=0": {"mse": {"mean": 0.5}}})], ["fg_ari", "mse"])
    ['mse']
    """
    found = {name for run in runs for scores in run.stages.values() for name in scores}
    return [name for name in names if name in found or not found or not needs_truth(name)]


def _by_case(runs: Sequence[Scored]) -> dict[str, list[Scored]]:
    found: dict[str, list[Scored]] = {}
    for run in runs:
        found.setdefault(run.case, []).append(run)
    return found


def _stages(runs: Sequence[Scored]) -> list[str]:
    return sorted({stage for run in runs for stage in run.stages}, key=lambda stage: int(stage.removeprefix("I=")))
