"""Modules that store the arguments of their construction, so that a checkpoint is enough to rebuild them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any

from torch import Tensor, nn


class Described(nn.Module):
    """A module that stores the arguments of its construction for `describe`.

    >>> class Scale(Described):
    ...     def __init__(self, factor=1.0):
    ...         super().__init__()
    >>> describe(Scale(factor=2.0))["init_args"]
    {'factor': 2.0}
    """

    def __new__(cls, /, *args: Any, **kwargs: Any) -> Described:  # noqa: D102
        self = super().__new__(cls)
        arguments = _arguments(cls.__init__, self, *args, **kwargs)
        object.__setattr__(self, "_arguments", {k: v for k, v in arguments.items() if k != "self"})
        return self


def describe(part: Any) -> Any:
    """Return a part as in a configuration file: its ``class_path`` and ``init_args``, or the part itself if it is data.

    Args:
        part: a `Described` module, a class, a ``functools.partial`` of a class, or plain data.

    Raises:
        TypeError: if it is another callable, such as a function, which a configuration cannot store.

    >>> from emorl.model import SlotAttention
    >>> describe(SlotAttention(num_slots=3))
    {'class_path': 'emorl.model.SlotAttention', 'init_args': {'num_slots': 3}}
    """
    if isinstance(part, Described):
        return _entry(type(part), part.__dict__["_arguments"])
    if isinstance(part, partial):
        call = (part.func, *part.args)  # jsonargparse puts its helper functions before the class
        start = next((i for i, item in enumerate(call) if isinstance(item, type)), None)
        if start is not None:
            return _entry(call[start], _arguments(*call[start:], **part.keywords))
    if isinstance(part, type):
        return _entry(part, {})
    if callable(part):
        got = f"an object of {type(part).__name__}" if isinstance(part, nn.Module) else repr(part)  # in one line
        raise TypeError(
            f"Expected a class or a functools.partial of one, got {got}, which a checkpoint cannot store. "
            "Replace it by a subclass of the class that it returns."
        )
    return part


def settings(network: nn.Module) -> dict[str, Any]:
    """Return the class of each part, and those of its arguments that are numbers or text, as its attributes are now.

    >>> from emorl.model import SlotAttention
    >>> settings(SlotAttention(num_slots=3))["num_slots"]
    3
    """
    found: dict[str, Any] = {}
    for path, part in network.named_modules():
        found[path or "class"] = type(part).__name__
        constructors = [signature(cls.__init__) for cls in type(part).__mro__ if issubclass(cls, nn.Module)]
        for name in {name for constructor in constructors for name in constructor.parameters}:
            value = getattr(part, name, None)
            if isinstance(value, bool | int | float | str):
                found[f"{path}.{name}".lstrip(".")] = value
    return found


def difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    """Return a short description of the names and shapes in which two state dictionaries differ.

    >>> import torch
    >>> ours, theirs = {"a": torch.zeros(2), "b": torch.zeros(1)}, {"a": torch.zeros(3)}
    >>> print(difference(ours, theirs))
    2 tensors that differ in name or shape, the first 'a'
    """
    shapes = [{(name, tuple(value.shape)) for name, value in state.items()} for state in (ours, theirs)]
    names = sorted({name for name, _ in shapes[0] ^ shapes[1]})
    if not names:
        return "tensors of the same names and shapes that cannot be copied"
    return f"{len(names)} tensors that differ in name or shape, the first {names[0]!r}"


def _arguments(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments of a call by name, including those of ``**``."""
    declared = signature(function)
    arguments: dict[str, Any] = declared.bind_partial(*args, **kwargs).arguments
    for name, parameter in declared.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name, {})
    return arguments


def _entry(cls: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    init_args = {name: describe(value) for name, value in arguments.items()}
    return {"class_path": _public_path(cls), "init_args": init_args}


def _public_path(cls: type) -> str:
    """Return the path of a class in the package that exports it, so that its module may move, or in its module."""
    module = cls.__module__
    while package := module.rpartition(".")[0]:
        module = package
        exported = getattr(sys.modules.get(package), "__all__", ())
        if cls.__name__ in exported and getattr(sys.modules[package], cls.__name__) is cls:
            return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"
