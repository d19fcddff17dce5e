"""The error class for data and files, and the parts of error messages."""

import difflib
import os
import sys
import warnings
from collections.abc import Iterable

CLOSE = 0.6  # similarity of words in [0, 1] from which one is suggested for the other


def warn(message: str) -> None:
    """Warn as of the line outside this package that called it.

    >>> with warnings.catch_warnings(record=True, action="always") as told:
    ...     warn("README.md was edited")
    >>> [str(each.message) for each in told]
    ['README.md was edited']
    """
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "emorl":
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, stacklevel=depth)


class DataError(ValueError):
    """Invalid or unusable data. The message names the file, what was expected, what was found, and the remedy.

    The message is a single line and the only argument, so that the error can be pickled and raised in the worker
    processes of a `DataLoader`.

    >>> print(DataError.of("a.png", expected="an image", got="an empty file", remedy="remove it"))
    a.png: expected an image, got an empty file; remove it
    """

    def __str__(self) -> str:
        """Return the message as `printable` text, because file names may contain any character."""
        return printable(super().__str__())

    @staticmethod
    def of(where: object, *, expected: str, got: str, remedy: str) -> "DataError":
        """Build the error from its parts.

        Args:
            where: the file, and the place in it.
            expected: what was expected.
            got: what was found.
            remedy: how the user can fix it.
        """
        return DataError(f"{str(where) or repr(where)}: expected {expected}, got {got}; {remedy}")


def printable(text: str) -> str:
    r"""Return a text in one line, with escapes for characters that terminals cannot show.

    >>> print(printable("photos/a\nb\udcff.png"))
    photos/a\nb\udcff.png
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def reason(error: BaseException) -> str:
    r"""Return the reason of an error in one line, without the system's error number and without the path.

    >>> reason(FileNotFoundError(2, "No such file or directory", "a.png")), reason(ValueError("too\nlarge"))
    ('No such file or directory', 'too large')
    """
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def root_cause(error: BaseException) -> BaseException:
    """Return the first of the errors that led to an error: libraries wrap it in other errors.

    >>> outer = RuntimeError("parsing failed")
    >>> outer.__cause__ = ValueError("no number")
    >>> root_cause(outer)
    ValueError('no number')
    """
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def refused(command: str, error: Exception) -> int:
    """Print an error as a command's one line on stderr, the path first, and return the exit status, 2.

    If the reader of stdout has closed it, as ``| head`` does, nothing is printed and the status is 141, as of programs
    that the system ends in that case.

    Args:
        command: the command that failed.
        error: a `DataError`, or an error of the system.

    >>> import contextlib
    >>> with contextlib.redirect_stderr(sys.stdout):
    ...     refused("emorl-data", DataError("data/mine: expected a folder"))
    emorl-data: error: data/mine: expected a folder
    2
    """
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes at its end
        return 141
    path = getattr(error, "filename", None)
    text = str(error) if isinstance(error, DataError) else f"{path}: {reason(error)}" if path else reason(error)
    print(f"{command}: error: {printable(text)}", file=sys.stderr)
    return 2


def did_you_mean(word: str, known: Iterable[str], form: str = "{}") -> str:
    """Return the question to end an error with, or nothing if no known word is close to the one that was given.

    >>> did_you_mean("tetrominos", ["tetrominoes", "multi_dsprites"])
    '; did you mean tetrominoes?'
    """
    found = closest(word, known)
    return "" if found is None else f"; did you mean {form.format(found)}?"


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is closest to another, whatever their case, if any is close.

    >>> closest("Tetrominos", ["tetrominoes", "multi_dsprites"])
    'tetrominoes'
    """
    found = difflib.get_close_matches(word.lower(), by_lower := {name.lower(): name for name in known}, 1, CLOSE)
    return by_lower[found[0]] if found else None
