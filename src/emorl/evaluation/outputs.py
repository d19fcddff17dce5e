"""Outputs of all studies: tables as CSV and Markdown, figures as PNG, written atomically."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from emorl.errors import DataError
from emorl.files import atomic
from emorl.results import label, rounded, with_error

DPI = 150  # pixels per inch of a figure's `figsize`
_SPREADS = "_se", "_sd"
_WIDTH = 200  # characters per line if the output is not a terminal


def check_out(out: Path) -> None:
    """Check that the folder of a study can be written to, before anything is computed. It is not created yet.

    Raises:
        DataError: if it, or the folder to create it in, is a file or a folder that cannot be written to.

    >>> check_out(Path("/dev/null/out"))
    Traceback (most recent call last):
    emorl.errors.DataError: /dev/null/out: expected a folder to write to, got /dev/null, a file; choose another folder
    """
    existing = next(path for path in (out.absolute(), *out.absolute().parents) if os.path.lexists(path))
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        got = f"{existing}, {'a read-only folder' if existing.is_dir() else 'a file'}"
        raise DataError.of(out, expected="a folder to write to", got=got, remedy="choose another folder")


def write_table(rows: Sequence[Mapping[str, object]], out: Path, name: str) -> tuple[Path, Path]:
    """Write a table as ``NAME.csv``, with full precision, and as ``NAME.md``, floats with four significant digits.

    The columns are the keys of the rows, in the order of their first occurrence. A missing cell, None, and an undefined
    standard error or deviation, such as of a single scene, are written as empty cells.

    Args:
        rows: the rows, by column.
        out: folder; created if necessary.
        name: name of the files.

    Returns:
        The paths of the two files.

    Raises:
        DataError: if a file cannot be written.

    >>> import tempfile
    >>> table, markdown = write_table([{"I": 0, "mse": 0.00123456}], Path(tempfile.mkdtemp()), "scores")
    >>> print(markdown.read_text(), end="")
    | I | mse |
    | --- | --- |
    | 0 | 0.001235 |
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    rows = [{column: value for column, value in row.items() if not _undefined_spread(column, value)} for row in rows]
    paths = out / f"{name}.csv", out / f"{name}.md"
    for path, text in zip(paths, (to_csv(rows, columns), _markdown(rows, columns)), strict=True):
        with atomic(path) as stream:
            stream.write(text.encode())
    return paths


def write_figure(figure: Figure, out: Path, name: str) -> Path:
    """Write a figure as ``NAME.png``.

    Args:
        figure: the figure, created as ``Figure(figsize=..., layout="constrained")``, without pyplot.
        out: folder; created if necessary.
        name: name of the file.

    Returns:
        The path of the file.

    Raises:
        DataError: if the file cannot be written.

    >>> import tempfile
    >>> write_figure(Figure(figsize=(1, 1)), Path(tempfile.mkdtemp()), "empty").name
    'empty.png'
    """
    path = out / f"{name}.png"
    with atomic(path) as stream:
        figure.savefig(stream, format="png", dpi=DPI)
    return path


def scale_of(values: Iterable[float]) -> Literal["linear", "log"]:
    """Return the axis scale for values: logarithmic if they are positive and span a decade or more.

    On a logarithmic axis that spans less than a decade, tick labels would overlap.

    >>> scale_of([0.001, 0.2]), scale_of([0.04692, 0.04699]), scale_of([0.0, 1.0])
    ('log', 'linear', 'linear')
    """
    finite = [value for value in values if math.isfinite(value)]
    return "log" if finite and 0 < 10 * min(finite) <= max(finite) else "linear"


def show(rows: Sequence[Mapping[str, object]], title: str = "") -> None:
    """Print a table with the labels of scores, each with its standard error or deviation, ``NAME_se`` or ``NAME_sd``.

    Args:
        rows: the rows, as in `write_table`; empty columns are omitted.
        title: title of the table.

    >>> show([{"I": 0, "mse": 0.5, "mse_se": 0.1}])  # doctest: +ELLIPSIS
    ┏...
    """
    filled = dict.fromkeys(column for row in rows for column, value in row.items() if value not in (None, ""))
    columns = [name for name in filled if name[-3:] not in _SPREADS or name[:-3] not in filled]
    table = Table(*map(label, columns), title=title)
    for row in rows:
        table.add_row(*(_with_spread(row, column) for column in columns))
    console = Console()
    console.print(table) if console.is_terminal else Console(width=_WIDTH).print(table)


def tell(paths: Sequence[Path]) -> None:
    """Print which files were written; all are in one folder.

    >>> tell([Path("/out/slots.csv"), Path("/out/slots.md")])
    Wrote slots.csv, slots.md to /out
    """
    print(f"Wrote {', '.join(path.name for path in paths)} to {paths[0].parent.resolve()}")


def cell(value: object) -> str:
    """Format a value for display: a float with four significant digits, None as an empty string.

    Returns:
        The text of the cell.

    >>> cell(0.00123456), cell(3), cell(None)
    ('0.001235', '3', '')
    """
    if value is None:
        return ""
    return rounded(value) if isinstance(value, float) else str(value)


def to_csv(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Format rows as CSV, with full precision and empty cells for missing values.

    Returns:
        The text of the file.

    >>> to_csv([{"I": 0, "mse": 0.5}, {"I": 1}], ["I", "mse"]).splitlines()
    ['I,mse', '0,0.5', '1,']
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _with_spread(row: Mapping[str, object], column: str) -> str:
    value = row.get(column)
    spreads = [spread for end in _SPREADS if isinstance(spread := row.get(f"{column}{end}"), float)]
    return with_error(value, spreads[0]) if isinstance(value, float) and spreads else cell(value)


def _undefined_spread(column: str, value: object) -> bool:
    return column.endswith(_SPREADS) and isinstance(value, float) and math.isnan(value)


def _markdown(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    cells = [[cell(row.get(column)).replace("|", "\\|") for column in columns] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
