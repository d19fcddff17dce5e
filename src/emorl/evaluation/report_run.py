"""What a training run leaves beside its checkpoints."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from emorl.evaluation.report_figures import Curve


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


def read_run(checkpoint: Path) -> Run:
    """Read the record of the run that wrote a checkpoint, RUN/checkpoints/NAME.ckpt."""
    checkpoint = checkpoint.absolute()
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
    history: dict[str, Curve] = {}
    with metrics.open(newline="") as file:
        whole = [line for line in file if line.endswith("\n")]
    for row in csv.DictReader(whole):
        values = {name: value for name, value in row.items() if value and name not in ("step", "epoch")}
        step = int(row["step"])
        for name, curve in history.items():
            while curve and curve[-1][0] >= step + (name not in values):
                curve.pop()
        for name, value in values.items():
            history.setdefault(name, []).append((step, float(value)))
    return {name: curve for name, curve in history.items() if curve}
