"""Errors about options and values: one line with a suggestion, instead of the parser's usage."""

from __future__ import annotations

import argparse
import ast
import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from inspect import isabstract
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

import yaml
from jsonargparse import ArgumentParser, get_loader, set_loader

from emorl.configurations import configurations
from emorl.errors import CLOSE, closest, did_you_mean
from emorl.renamed import current

_KEY = re.compile(r'Parser key "([^"]+)"')
_UNKNOWN = re.compile(r"(?:Option|option) '([^']+)'")
_NESTED = re.compile(r"NestedArg\(key='[^']*', val='?(.*?)'?\)(?=\n|$)")  # an option of a part: its value
_WHOLE = re.compile(r"\. Got value: Namespace\(.*")  # the part around it
_VALUE = re.compile(r"(?:Got value|Given value): (.+)")
_PATH = re.compile(r"dot import path string: (\S+)")
_ATTRIBUTE = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
_MODULE = re.compile(r"given class_path '([^']+)':\s+No module named|No module named .*?Got value: ([\w.]+)", re.DOTALL)
_NUMBER = re.compile(r"Not of type (\w+): (?:(\S+) does not conform|[^:\n]*: '(.*)')?")
_RESTRICTED = {
    "PositiveInt": "a whole number above 0",
    "NonNegativeInt": "a whole number, 0 or more",
    "PositiveFloat": "a number above 0",
    "NonNegativeFloat": "a number, 0 or more",
    "Path_fc": "a file in a folder that exists",
    "tuple": "a list such as '[a, b]'",
    "list": "a list such as '[a, b]'",
}
_TYPE = re.compile(r"[Ee]xpected a (?:<class '(?:\w+\.)*(\w+)'>|typing\.(\w+))")
_SUBCLASS = re.compile(r"does not correspond to a subclass of (\w+)")
_OUTPUTS = "output", "output_dir"  # options that users often give as a last argument
_RENAMED = {"scenes": "count"}
_MODE = "emorl"  # parser mode: YAML in which former names are replaced by current ones
_DEPTH = 3  # levels of nested parts whose options can be suggested


def _load(text: str) -> Any:
    try:
        return current(get_loader("yaml")(text))
    except TypeError:  # jsonargparse's fails on a mapping of numbers to null
        return yaml.safe_load(text)


set_loader(_MODE, _load, exceptions=(yaml.YAMLError,))


class ShortErrors(ArgumentParser):
    """A parser that accepts former names, and no abbreviated ones; an error is one line, and exit status 2.

    >>> parser = ShortErrors(prog="emorl")
    >>> _ = parser.add_argument("--steps", type=int)
    >>> explain("unrecognized arguments: --stepz=3", parser, ["--stepz=3"])
    'unknown option --stepz; did you mean --steps?'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"parser_mode": _MODE, "allow_abbrev": False, **kwargs})

    @property
    def prog(self) -> str:
        """The command, without the ``[options]`` that jsonargparse puts before a subcommand: options follow it."""
        return self._prog

    @prog.setter
    def prog(self, name: str) -> None:
        self._prog = name.replace(" [options]", "")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit."""
        if not self.exit_on_error:  # a nested parser
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        words = getattr(self, "args", None) or getattr(getattr(self, "parent_parser", None), "args", sys.argv[1:])
        print(f"{parser.prog}: error: {explain(message, parser, words)}", file=sys.stderr)
        self.exit(2)
        raise AssertionError  # not reached: `exit` does not return


def explain(message: str, parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """Return an error of jsonargparse in one line.

    Args:
        message: the error.
        parser: the parser of the options.
        words: the command line.
    """
    message = _NESTED.sub(r"\1", _WHOLE.sub("", message))
    keys = list(dict.fromkeys(_KEY.findall(message)))
    if found := re.match(r"unrecognized arguments: (.*)", message, re.DOTALL):
        given = found[1].split()
        option = next((word for word in given if word.startswith("-")), None)
        if option:
            return _unknown(option.partition("=")[0], parser, words)
        return _unexpected(given[0], parser, words)
    if found := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
        known = re.findall(r"[\w-]+", found[2])
        return f"expected one of {', '.join(known)}, got {found[1]!r}{did_you_mean(found[1], known)}"
    if (found := _UNKNOWN.search(message)) and found[1] not in keys[-1:]:  # unknown to one class of several only
        return _unknown(".".join((*keys, found[1])), parser, words)
    if message.startswith("Problems parsing config"):
        message = f"{', '.join(path for path in _configurations(words) if path not in files_of(words))}: {message}"
    if not keys:
        return f"{' '.join(message.split())}; {_help(parser)}"
    return f"{_place(keys, words)}: {_value(message, _action(parser, keys, words))}"


def files_of(words: Sequence[str]) -> dict[str, Any]:
    """Return the contents of the configuration files of a command line by path, except files that are not YAML."""
    found = {}
    for path in _configurations(words):
        try:
            found[path] = current(yaml.safe_load(Path(path).read_text()))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):  # the parser reports the error
            continue
    return found


