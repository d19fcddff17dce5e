"""Two ways to show progress: bars in a terminal, now and then a line in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

REFRESH = 0.2  # seconds between two pictures of the bars


class Bars:
    """Bars in a terminal, with a line of facts under them; what others print appears above."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.progress = _BarsAndFacts(*columns, console=Console(), auto_refresh=False)  # no thread: workers fork
        self.tasks: dict[str, TaskID] = {}
        self.shown = 0.0
        self.progress.start()

    def is_due(self, done: int, total: float | int) -> bool:
        """Tell whether there should be another picture."""
        return done == total or time.monotonic() - self.shown > REFRESH

    def show(self, stage: str, done: int, total: int | None, facts: str) -> None:
        """Show training, and the stage that is under way."""
        self.shown = time.monotonic()
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(stage, completed=done, total=total)
        for name, task in self.tasks.items():
            self.progress.update(task, visible=name in ("training", stage))
        self.progress.update(self.tasks[stage], completed=done, total=total)
        self.progress.facts = facts or self.progress.facts
        self.progress.refresh()

    def close(self) -> None:
        """Leave the last picture."""
        self.progress.stop()


class Lines:
    """A line every few minutes.

    Args:
        minutes: between two lines.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self.shown = time.monotonic()

    def is_due(self, done: int, total: float | int) -> bool:
        """Tell whether there should be another line."""
        return time.monotonic() - self.shown > 60 * self.minutes

    def show(self, stage: str, done: int, total: int | None, facts: str) -> None:
        """Print a line."""
        self.shown = time.monotonic()
        place = f"{stage}: {done:,}" if total is None else f"{stage}: {done:,} of {total:,}"
        print(", ".join(part for part in (place, facts) if part), flush=True)

    def close(self) -> None:
        """Nothing is left open."""


class _BarsAndFacts(Progress):
    facts = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.facts:
            yield Text(self.facts, style="dim")


def is_terminal() -> bool:
    """Tell whether lines that are drawn over would be seen as such."""
    return sys.stdout.isatty() and not Console().is_dumb_terminal
