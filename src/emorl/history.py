"""The curves of a training run: what its loggers were told, by name."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from math import isnan
from pathlib import Path

Curve = list[tuple[int, float]]  # (step, value)

_LOGGED = ("train/", "val/", "time/")  # by training


def read_history(metrics: Path) -> dict[str, Curve]:
    """Return the values of each column of a `CSVLogger`'s file, with their steps.

    A row has only some of them. A run that was resumed repeats steps: the later rows count. A last line that is not yet
    whole does not.
    """
    with metrics.open(newline="") as file:
        return history([line for line in file if line.endswith("\n")])


def history(lines: Iterable[str]) -> dict[str, Curve]:
    """Return the curves in the lines of a `CSVLogger`'s file, see `read_history`."""
    rows: dict[int, dict[str, float]] = {}
    for row in csv.DictReader(lines):
        read = {name: float(value) for name, value in row.items() if value and name.startswith(_LOGGED)}
        values = {name: value for name, value in read.items() if not isnan(value)}  # FG-ARI without masks, once logged
        step = int(row["step"] or 0)
        if not values:
            continue
        while rows and next(reversed(rows)) > step:
            rows.popitem()
        rows[step] = rows.get(step, {}) | values
    curves: dict[str, Curve] = {}
    for step, values in rows.items():
        for name, value in values.items():
            curves.setdefault(name, []).append((step, value))
    return curves
