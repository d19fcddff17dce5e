"""What the commands `emorl-data`, `emorl-evaluate` and `emorl-study` share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from jsonargparse import auto_cli

from emorl.errors import DataError


def run_command(
    name: str, description: str, function: Callable[..., Any] | dict[str, Any], args: list[str] | None = None
) -> int | None:
    """Run a command; what goes wrong with data or files is one line on stderr.

    Args:
        name: the command.
        description: what it is for, in a sentence.
        function: what it does, or one for each subcommand by its name; a further such dictionary has its ``_help``.
        args: the command line after the name; by default that of the process.

    Returns:
        The status: what the function returned, 2 for bad input, 130 if interrupted.
    """
    try:
        status: int | None = auto_cli(function, args=args, prog=name, description=description)
    except (DataError, OSError) as error:
        print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted: run the same command again", file=sys.stderr)
        return 130
    return status
