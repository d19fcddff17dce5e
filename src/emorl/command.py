"""Common parts of all commands: subcommands, fast help and version, errors in one line."""

from __future__ import annotations

import argparse
import ast
import inspect
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NoReturn

from jsonargparse import auto_cli

from emorl import __version__
from emorl.errors import DataError, refused
from emorl.interrupts import exit_on_interrupt, interrupted_by_sigterm
from emorl.mistakes import ShortErrors, explain
from emorl.paths import command_line, expand_home, print_any_name

_BOOLEANS = ("true", "false", "yes", "no")

Commands = Mapping[str, "str | Commands"]
"""Subcommands by name: each a function, ``module:name``, or further subcommands, described by ``_help``."""


def run_command(name: str, description: str, commands: str | Commands, args: list[str] | None = None) -> int | None:
    """Run a command; an error in data or files is printed as one line on stderr.

    Only the function that runs is imported.

    Args:
        name: the command.
        description: one sentence about the command.
        commands: its function, as ``module:name``, or its subcommands.
        args: the words after the command's name; by default those of the process.

    Returns:
        The exit status: the value that the function returned, 2 for bad input, 130 after Ctrl-C or SIGTERM.
    """
    prog = name
    print_any_name()
    try:
        words = command_line(args)
        while not isinstance(commands, str):
            answer(prog, description, {each: summary(commands[each]) for each in commands if each != "_help"}, words)
            if words[0].startswith("-"):  # the option for shell completion: parsing needs all subcommands
                break
            subcommand, *words = words
            prog, commands = f"{prog} {subcommand}", commands[subcommand]
            description = summary(commands)
        parser = partial(CommandParser, version=__version__) if prog == name else CommandParser
        with exit_on_interrupt(_program(name)):
            functions = _loaded(commands)
        with interrupted_by_sigterm():
            status: int | None = auto_cli(
                functions,
                args=words,
                prog=prog,
                description=description,
                parser_class=parser,  # type: ignore[arg-type]
            )
    except (DataError, OSError) as error:
        return refused(name, error)
    except KeyboardInterrupt:
        print(f"{_program(name)}: interrupted: run the same command again", file=sys.stderr)
        return 130
    return status


def _program(name: str) -> str:
    return name.partition(" ")[0]


def answer(prog: str, description: str, subcommands: Mapping[str, str], words: list[str]) -> None:
    """Print help or version and exit if requested, or exit with an error if the first word is no subcommand.

    The only other option before a subcommand is that for shell completion.

    Args:
        prog: the command.
        description: one sentence about the command.
        subcommands: one sentence about each subcommand, by name.
        words: the words after the command's name.
    """
    first = words[0] if words else "--help"
    if first in subcommands or first.startswith("--print_completion"):
        return
    parser = _TopParser(prog=prog, description=description)
    if " " not in prog:
        parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    places = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for name, summary_ in subcommands.items():
        places.add_parser(name, help=summary_)
    if first.startswith("-") and first not in ("-h", "--help", "--version"):
        option, subcommand = first.partition("=")[0], next((word for word in words if word in subcommands), None)
        others = [word for word in words if word != subcommand]
        order = shlex.join([*prog.split(), subcommand, *others]) if subcommand else f"one of {', '.join(subcommands)}"
        parser.error(f"expected a subcommand, got {option}; options follow the subcommand: {order}")
    parser.parse_args(words[:1])


def summary(command: str | Commands) -> str:
    """Return one sentence about a subcommand: its ``_help``, or the first line of its function's docstring.

    The docstring is read from the source, because importing the function takes seconds.
    """
    if not isinstance(command, str):
        return str(command["_help"])
    module, _, name = command.partition(":")
    spec = find_spec(module)
    source = spec.loader.get_source(module) if spec and spec.loader else None  # type: ignore[attr-defined]
    found = (node for node in ast.parse(source or "").body if isinstance(node, ast.FunctionDef) and node.name == name)
    return inspect.cleandoc(ast.get_docstring(next(found)) or "").partition("\n")[0]


class CommandParser(ShortErrors):
    """A parser that expands ``~`` in paths; a boolean option may be given as a flag.

    >>> parser = CommandParser(prog="emorl")
    >>> _ = parser.add_argument("--recursive", type=bool)
    >>> parser.parse_args(["--recursive"]).recursive
    True
    """

    def parse_args(self, args: Any = None, *more: Any, **kwargs: Any) -> Any:
        """Parse, and expand ``~``."""
        words = sys.argv[1:] if args is None else args
        return expand_home(super().parse_args(with_values(self, words), *more, **kwargs))


def with_values(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return a command line in which each boolean option has a value: ``--recursive`` is ``--recursive=true``.

    A word after the option that is neither true nor false is an argument, if the parser has arguments.

    >>> parser = ShortErrors(prog="emorl")
    >>> _ = parser.add_argument("--recursive", type=bool)
    >>> with_values(parser, ["--recursive"]), with_values(parser, ["--recursive", "false"])
    (['--recursive=true'], ['--recursive', 'false'])
    """
    flags = {
        name for each in parser._actions if getattr(each, "_typehint", None) is bool for name in each.option_strings
    }
    pairs, arguments = pairwise([*words, "-"]), parser._get_positional_actions()

    def is_flag(word: str, after: str) -> bool:
        return word in flags and (after.startswith("-") or (bool(arguments) and after.lower() not in _BOOLEANS))

    return [f"{word}=true" if is_flag(word, after) else word for word, after in pairs]


class _TopParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {explain(message, self, ())}\n")


def _loaded(commands: str | Commands) -> Callable[..., Any] | dict[str, Any]:
    """Import a function, or those of all subcommands."""
    if isinstance(commands, str):
        module, _, name = commands.partition(":")
        return getattr(import_module(module), name)  # type: ignore[no-any-return]
    return {name: each if name == "_help" else _loaded(each) for name, each in commands.items()}
