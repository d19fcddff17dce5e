"""Paths on a command line and in configurations, and how names of files are printed."""

from __future__ import annotations

import io
import re
import sys
from os.path import expanduser
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from emorl.renamed import current_words


def command_line(args: list[str] | None = None) -> list[str]:
    """Return the words of a command line, by default that of the process, with current names and usable paths.

    A path that begins with ``~`` is expanded, be it a word or after ``=``. One that begins with ``#`` or ``&``, which
    YAML reads as nothing, gets ``./`` before it.

    >>> command_line(["--masks", "#1", "--masks=#1"])
    ['--masks', './#1', '--masks=./#1']
    """
    words = sys.argv[1:] if args is None else args
    return [re.sub(r"\A((?:--?[\w.+-]+=)?)(?=[#&])", r"\1./", word) for word in current_words(expand_home(list(words)))]


def expand_home(value: Any) -> Any:
    """Return options with every path in them that begins with ``~`` expanded, as a shell does in few places only.

    Args:
        value: a word of a command line, be it a path or ``--option=PATH``, or a container of such words or of values.

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
    """Have names of files that are not valid text printed with escapes, where Python would raise an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
