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

    A row has only some of them, and the last one may be half written.
    """
    history: dict[str, Curve] = {}
    with metrics.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and row["step"] and name not in ("step", "epoch"):
                    history.setdefault(name, []).append((int(row["step"]), float(value)))
    return history