def _configurations(words: Sequence[str]) -> list[str]:
    return [path for word, path in pairwise(_split(words)) if word in ("-c", "--config")]


def _split(words: Sequence[str]) -> list[str]:
    """Return a command line with ``--option=value`` as two words."""
    return [part for word in words for part in (word.split("=", 1) if word.startswith("-") else [word])]


def _unknown(name: str, parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """Return an error about an unknown option: its location, and a suggestion."""
    dashed = [word.partition("=")[0] for word in words if word.startswith("--")]
    given = next((word for word in dashed if _plain(word) == _plain(name)), None)
    file = next((path for path, content in files_of(words).items() if _within(content, name)), None)
    known = {_plain(option): option for option in _options(parser, words)}
    renamed = _RENAMED.get(_plain(name))
    meant = renamed if renamed in known else _meant(_plain(name), known)
    if given is None and file is not None:
        return f"{file}: unknown key {name}" + (f"; did you mean {meant}?" if meant else "")
    remedy = f"; did you mean --{meant}?" if meant else f"; {_help(parser)}"
    return f"unknown option {given or name}{remedy}"


def _unexpected(word: str, parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """Return an error about an argument without an option: what the option before it expects, or which was meant."""
    end = words.index(word) if word in words else 0
    first, last = ["", "", *words][end : end + 2]
    option, attached, value = last.partition("=")
    if not attached:
        option, value = first, last
    action = parser._option_string_actions.get(option)
    if action and attached and value == "true":  # of `with_values`
        return f"expected true, false or no value after {option}, got {word!r}"
    if action and _takes_list(action):
        return f"unexpected argument {word!r}; give several values as a list: {option} '[{value}, {word}]'"
    options = set(_options(parser, words))
    output = next((name for name in _OUTPUTS if name in options), None)
    meant = f"--{output}" if output else None
    if "pretrained" in options:
        meant = {".yaml": "-c", ".ckpt": "--ckpt_path"}.get(Path(word).suffix, meant)
        if word in configurations():
            meant = "-c" if parser.prog.endswith(" fit") else "--pretrained"
    return f"unexpected argument {word!r}" + (f"; did you mean {meant} {word}?" if meant else "")


def _takes_list(action: argparse.Action) -> bool:
    hint = getattr(action, "_typehint", None)
    return any(get_origin(part) in (list, Sequence) for part in (hint, *get_args(hint)))


def _help(parser: argparse.ArgumentParser) -> str:
    return f"see {parser.prog} --help"


def _meant(name: str, known: dict[str, str]) -> str | None:
    """Return the known option closest to a name: to all of it, to its first parts, or to its last part."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        found = max(known, key=lambda option: _likeness(parts[:end], option.split(".")), default="")
        if end < len(parts) and _likeness(parts[:end], found.split(".")) == 1:
            break  # a later part is wrong
        if _likeness(parts[:end], found.split(".")) >= CLOSE:
            return ".".join((known[found], *parts[end:]))
    by_last = {option.rpartition(".")[2]: option for option in reversed(known)}
    last = closest(parts[-1], by_last)
    return None if last is None else known[by_last[last]]


def _likeness(parts: Sequence[str], others: Sequence[str]) -> float:
    """Return the smallest similarity of corresponding parts of two options, from 0 to 1."""
    if len(parts) != len(others):
        return 0.0
    return min(difflib.SequenceMatcher(None, *pair).ratio() for pair in zip(parts, others, strict=True))


def _options(parser: argparse.ArgumentParser, words: Sequence[str], depth: int = _DEPTH) -> Iterator[str]:
    """Yield the options of a parser and of the classes that are chosen for them."""
    for action in parser._actions:
        offered = action.option_strings if action.help != argparse.SUPPRESS else ()
        names = [option[2:] for option in offered if option.startswith("--")]
        yield from (name for name in names if not name.endswith(".help"))
        path = _chosen(action.dest, action.default, words)
        if depth and names and path and (part := _parser_of(path)):
            yield from (f"{action.dest}.init_args.{name}" for name in _options(part, (), depth - 1) if name != "help")


def _chosen(dest: str, default: Any, words: Sequence[str]) -> str | None:
    """Return the path of the class chosen for an option: on the command line, in a file, or by default."""
    named = [after for word, after in pairwise(_split(words)) if word in (f"--{dest}", f"--{dest}.class_path")]
    named = [word for word in named if word != "null"]
    filed = [value for content in files_of(words).values() if (value := _get(content, dest)) is not None]
    value = next(reversed([default, *filed, *named]))
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    path = value if isinstance(value, str) else getattr(value, "class_path", None)
    if isinstance(value, dict):
        path = value.get("class_path")
    return path if isinstance(path, str) and path.replace(".", "").isidentifier() else None


def _parser_of(path: str) -> ArgumentParser | None:
    """Return a parser of a class's arguments, or None if there is no such class."""
    module, _, name = path.rpartition(".")
    modules: list[str] = (
        [module] if module else ["emorl.model", "emorl.optim", "torch.optim", "torch.optim.lr_scheduler"]
    )
    for each in modules:
        try:
            cls = getattr(import_module(each), name)
            parser = ArgumentParser()
            parser.add_class_arguments(cls, fail_untyped=False)
        except Exception:  # a user's class may raise any error; its options are then not suggested
            continue
        return parser
    return None


def _value(message: str, action: Any) -> str:
    """Return an error about a value: what was expected, and what was given."""
    given = [value.strip() for value in _VALUE.findall(message)]
    got = given[-1] if given else ""
    choices = [str(one) for some in re.findall(r"Literal\[(.*?)\]", message) for one in ast.literal_eval(f"[{some}]")]
    found = _PATH.search(message) or _ATTRIBUTE.search(message) or _MODULE.search(message)
    types = [one or other for one, other in _TYPE.findall(message)]
    if found and not choices and "float" not in types:  # of float or a tensor, a number is meant
        path = ".".join(part for part in found.groups() if part)
        path = got if got.startswith(path) else path
        return f"expected a class, got {path!r}{_class_meant(path, action)}"
    if "but is abstract" in message:
        return f"expected a class that defines all abstract methods of its base class, got {got!r}; define them"
    numbers = list(_NUMBER.finditer(message))
    wanted = [f"a subclass of {name}" for name in _SUBCLASS.findall(message)]
    wanted += [_RESTRICTED.get(number[1], number[1]) for number in numbers]
    wanted += [_RESTRICTED.get(name, name) for name in types if name not in ("Literal", "NoneType")]
    wanted += [f"one of {', '.join(dict.fromkeys(choices))}"] if choices else []
    wanted += ["null"] if "NoneType" in types else []
    if not wanted or not (got or numbers):
        return " ".join(_KEY.sub("", message).lstrip(": \n").split())
    shown = next((text for number in numbers if (text := number[2] or number[3])), got) if numbers else f"{got!r:.100}"
    joined = (", or " if "," in wanted[0] else " or ").join(dict.fromkeys(wanted))
    return f"expected {joined}, got {shown}{did_you_mean(got, choices)}"


def _class_meant(path: str, action: Any) -> str:
    """Return a suggestion: a class of the named module, or else one that the option accepts."""
    module, _, name = path.rpartition(".")
    try:
        found = closest(name, [n for n, v in vars(import_module(module)).items() if isinstance(v, type)])
        if found:
            return f"; did you mean {module}.{found}?"
    except ModuleNotFoundError as error:
        if error.name == (top := module.partition(".")[0]):
            return f": there is no module {top}; put the folder of {top} on PYTHONPATH, or install it"
    except (ImportError, ValueError):
        pass
    accepted = [cls for base in _classes(getattr(action, "_typehint", None)) for cls in _subclasses(base)]
    names = sorted({cls.__name__ for cls in accepted if not isabstract(cls)})
    listed = f"; give {', '.join(names)}, or MODULE.CLASS" if names else ""
    return did_you_mean(name, names) or listed


def _classes(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and hint.__module__ not in ("builtins", "collections.abc"):
        yield hint
    for part in get_args(hint):
        inner: list[Any] = part if isinstance(part, list) else [part]
        yield from (cls for one in inner for cls in _classes(one))


def _subclasses(cls: type) -> Iterator[type]:
    yield cls
    direct: list[type] = cls.__subclasses__()
    yield from (one for subclass in direct for one in _subclasses(subclass))


def _action(parser: argparse.ArgumentParser, keys: Sequence[str], words: Sequence[str]) -> Any:
    """Return the action for nested keys: the parser's, or that of the class chosen for the first key, and so on."""
    action = next((action for action in parser._actions if action.dest == keys[0]), None)
    path = _chosen(keys[0], action.default, words) if action and keys[1:] else None
    inner = _parser_of(path) if path else None
    return _action(inner, keys[1:], ()) if inner else action


def _place(keys: Sequence[str], words: Sequence[str]) -> str:
    """Return the source of a value: an option, or a key of a file."""
    key = ".".join(keys)
    asked = (word.partition("=") for word in words)
    dashed = any(_plain(word) in (key, keys[0]) and value != "null" for word, _, value in asked if word[:2] == "--")
    files = [path for path, content in files_of(words).items() if _within(content, keys[0])]
    return f"{files[-1]}: {key}" if files and not dashed else f"--{key}"


def _plain(name: str) -> str:
    """Return an option's name without ``init_args`` and ``class_path`` between the names of parts."""
    parts = name.removeprefix("--").removesuffix("+").split(".")
    return ".".join(part for part in parts if part not in ("init_args", "class_path", "dict_kwargs"))


def _get(content: Any, name: str) -> Any:
    for part in name.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _within(content: Any, name: str) -> bool:
    """Return whether a configuration contains a key, also among the arguments of a class."""
    first, *rest = _plain(name).split(".")
    content = content.get("init_args", content) | content if isinstance(content, dict) else {}
    found = next((key for key in content if str(key).removesuffix("+") == first), None)
    return found is not None and (not rest or _within(content[found], ".".join(rest)))
