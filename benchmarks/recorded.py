"""Minutes of training in which shipped weights first reached a validation FG-ARI, as their cards record."""

from __future__ import annotations

from math import inf
from typing import Any

from rich.table import Table

from emorl import list_pretrained
from emorl.history import history, trainings
from emorl.stored import load_card

LEVELS = 0.8, 0.9, 0.95, 0.98
SCORES = {"val/zero_step/fg_ari": "I = 0", "val/fg_ari": "the I of training"}


def minutes_to() -> list[dict[str, Any]]:
    """Return the minutes to each level, for all shipped weights and both I; earlier trainings of a chain count too.

    The machines are those of the trainings up to the highest level that was reached, in order.
    """
    rows = []
    for name in (listed.name for listed in list_pretrained()):
        for score, steps in SCORES.items():
            if curve := _curve(load_card(name), score):
                reached = {level: next((each[0] for each in curve if each[1] >= level), None) for level in LEVELS}
                last = max((minutes for minutes in reached.values() if minutes is not None), default=inf)
                machines = [*dict.fromkeys(machine for minutes, _, machine in curve if minutes <= last)]
                rows.append({"weights": name, "steps": steps, "minutes": reached, "machines": machines})
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """Return a row for each of the weights and each I."""
    shown = Table(title="minutes of training to a validation FG-ARI, from the cards of shipped weights")
    for column in ("weights", "I", *map(str, LEVELS), "machines"):
        shown.add_column(column)
    for row in rows:
        minutes = ("-" if each is None else f"{each:.0f}" for each in row["minutes"].values())
        shown.add_row(row["weights"], row["steps"], *minutes, "; then ".join(row["machines"]))
    return shown


def _curve(card: dict[str, Any], score: str) -> list[tuple[float, float, str]]:
    """Return (minutes since the first training began, score, machine), through the trainings that led to a card."""
    curve, before = [], 0.0
    for training in trainings(card):
        curves = history(training["history"].splitlines())
        minutes = dict(curves["time/minutes"])
        machine = training["versions"]["machine"]
        curve += [(before + minutes[step], value, machine) for step, value in curves.get(score, []) if step in minutes]
        before += training["minutes"]
    return curve
