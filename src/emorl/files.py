"""Files that appear whole or not at all, in folders with one writer at a time (on POSIX systems)."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from emorl.errors import DataError


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Keep other writers out of a folder; the system gives the lock back however this process ends.

    Yields the lock's descriptor: a child that inherits it holds the folder too, until it ends.

    Raises:
        DataError: if another process holds the folder.
    """
    lock = folder / ".lock"
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{folder}: another process writes there; wait for it or choose another folder") from error
        yield stream.fileno()
        lock.unlink()


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name once it is whole and on the disk, or not at all.

    Makes the folder if need be. Several processes may write one name at a time: each to a temporary file of its own,
    which is left behind only by a process that is killed.

    Raises:
        DataError: if it cannot be written, as on a full disk.
    """
    temporary = path.with_name(f".{uuid4().hex}.tmp")  # whatever the name's length
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        remedy = "free some space or choose another folder, and run the same command again: what is finished is kept"
        raise DataError(f"{path}: cannot be written ({error}); {remedy}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
