"""Checks of the numbers that constructors and calls take."""

from __future__ import annotations


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
        if value is not None and not value >= lowest:
            raise ValueError(f"Expected {name} of {lowest} or more, got {value}.")


def whole(**values: object) -> None:
    """Check that numbers are whole.

    Raises:
        ValueError: if one is not.

    >>> whole(draws=1.5)
    Traceback (most recent call last):
        ...
    ValueError: Expected draws to be a whole number, got 1.5.
    """
    for name, value in values.items():
        if isinstance(value, float | str):
            raise ValueError(f"Expected {name} to be a whole number, got {value!r}.")


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
        if value is not None and not value > bound:
            raise ValueError(f"Expected {name} above {bound}, got {value}.")
