"""The one error of the data layer."""


class DataError(ValueError):
    """Data that cannot be trusted or used: names the file, what was expected, what came, and the remedy.

    The message is a single line and the only argument, so that the error survives pickling and the worker
    processes of a `DataLoader`.
    """

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
