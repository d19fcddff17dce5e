"""Fields of named tuples and typed dictionaries in the API reference: described by the comments behind them."""

import tokenize
from io import StringIO
from typing import Any

import griffe


class Fields(griffe.Extension):
    """Give a field the comment at the end of its line as its docstring."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Describe the fields of a class without methods of its own for building it."""
        if not {"NamedTuple", "TypedDict", "Gaussian"} & {str(base) for base in cls.bases}:
            return
        for field in cls.attributes.values():
            if field.docstring is None and "property" not in field.labels:
                field.docstring = griffe.Docstring(comment(field) or f"See `{cls.name}`.", parent=field)


def comment(field: griffe.Attribute) -> str:
    """Return the comment on the line of a field, without its hash; nothing where there is none."""
    line = field.lines_collection[field.filepath][(field.lineno or 1) - 1]
    tokens = tokenize.generate_tokens(StringIO(line.strip()).readline)
    return next((token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT), "")
