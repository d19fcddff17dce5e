"""Build models from their descriptions, without Lightning: the inverse of `describe`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from emorl.renamed import current

_FACTORY = re.compile(r"\b(Callable|[Tt]ype)\b")  # in the annotation of a parameter that takes a class


def build(description: Mapping[str, Any]) -> Any:
    """Return the object that a ``class_path`` and its ``init_args`` describe.

    A nested description becomes an object, or a ``functools.partial`` of its class if the parameter takes a class, such
    as a model's ``decoder``: if its annotation is a Callable or a type. A parameter without annotation, or one that is
    passed on in ``**kwargs``, has that of the nearest base class. If there is none, a class with required parameters
    becomes a partial.

    Raises:
        ImportError: if the module does not exist.
        AttributeError: if the module has no such class.
        TypeError: if the object for a parameter cannot be built.

    >>> model = build({"class_path": "emorl.model.SlotAttention", "init_args": {"num_slots": 3}})
    >>> model.num_slots
    3
    """
    return _factory(current(description))()


def _factory(description: Mapping[str, Any]) -> partial[Any]:
    module, _, name = description["class_path"].rpartition(".")
    cls = getattr(import_module(module), name)
    arguments = description.get("init_args") or {}
    return partial(cls, **{name: _argument(cls, name, value) for name, value in arguments.items()})


def _argument(cls: type, name: str, value: Any) -> Any:
    if not (isinstance(value, Mapping) and "class_path" in value):
        return value
    factory, annotation = _factory(value), _annotation(cls, name)
    if _FACTORY.search(str(annotation)) or (annotation is None and _is_incomplete(factory)):
        return factory
    try:
        return factory()
    except (TypeError, ValueError) as error:
        raise TypeError(f"parameter {name} of {cls.__name__}: {error}") from error


def _annotation(cls: type, name: str) -> Any:
    """Return the annotation of a parameter in the nearest class that has one; None if no class has one."""
    for base in cls.__mro__:
        if (init := vars(base).get("__init__")) is not None:
            parameter = _signature(init).parameters.get(name)
            if parameter is not None and parameter.annotation is not parameter.empty:
                return parameter.annotation
    return None


def _signature(function: Any) -> inspect.Signature:
    """Return a signature, with its annotations resolved if all of their names are known at run time."""
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # of the evaluation of any expression
        return inspect.signature(function)


def _is_incomplete(factory: partial[Any]) -> bool:
    parameters = inspect.signature(factory).parameters.values()
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
