"""Build models from their descriptions, without Lightning: the inverse of `describe`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from emorl.renamed import current

_DATA = {  # words in the annotations of parameters that take data alone
    *("class", "int", "float", "bool", "str", "None", "NoneType", "Any", "Union", "Optional", "Literal"),
    *("tuple", "Tuple", "list", "List", "dict", "Dict", "Sequence", "Mapping", "collections", "abc", "typing"),
    *("pathlib", "Path"),
}
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


def takes_class(cls: type, name: str) -> bool:
    """Return whether a parameter may take a class or an object, where jsonargparse would import a text.

    One without annotation takes data, but it may be passed on if the class does not name it.

    >>> from emorl.model import SlotAttention
    >>> takes_class(SlotAttention, "decoder"), takes_class(SlotAttention, "num_slots")
    (True, False)
    """
    words = re.findall(r"[^\W\d]\w*", re.sub(r"Literal\[.*?\]", "", str(_annotation(cls, name))))
    return not (_declared(cls, name) and _DATA.issuperset(words))


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
    found = [parameter.annotation for parameter in _declared(cls, name)]
    return next((annotation for annotation in found if annotation is not inspect.Parameter.empty), None)


def _declared(cls: type, name: str) -> list[inspect.Parameter]:
    """Return a parameter in a class and its base classes, as far as they name it."""
    signatures = [_signature(vars(base)["__init__"]) for base in cls.__mro__ if "__init__" in vars(base)]
    return [signature.parameters[name] for signature in signatures if name in signature.parameters]


def _signature(function: Any) -> inspect.Signature:
    """Return a signature, with its annotations resolved if all of their names are known at run time."""
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # of the evaluation of any expression
        return inspect.signature(function)


def _is_incomplete(factory: partial[Any]) -> bool:
    parameters = inspect.signature(factory).parameters.values()
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
