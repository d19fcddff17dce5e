"""Paths on the command line and in configurations, and printing of file names."""

from __future__ import annotations

import io
import re
import sys
from itertools import pairwise
from os.path import expanduser
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from emorl.errors import DataError
from emorl.renamed import current_words


def command_line(args: list[str] | None = None) -> list[str]:
    """Return the words of a command line, by default that of the process, with current names and usable paths.

    A path that begins with ``~`` is expanded, as a word or after ``=``. A path that begins with ``#`` or ``&``, which
    YAML would read as null, is prefixed with ``./``.

    Raises:
        DataError: if a word or a value is empty, such as a variable of the shell that is not set. Names in options of
            Lightning's trainer may be empty: a logger without a name has no folder of it.

    >>> command_line(["--masks", "#1", "--masks=#1"])
    ['--masks', './#1', '--masks=./#1']
    """
    words = sys.argv[1:] if args is None else args
    for before, word in pairwise(["", *words]):
        empty = re.fullmatch(r"(--?[\w.+-]+)=", word)
        option = empty[1] if empty else before
        if (empty or not word) and not option.startswith("--trainer."):
            where = option if option.startswith("-") else "arguments"
            remedy = "give one, or leave it out; is a variable of the shell not set?"
            raise DataError.of(where, expected="a value", got="an empty one", remedy=remedy)
    return [re.sub(r"\A((?:--?[\w.+-]+=)?)(?=[#&])", r"\1./", word) for word in current_words(expand_home(list(words)))]


def expand_home(value: Any) -> Any:
    """Return options in which each path that begins with ``~`` is expanded; shells do so only in some positions.

    Args:
        value: a word of a command line (a path or ``--option=PATH``), or a container of words or values.

    >>> from os.path import expanduser
    >>> home = expanduser("~")
    >>> expand_home(["--data.root=~/data", "~/x", "a~"]) == [f"--data.root={home}/data", f"{home}/x", "a~"]
    True
    """
    if isinstance(value, str):
        option, path = re.fullmatch(r"(--?[\w.+-]+=(?=~))?(.*)", value, re.DOTALL).groups("")  # type: ignore[union-attr]
        return f"{option}{expanduser(path)}"
    if isinstance(value, Path):
        return Path(expanduser(value))
    if isinstance(value, list | tuple):
        return type(value)(map(expand_home, value))
    if isinstance(value, dict):
        return {key: expand_home(item) for key, item in value.items()}
    if isinstance(value, Namespace):
        expanded = value.clone()
        vars(expanded).update({key: expand_home(item) for key, item in vars(value).items()})
        return expanded
    return value


def print_any_name() -> None:
    """Print file names that are not valid text with escapes; by default Python raises an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
