"""What a study leaves behind: tables as CSV and Markdown, figures as PNG, each file whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from emorl.files import atomic

DPI = 150  # of a figure: pixels per inch of its `figsize`


def write_table(rows: Sequence[Mapping[str, object]], out: Path, name: str) -> tuple[Path, Path]:
    """Write a table as ``NAME.csv``, numbers in full, and as ``NAME.md``, floats with four significant digits.

    The columns are the keys of the rows, in the order in which they come up; a cell that a row lacks, or that is None,
    stays empty.

    Args:
        rows: the rows, by column.
        out: folder; it is made if need be.
        name: name of the files.

    Returns:
        The paths of the two files, to print.

    Raises:
        DataError: if a file cannot be written.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    paths = out / f"{name}.csv", out / f"{name}.md"
    for path, text in zip(paths, (to_csv(rows, columns), _markdown(rows, columns)), strict=True):
        with atomic(path) as stream:
            stream.write(text.encode())
    return paths


def write_figure(figure: Figure, out: Path, name: str) -> Path:
    """Write a figure as ``NAME.png``.

    Args:
        figure: the figure, built as ``Figure(figsize=..., layout="constrained")``, without pyplot.
        out: folder; it is made if need be.
        name: name of the file.

    Returns:
        The path of the file, to print.

    Raises:
        DataError: if the file cannot be written.
    """
    path = out / f"{name}.png"
    with atomic(path) as stream:
        figure.savefig(stream, format="png", dpi=DPI)
    return path


def cell(value: object) -> str:
    """Return a value as text for people: a float with four significant digits, None as nothing."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def to_csv(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Return rows as CSV, numbers in full; a cell that a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    cells = [[cell(row.get(column)).replace("|", "\\|") for column in columns] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
