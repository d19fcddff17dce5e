"""The one error of the data layer, and what error messages are made of."""

import difflib
from collections.abc import Iterable

CLOSE = 0.6  # likeness of words, up to 1, from which on one may be meant by the other


class DataError(ValueError):
    """Data that cannot be trusted or used: names the file, what was expected, what came, and the remedy.

    The message is a single line and the only argument, so that the error survives pickling and the worker
    processes of a `DataLoader`.
    """

    def __str__(self) -> str:
        """Return the message as `printable` text: names of files may hold anything."""
        return printable(super().__str__())

    @staticmethod
    def of(where: object, *, expected: str, got: str, remedy: str) -> "DataError":
        """Build the error from its parts.

        Args:
            where: the file, and the place in it.
            expected: what should have been there.
            got: what was there.
            remedy: what the reader of the message can do about it.
        """
        return DataError(f"{where}: expected {expected}, got {got}; {remedy}")


def printable(text: str) -> str:
    r"""Return a text in one line that any terminal shows, with escapes for what it does not.

    >>> print(printable("photos/a\nb\udcff.png"))
    photos/a\nb\udcff.png
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def reason(error: BaseException) -> str:
    r"""Return in one line why something failed, without the number of the system's error and without the path.

    >>> reason(FileNotFoundError(2, "No such file or directory", "a.png")), reason(ValueError("too\nlarge"))
    ('No such file or directory', 'too large')
    """
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def told(error: Exception) -> str:
    """Return an error as a command prints it, the path first.

    >>> told(PermissionError(13, "Permission denied", "out"))
    'out: Permission denied'
    """
    path = getattr(error, "filename", None)
    return printable(
        str(error) if isinstance(error, DataError) else f"{path}: {reason(error)}" if path else reason(error)
    )


def did_you_mean(word: str, known: Iterable[str], form: str = "{}") -> str:
    """Return the question to end an error with, or nothing if no known word is close to the one that was given.

    >>> did_you_mean("tetrominos", ["tetrominoes", "multi_dsprites"])
    '; did you mean tetrominoes?'
    """
    found = closest(word, known)
    return "" if found is None else f"; did you mean {form.format(found)}?"


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is closest to another, whatever their case, if any is close."""
    found = difflib.get_close_matches(word.lower(), by_lower := {name.lower(): name for name in known}, 1, CLOSE)
    return by_lower[found[0]] if found else None
