"""Arguments under two names: those of torchmetrics, and the former ones of this package."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Result = TypeVar("Result")


def also_called(**others: str) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Let a function accept a second keyword for some arguments, which its signature lists as keyword-only.

    Args:
        others: the argument's name by its other name.

    >>> @also_called(predicted="preds")
    ... def largest(preds):
    ...     return max(preds)
    >>> largest([1, 2]), largest(preds=[1, 2]), largest(predicted=[1, 2])
    (2, 2, 2)
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Result:
            named = {others.get(name, name): value for name, value in kwargs.items()}
            if len(named) < len(kwargs):
                twice = next(f"{other!r} and {name!r}" for other, name in others.items() if {other, name} <= {*kwargs})
                raise TypeError(f"Expected one of {twice}, got both. Leave one out.")
            return function(*args, **named)

        signature = inspect.signature(function)
        further = [inspect.Parameter(other, inspect.Parameter.KEYWORD_ONLY, default=None) for other in others]
        called.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), *further]
        )
        return called

    return decorate
