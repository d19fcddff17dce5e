"""Docstrings for the API reference: examples as code, and fields of named tuples described by their comments."""

import re
import tokenize
from io import StringIO
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Convert docstrings and comments to the site's format."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Show doctests as code, not as quotations."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Give each field the comment at the end of its line as its docstring.

        Without a comment, the page shows the field's type, unless the class describes its fields under "Attributes:".
        """
        if not {"NamedTuple", "TypedDict"} & {str(base) for base in cls.bases}:
            return
        described = cls.docstring is not None and "\nAttributes:\n" in cls.docstring.value
        for field in cls.attributes.values():
            if field.docstring is None and "property" not in field.labels and (comment(field) or not described):
                field.docstring = griffe.Docstring(comment(field), parent=field)


def comment(field: griffe.Attribute) -> str:
    """Return the comment on the line of a field, without its hash; empty if there is none."""
    line = field.lines_collection[field.filepath][(field.lineno or 1) - 1]
    tokens = tokenize.generate_tokens(StringIO(line.strip()).readline)
    return next((token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT), "")
