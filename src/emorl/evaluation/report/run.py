"""What a training run leaves beside its checkpoints."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import NamedTuple

import yaml

from emorl import pretrained
from emorl.evaluation.report.figures import Curve

_LOGGED = ("train/", "val/", "time/")  # by training


class Run(NamedTuple):
    """The record of a run; what is not there is empty."""

    config: str  # config.yaml
    versions: dict[str, str | None]  # versions.json
    history: dict[str, Curve]  # metrics.csv: the logged values by name

    @property
    def switches(self) -> list[int]:
        """The first steps that were logged with another number of refinement steps than the one before."""
        curve = self.history.get("train/refinement_steps", [])
        return [step for (_, before), (step, after) in pairwise(curve) if before != after]


def read_run(model: str) -> Run:
    """Read the record of the run that made a model: a checkpoint, RUN/checkpoints/NAME.ckpt, or shipped weights."""
    if model in pretrained.names():
        card = pretrained.load_card(model)
        parts = ("trainer", "curriculum", "model", "data")
        settings = {"seed_everything": card["seed"], **{part: card[part] for part in parts if part in card}}
        return Run(yaml.safe_dump(settings, sort_keys=False), card["versions"], _history(card["history"].splitlines()))
    checkpoint = Path(model).absolute()
    if checkpoint.parent.name != "checkpoints":
        return Run("", {}, {})
    config, versions, metrics = (
        checkpoint.parent.parent / name for name in ("config.yaml", "versions.json", "metrics.csv")
    )
    return Run(
        config.read_text() if config.exists() else "",
        json.loads(versions.read_text()) if versions.exists() else {},
        read_history(metrics) if metrics.exists() else {},
    )


def read_history(metrics: Path) -> dict[str, Curve]:
    """Return the values of each column of a `CSVLogger`'s file, with their steps.

    A row has only some of them. A run that was resumed repeats steps: the later rows count. A last line that is not yet
    whole does not.
    """
    with metrics.open(newline="") as file:
        return _history([line for line in file if line.endswith("\n")])


def _history(lines: Iterable[str]) -> dict[str, Curve]:
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
    history: dict[str, Curve] = {}
    for step, values in rows.items():
        for name, value in values.items():
            history.setdefault(name, []).append((step, value))
    return history
