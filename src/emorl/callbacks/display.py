"""Two displays of progress: bars in a terminal, or a line every few minutes in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

REFRESH = 0.2  # seconds between two updates of the bars


class Bars:
    """Progress bars in a terminal with a line of facts below them; other output appears above."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.progress = _BarsAndFacts(*columns, console=Console(), auto_refresh=False)  # no thread: workers fork
        self.tasks: dict[str, TaskID] = {}
        self.shown = 0.0
        self.progress.start()

    def is_due(self, done: int, total: float | int) -> bool:
        """Return whether an update is due."""
        return done == total or time.monotonic() - self.shown > REFRESH

    def show(self, stage: str, done: int, total: int | None, facts: str) -> None:
        """Show the bars of training and of the current stage."""
        self.shown = time.monotonic()
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(stage, completed=done, total=total)
        for name, task in self.tasks.items():
            self.progress.update(task, visible=name in ("training", stage))
        self.progress.update(self.tasks[stage], completed=done, total=total)
        self.progress.facts = facts or self.progress.facts
        self.progress.refresh()

    def close(self) -> None:
        """Stop updating; the last bars stay visible."""
        self.progress.stop()


class Lines:
    """A line of progress every few minutes.

    Args:
        minutes: minutes between two lines.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self.shown = time.monotonic()

    def is_due(self, done: int, total: float | int) -> bool:
        """Return whether a line is due."""
        return time.monotonic() - self.shown > 60 * self.minutes

    def show(self, stage: str, done: int, total: int | None, facts: str) -> None:
        """Print a line."""
        self.shown = time.monotonic()
        place = f"{stage}: {done:,}" if total is None else f"{stage}: {done:,} of {total:,}"
        print(", ".join(part for part in (place, facts) if part), flush=True)

    def close(self) -> None:
        """Do nothing: lines need no cleanup."""


class _BarsAndFacts(Progress):
    facts = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.facts:
            yield Text(self.facts, style="dim")


def is_terminal() -> bool:
    """Return whether the output is a terminal that can redraw lines."""
    return sys.stdout.isatty() and not Console().is_dumb_terminal
