"""Build models from their descriptions, without Lightning: the inverse of `describe`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from emorl.renamed import current


def build(description: Mapping[str, Any]) -> Any:
    """Return the object that a ``class_path`` and its ``init_args`` describe.

    A nested description becomes an object, or a ``functools.partial`` of its class if the argument's annotation is a
    Callable, such as that of a model's ``decoder``.

    Raises:
        ImportError: if the module does not exist.
        AttributeError: if the module has no such class.

    >>> model = build({"class_path": "emorl.model.SlotAttention", "init_args": {"num_slots": 3}})
    >>> model.num_slots
    3
    """
    return _factory(current(description))()


def _factory(description: Mapping[str, Any]) -> partial[Any]:
    module, _, name = description["class_path"].rpartition(".")
    cls = getattr(import_module(module), name)
    parameters = inspect.signature(cls).parameters
    arguments = description.get("init_args") or {}
    return partial(cls, **{name: _argument(value, parameters.get(name)) for name, value in arguments.items()})


def _argument(value: Any, parameter: inspect.Parameter | None) -> Any:
    if not (isinstance(value, Mapping) and "class_path" in value):
        return value
    factory = _factory(value)
    return factory if parameter is not None and "Callable" in str(parameter.annotation) else factory()
