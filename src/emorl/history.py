"""The records of training: logged values by name, and the trainings that led to weights."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from math import isnan
from pathlib import Path
from typing import Any, TypeVar

from emorl.errors import DataError, reason

Curve = list[tuple[int, float]]  # (step, value)

_LOGGED = ("train/", "val/", "time/")  # prefixes of values that training logs
_T = TypeVar("_T")


def read_record(path: Path, read: Callable[[Path], _T]) -> _T:
    """Return what a function reads from a file of a run's record.

    Raises:
        DataError: if the file is damaged.

    >>> read_record(Path("metrics.csv"), lambda path: path.suffix)
    '.csv'
    """
    try:
        return read(path)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        got, remedy = f"{type(error).__name__}: {reason(error)}", "restore it, or move it away to leave it out"
        raise DataError.of(path, expected="the record of a run in UTF-8", got=got, remedy=remedy) from error


def read_history(metrics: Path) -> dict[str, Curve]:
    """Return the values of each column of a `CSVLogger`'s file, with their steps.

    A row contains only some of the columns. In a resumed run, later rows replace earlier ones of the same or later
    steps. An incomplete last line is ignored.
    """
    with metrics.open(newline="") as file:
        return history([line for line in file if line.endswith("\n")])


def history(lines: Iterable[str]) -> dict[str, Curve]:
    """Return the curves in the lines of a `CSVLogger`'s file, see `read_history`."""
    rows: dict[int, dict[str, float]] = {}
    for row in csv.DictReader(lines):
        read = {name: float(value) for name, value in row.items() if value and name.startswith(_LOGGED)}
        values = {name: value for name, value in read.items() if not isnan(value)}  # as old files have it
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


def trainings(card: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the record of every training that led to a card's weights, in order."""
    if isinstance(card["started_from"], dict):
        yield from trainings(card["started_from"])
    yield card
