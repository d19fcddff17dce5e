"""Former names: configurations, checkpoints, command lines and Python code that use them keep working."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

VARIANTS = {"new_colours": "new_colors"}  # of Tetrominoes
_ARGUMENTS = {"initialisation": "initialization"}  # of models
_CLASSES = {
    "BalancedInitialisation": "BalancedInitialization",
    "Initialisation": "Initialization",
    "IodineInitialisation": "IodineInitialization",
    "ReleasedDecoderInitialisation": "ReferenceDecoderInitialization",
    "ReleasedInitialisation": "ReferenceInitialization",
}
_ATTRIBUTES = {  # by module
    "emorl.model": _CLASSES,
    "emorl.viz": {"COLOURS": "COLORS", "colourise": "colorize"},
    "emorl.data.generate.multi_dsprites": {"COLOURS": "COLORS"},
    "emorl.data.generate.tetrominoes": {"COLOURS": "COLORS", "NEW_COLOURS": "NEW_COLORS"},
}
_OPTION = re.compile(rf"--[\w.]+\.({'|'.join(_ARGUMENTS)})\b")


def current(configuration: Any, key: object = "") -> Any:
    """Return a configuration with the current names of arguments and classes.

    Args:
        configuration: a configuration, or a part of one: dictionaries, lists and values.
        key: its key in the configuration that contains it.

    >>> current({"init_args": {"initialisation": "emorl.model.BalancedInitialisation", "num_slots": 4}})
    {'init_args': {'initialization': 'emorl.model.BalancedInitialization', 'num_slots': 4}}
    """
    if isinstance(configuration, dict):
        renamed: dict[Any, Any] = {_ARGUMENTS.get(name, name): value for name, value in configuration.items()}
        return {name: current(value, name) for name, value in renamed.items()}
    if isinstance(configuration, list):
        return [current(value, key) for value in configuration]
    return _value(key, configuration) if isinstance(configuration, str) else configuration


def current_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with the current names of options, classes and variants.

    >>> current_words(["--model.network.initialisation=BalancedInitialisation", "--variant", "new_colours"])
    ['--model.network.initialization=BalancedInitialization', '--variant', 'new_colors']
    """
    found = []
    for before, word in pairwise(["", *words]):
        option, equals, value = word.partition("=") if word.startswith("-") else (before, "", word)
        option = _OPTION.sub(lambda match: match[0].removesuffix(match[1]) + _ARGUMENTS[match[1]], option)
        key = option.removeprefix("--").rpartition(".")[2] if option.startswith("--") else ""
        value = _value(key, value)
        found.append(f"{option}{equals}{value}" if word.startswith("-") else value)
    return found


def former_attributes(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module, which returns the value with the current name for a former name.

    >>> import emorl.viz
    >>> former_attributes("emorl.viz")("colourise").__name__
    'colorize'
    """

    def find(name: str) -> Any:
        if name not in _ATTRIBUTES[module]:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(sys.modules[module], _ATTRIBUTES[module][name])

    return find


def _value(key: object, value: str) -> str:
    """Return the value of an option or key, with the current name if it names a class or a variant."""
    if key == "variant":
        return VARIANTS.get(value, value)
    ours = value.startswith("emorl.model.") or "." not in value
    if key in ("class_path", *_ARGUMENTS.values()) and ours:
        return ".".join((_ARGUMENTS | _CLASSES).get(part, part) for part in value.split("."))
    return value
