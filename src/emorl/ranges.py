"""Checks of the numbers and paths that constructors and calls take."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import cast

from emorl.errors import DataError


def at_least(lowest: int, **values: int | float | None) -> None:
    """Check that numbers are not below a bound; None, which selects a default, is accepted.

    Raises:
        ValueError: if one is, or is not a number.

    >>> at_least(1, num_slots=0)
    Traceback (most recent call last):
        ...
    ValueError: Expected num_slots of 1 or more, got 0.
    """
    for name, value in values.items():
        if value is not None and not (_is_number(value) and value >= lowest):
            raise ValueError(f"Expected {name} of {lowest} or more, got {value!r}.")


def whole(**values: object) -> None:
    """Check that numbers are whole.

    Raises:
        ValueError: if one is not.

    >>> whole(draws=1.5)
    Traceback (most recent call last):
        ...
    ValueError: Expected draws to be a whole number, such as 1, got 1.5.
    """
    for name, value in values.items():
        if not is_whole(value):
            raise ValueError(f"Expected {name} to be a whole number, such as 1, got {value!r}.")


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number; a truth value is none.

    >>> is_whole(1), is_whole(1.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def counts(lowest: int, **values: object) -> None:
    """Check that numbers are whole and not below a bound.

    Raises:
        ValueError: if one is not.

    >>> counts(1, stride=0)
    Traceback (most recent call last):
        ...
    ValueError: Expected stride of 1 or more, got 0.
    """
    whole(**values)
    at_least(lowest, **cast(dict[str, int], values))


def path_like(**values: object) -> None:
    """Check that values are paths.

    Raises:
        DataError: if one is empty.
        TypeError: if one is neither text nor a path.

    >>> path_like(folder=None)
    Traceback (most recent call last):
        ...
    TypeError: Expected folder to be a path, as text or a Path, got None.
    """
    for name, value in values.items():
        if not isinstance(value, str | os.PathLike):
            raise TypeError(f"Expected {name} to be a path, as text or a Path, got {value!r}.")
        if value == "":
            raise DataError.of(name, expected="a path", got="empty text", remedy="give one; . is the working directory")


def above(bound: int, **values: int | float | None) -> None:
    """Check that numbers are above a bound; None, which selects a default, is accepted.

    Raises:
        ValueError: if one is not.

    >>> above(0, scale=0.0)
    Traceback (most recent call last):
        ...
    ValueError: Expected scale above 0, got 0.0.
    """
    for name, value in values.items():
        if value is not None and not (_is_number(value) and value > bound):
            raise ValueError(f"Expected {name} above {bound}, got {value!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) or (getattr(value, "ndim", None) == 0 and hasattr(value, "item"))
