"""The parts of a report, and their rendering to a self-contained HTML page with embedded figures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined, Template
from PIL import Image


class Table(NamedTuple):
    """A table whose first column names the rows.

    >>> Table("scores", head=("score", "value"), rows=[("MSE", "0.1")]).rows[0][1]
    '0.1'
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Picture(NamedTuple):
    """A PNG file.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.png")
    >>> Image.new("RGB", (4, 3)).save(path)
    >>> picture = Picture(path, alt="a black image", caption="Black.")
    >>> picture.size, picture.source[:22]
    ((4, 3), 'data:image/png;base64,')
    """

    path: Path
    alt: str
    caption: str
    wide: bool = False  # whether to use the full width of the page; other images share a row

    @property
    def source(self) -> str:
        """The file as a data: URI."""
        return f"data:image/png;base64,{b64encode(self.path.read_bytes()).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        with Image.open(self.path) as image:
            return image.size


class Section(NamedTuple):
    """A heading and its contents, in this order.

    >>> Section("scores", "Scores", "I is the number of steps.").tables
    ()
    """

    name: str  # anchor
    title: str
    text: str
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    files: Mapping[str, str] = {}  # collapsed text by its title


def render(title: str, lead: str, headline: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Render the page; all text is escaped.

    Args:
        title: the heading.
        lead: the sentence below the heading.
        headline: the most important values by name.
        sections: the sections.

    >>> page = render("A < B", "a lead", {"MSE": "0.1"}, [Section("scores", "Scores", "")])
    >>> "<h1>A &lt; B</h1>" in page
    True
    """
    return _template().render(title=title, lead=lead, headline=headline, sections=sections)


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("emorl.evaluation.report").joinpath("report.html").read_text(encoding="utf-8"))
