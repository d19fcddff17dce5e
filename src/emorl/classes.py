"""Classes outside `emorl.model` that a command line names, because a model of a folder may consist of them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

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


def module_of(name: str, where: object, expected: str) -> ModuleType:
    """Import the module of a class that a user names.

    Args:
        name: the module.
        where: what names it, for the error.
        expected: what is expected of it, for the error.

    Returns:
        The module.

    Raises:
        DataError: if it cannot be imported, whatever it raises.

    >>> module_of("emorl.model", "model", "a class").__name__
    'emorl.model'
    """
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # raised by the module
        remedy, top = f"correct {name}, which python -c 'import {name}' runs alone", name.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name == top:
            remedy = f"put the folder of {top} on PYTHONPATH, or install it"
        alone = isinstance(error, ImportError) or not str(error)  # `reason` is the type's name without a message
        got = reason(error) if alone else f"{type(error).__name__}: {reason(error)}"
        raise DataError.of(where, expected=expected, got=got, remedy=remedy) from error


def _imported(path: str) -> type:
    module, _, name = path.rpartition(".")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        got, remedy = "another text", "name one as own_model.SoftKMeans, several as '[own_model.A, own_model.B]'"
        raise DataError.of(path, expected="the path of a class, MODULE.CLASS", got=got, remedy=remedy)
    found = module_of(module, path, "a class that Python can import")
    known = [key for key, value in vars(found).items() if isinstance(value, type)]
    if name not in known:
        got = f"an object of type {type(getattr(found, name)).__name__}" if hasattr(found, name) else "no such class"
        remedy = f"check the name{did_you_mean(name, known, f'{module}.{{}}')}"
        raise DataError.of(path, expected=f"a class of {module}", got=got, remedy=remedy)
    return vars(found)[name]  # type: ignore[no-any-return]
