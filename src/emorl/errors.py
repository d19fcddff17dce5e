"""The one error of the data layer, and text that fits into a line."""


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
