"""Minutes of training in which shipped weights first reached a validation FG-ARI, as their cards record."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from emorl import list_pretrained
from emorl.history import history, trainings
from emorl.stored import load_card

LEVELS = 0.8, 0.9, 0.95, 0.98
SCORES = {"val/zero_step/fg_ari": "I = 0", "val/fg_ari": "the I of training"}


def minutes_to() -> list[dict[str, Any]]:
    """Return the minutes to each level, for all shipped weights and both I; earlier trainings of a chain count too."""
    rows = []
    for name in (listed.name for listed in list_pretrained()):
        for score, steps in SCORES.items():
            if curve := _curve(load_card(name), score):
                reached = {
                    level: next((minutes for minutes, value in curve if value >= level), None) for level in LEVELS
                }
                machine = load_card(name)["versions"]["machine"]
                rows.append({"weights": name, "steps": steps, "minutes": reached, "machine": machine})
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """Return a row for each of the weights and each I."""
    shown = Table(title="minutes of training to a validation FG-ARI, from the cards of shipped weights")
    for column in ("weights", "I", *map(str, LEVELS), "machine"):
        shown.add_column(column)
    for row in rows:
        minutes = ("-" if each is None else f"{each:.0f}" for each in row["minutes"].values())
        shown.add_row(row["weights"], row["steps"], *minutes, row["machine"])
    return shown


def _curve(card: dict[str, Any], score: str) -> list[tuple[float, float]]:
    """Return (minutes since the start of the first training, score), through the trainings that led to a card."""
    curve, before = [], 0.0
    for training in trainings(card):
        curves = history(training["history"].splitlines())
        minutes = dict(curves["time/minutes"])
        curve += [(before + minutes[step], value) for step, value in curves.get(score, []) if step in minutes]
        before += training["minutes"]
    return curve
