"""The parts of a report's page, and the page as HTML: one file, figures embedded, nothing fetched from anywhere."""

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
    """A table whose first column names the rows."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Picture(NamedTuple):
    """A PNG file."""

    path: Path
    alt: str
    caption: str
    wide: bool = False  # takes the page's whole width; others stand beside each other

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
    """A heading with what belongs under it, in this order."""

    name: str  # its anchor
    title: str
    text: str
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    files: Mapping[str, str] = {}  # text that is folded away, by its title


def render(title: str, lead: str, headline: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Return the page; every text is escaped.

    Args:
        title: the heading.
        lead: a sentence under it.
        headline: the values that matter most, by name.
        sections: the sections.
    """
    return _template().render(title=title, lead=lead, headline=headline, sections=sections)


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("emorl.evaluation.report").joinpath("report.html").read_text(encoding="utf-8"))
