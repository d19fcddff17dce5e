"""The record of a training run: its configuration, versions and logged values."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from os.path import expanduser
from pathlib import Path
from typing import NamedTuple, TypeVar

import yaml

from emorl.classes import ClassPaths, imported
from emorl.history import Curve, history, read_history, read_record
from emorl.stored import read_weights

_T = TypeVar("_T")


class Run(NamedTuple):
    """The record of a run; missing parts are empty.

    >>> Run("", {}, {"train/refinement_steps": [(0, 3.0), (10, 3.0), (20, 1.0)]}).switches
    [20]
    """

    config: str  # config.yaml
    versions: dict[str, str | None]  # versions.json
    history: dict[str, Curve]  # metrics.csv: the logged values by name

    @property
    def switches(self) -> list[int]:
        """The logged steps at which the number of refinement steps changed."""
        curve = self.history.get("train/refinement_steps", [])
        return [step for (_, before), (step, after) in pairwise(curve) if before != after]


def read_run(model: str, classes: ClassPaths = ()) -> Run:
    """Read the record of the run that trained a model: a checkpoint, RUN/checkpoints/NAME.ckpt, or weights with a card.

    Raises:
        DataError: if a file of the record is damaged, or as `emorl.stored.read_weights`.

    >>> "torch" in read_run("tetrominoes").versions
    True
    """
    card = read_weights(model, imported(classes)).card
    if card.keys() >= {"seed", "versions", "history"}:  # as shipped weights have it
        parts = ("trainer", "curriculum", "model", "data")
        settings = {"seed_everything": card["seed"], **{part: card[part] for part in parts if part in card}}
        return Run(yaml.safe_dump(settings, sort_keys=False), card["versions"], history(card["history"].splitlines()))
    checkpoint = Path(expanduser(model)).absolute()
    if checkpoint.parent.name != "checkpoints":
        return Run("", {}, {})
    folder = checkpoint.parent.parent
    return Run(
        _read(folder / "config.yaml", lambda path: path.read_text(encoding="utf-8"), ""),
        _read(folder / "versions.json", lambda path: json.loads(path.read_text(encoding="utf-8")), {}),
        _read(folder / "metrics.csv", read_history, {}),
    )


def _read(path: Path, read: Callable[[Path], _T], missing: _T) -> _T:
    return read_record(path, read) if path.exists() else missing
