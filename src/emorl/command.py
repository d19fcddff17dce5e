"""What all commands share: the way to a subcommand, help and version at once, errors in one line."""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NoReturn

from jsonargparse import auto_cli

from emorl import __version__
from emorl.errors import DataError, told
from emorl.mistakes import ShortErrors, explain
from emorl.paths import command_line, expand_home, print_any_name

_BOOLEANS = ("true", "false", "yes", "no")

Commands = Mapping[str, "str | Commands"]
"""Subcommands by name: each a function, ``module:name``, or further subcommands, whose ``_help`` says what they do."""


def run_command(name: str, description: str, commands: str | Commands, args: list[str] | None = None) -> int | None:
    """Run a command; what goes wrong with data or files is one line on stderr.

    A function is imported once it is asked for.

    Args:
        name: the command.
        description: what it is for, in a sentence.
        commands: what it does, a function as ``module:name``, or its subcommands.
        args: the command line after the name; by default that of the process.

    Returns:
        The status: what the function returned, 2 for bad input, 130 if interrupted.
    """
    words, prog = command_line(args), name
    print_any_name()
    while not isinstance(commands, str):
        answer(prog, description, {each: summary(commands[each]) for each in commands if each != "_help"}, words)
        if words[0].startswith("-"):  # an option before the subcommand: all of them have to be known
            break
        subcommand, *words = words
        prog, commands = f"{prog} {subcommand}", commands[subcommand]
        description = summary(commands)
    try:
        parser = partial(_Parser, version=__version__) if prog == name else _Parser
        status: int | None = auto_cli(
            _loaded(commands),
            args=words,
            prog=prog,
            description=description,
            parser_class=parser,  # type: ignore[arg-type]
        )
    except (DataError, OSError) as error:
        print(f"{name}: error: {told(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted: run the same command again", file=sys.stderr)
        return 130
    return status


def answer(prog: str, description: str, subcommands: Mapping[str, str], words: list[str]) -> None:
    """Print help or version and exit, if they are asked for, or exit with an error, if no subcommand is named.

    Args:
        prog: the command.
        description: what it is for, in a sentence.
        subcommands: what its subcommands do, by name.
        words: the command line after the command.
    """
    first = words[0] if words else "--help"
    if first in subcommands or (first.startswith("-") and first not in ("-h", "--help", "--version")):
        return
    parser = _TopParser(prog=prog, description=description)
    if " " not in prog:
        parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    places = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for name, summary_ in subcommands.items():
        places.add_parser(name, help=summary_)
    parser.parse_args(words[:1])


def summary(command: str | Commands) -> str:
    """Return what a subcommand does, in a sentence: its ``_help``, or the first one of the function's docstring.

    The docstring is read from the source: to import what a function needs takes seconds.
    """
    if not isinstance(command, str):
        return str(command["_help"])
    module, _, name = command.partition(":")
    spec = find_spec(module)
    source = spec.loader.get_source(module) if spec and spec.loader else None  # type: ignore[attr-defined]
    found = (node for node in ast.parse(source or "").body if isinstance(node, ast.FunctionDef) and node.name == name)
    return inspect.cleandoc(ast.get_docstring(next(found)) or "").partition("\n")[0]


class _Parser(ShortErrors):
    """A parser of paths that may begin with ``~``, in configuration files too; options are whole, and may be flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_args(self, args: Any = None, *more: Any, **kwargs: Any) -> Any:
        """Parse, and expand ``~``."""
        words = sys.argv[1:] if args is None else args
        return expand_home(super().parse_args(self._with_values(words), *more, **kwargs))

    def _with_values(self, words: Sequence[str]) -> list[str]:
        """Return a command line in which each boolean option has a value: ``--recursive`` is ``--recursive=true``."""
        flags = {
            name for each in self._actions if getattr(each, "_typehint", None) is bool for name in each.option_strings
        }
        pairs = pairwise([*words, ""])
        return [f"{word}=true" if word in flags and after.lower() not in _BOOLEANS else word for word, after in pairs]


class _TopParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {explain(message, self, ())}\n")


def _loaded(commands: str | Commands) -> Callable[..., Any] | dict[str, Any]:
    """Import a function, or all of them."""
    if isinstance(commands, str):
        module, _, name = commands.partition(":")
        return getattr(import_module(module), name)  # type: ignore[no-any-return]
    return {name: each if name == "_help" else _loaded(each) for name, each in commands.items()}
