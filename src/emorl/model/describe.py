"""Modules that remember how they were built, so that a checkpoint alone rebuilds them."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from torch import nn


class Described(nn.Module):
    """A module that keeps the arguments of its construction for `describe`."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Described:  # noqa: D102
        self = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        object.__setattr__(self, "_arguments", {k: v for k, v in bound.arguments.items() if k != "self"})
        return self


def describe(part: Any) -> Any:
    """Return what a configuration file would say of a part: ``class_path`` and ``init_args``, or the part itself.

    Takes a `Described` module, a class, a ``functools.partial`` of a class, or plain data.
    """
    if isinstance(part, Described):
        return _entry(type(part), part.__dict__["_arguments"])
    if isinstance(part, partial):
        call = (part.func, *part.args)  # jsonargparse puts helpers of its own before the class
        start = next(i for i, item in enumerate(call) if isinstance(item, type))
        bound = inspect.signature(call[start]).bind_partial(*call[start + 1 :], **part.keywords)
        return _entry(call[start], bound.arguments)
    return _entry(part, {}) if isinstance(part, type) else part


def _entry(cls: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    init_args = {name: describe(value) for name, value in arguments.items()}
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": init_args}
