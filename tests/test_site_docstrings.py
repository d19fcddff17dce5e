"""The API reference: fields of named tuples are described by their comments, and by no empty sentence."""

from pathlib import Path

import pytest

griffe = pytest.importorskip("griffe", reason="needs the extra docs")

CODE = '''
from typing import NamedTuple
class Commented(NamedTuple):
    """Two fields."""
    size: int  # in pixels
    name: str
class Described(NamedTuple):
    """Two fields.

    Attributes:
        size: in pixels.
    """
    size: int
    name: str  # of the image
'''


def test_fields_have_their_comments_or_nothing(tmp_path):
    (tmp_path / "fields.py").write_text(CODE)
    extension = Path(__file__).parents[1] / "tools" / "site_docstrings.py"
    extensions = griffe.load_extensions(f"{extension}:Docstrings")
    module = griffe.load("fields", search_paths=[str(tmp_path)], extensions=extensions)
    assert module["Commented.size"].docstring.value == "in pixels"
    assert module["Commented.name"].docstring.value == ""  # an entry with the type alone
    assert module["Described.size"].docstring is None  # the class describes it
    assert module["Described.name"].docstring.value == "of the image"
