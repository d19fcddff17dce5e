"""Files that appear whole or not at all, in folders with one writer at a time (on POSIX systems)."""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from emorl.errors import DataError, reason

_held: set[BinaryIO] = set()  # the locks of this process


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Keep other writers out of a folder; the system gives the lock back however this process ends.

    Yields the lock's descriptor: a command that inherits it holds the folder too, until it ends. A forked process, such
    as a loader's worker, does not: it may outlive this one for a while. On a file system without locks, nobody is kept
    out.

    Raises:
        DataError: if another process holds the folder, or it cannot be written to.
    """
    lock = folder / ".lock"
    try:
        stream = lock.open("wb")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({reason(error)}); choose another folder") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{folder}: another process writes there; wait for it or choose another folder") from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise
        _held.add(stream)
        try:
            yield stream.fileno()
        finally:
            _held.discard(stream)
            lock.unlink(missing_ok=True)


def _let_go() -> None:
    """Close what a forked process has inherited; the lock stays with the process that took it."""
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_let_go)


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
        raise DataError(f"{path}: cannot be written ({reason(error)}); {remedy}") from error


def too_long(folder: Path, names: Iterable[str]) -> str | None:
    """Return the first of the names that the file system does not take, alone or after the path of the folder.

    Args:
        folder: the folder, which need not exist yet.
        names: paths of files in it.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.isdir(path))
    for name in names:
        for path in (folder / name, *(existing / part for part in Path(name).parts)):
            try:
                os.lstat(path)
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    return name
    return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
