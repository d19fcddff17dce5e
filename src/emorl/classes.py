"""Classes outside `emorl.model` that a command line names, because a model of a folder may consist of them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from emorl.errors import DataError, did_you_mean, reason

ClassPaths = Sequence[str] | str
"""Paths of classes, MODULE.CLASS, or a single one, as the type of an option."""


def imported(paths: ClassPaths) -> list[type]:
    """Import classes by their paths, MODULE.CLASS.

    Returns:
        The classes, in the order of the paths.

    Raises:
        DataError: if one cannot be imported, or is not a class.

    >>> [each.__name__ for each in imported("emorl.model.SlotAttention")]
    ['SlotAttention']
    """
    return [_imported(path) for path in ([paths] if isinstance(paths, str) else paths)]


def _imported(path: str) -> type:
    module, _, name = path.rpartition(".")
    remedy = f"put the folder of {module.partition('.')[0]} on PYTHONPATH, or install it"
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        got, remedy = "another text", "name one as own_model.SoftKMeans, several as '[own_model.A, own_model.B]'"
        raise DataError.of(path, expected="the path of a class, MODULE.CLASS", got=got, remedy=remedy)
    try:
        found = import_module(module)
    except Exception as error:  # raised by the module
        got = reason(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {reason(error)}"
        raise DataError.of(path, expected="a class that Python can import", got=got, remedy=remedy) from error
    known = [key for key, value in vars(found).items() if isinstance(value, type)]
    if name not in known:
        got = f"an object of type {type(getattr(found, name)).__name__}" if hasattr(found, name) else "no such class"
        remedy = f"check the name{did_you_mean(name, known, f'{module}.{{}}')}"
        raise DataError.of(path, expected=f"a class of {module}", got=got, remedy=remedy)
    return vars(found)[name]  # type: ignore[no-any-return]
