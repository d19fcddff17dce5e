"""Atomic writing of files, and locks on folders, so that one process writes at a time (on POSIX systems)."""

import errno
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from emorl.errors import DataError, reason

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")  # names of files that `atomic` is writing
_held: set[BinaryIO] = set()  # locks held by this process


def is_url(root: str | os.PathLike[str]) -> bool:
    """Return whether a file or folder is at a URL, such as `https://`, `s3://` or `file://`, rather than at a path.

    >>> is_url("s3://bucket/tetrominoes"), is_url("data/tetrominoes")
    (True, False)
    """
    return "://" in os.fspath(root)


def to_write(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file or folder to write, in which `~` is expanded.

    Raises:
        DataError: if it is a URL, since files are written to local folders only.

    >>> to_write("data/mine").name
    'mine'
    """
    if is_url(path):
        raise DataError.of(path, expected="a local path to write to", got="a URL", remedy="write locally and upload it")
    return Path(os.path.expanduser(path))


def remove_temporary(folder: Path) -> None:
    """Remove files that `atomic` left in a folder when its process was killed. Lock the folder first.

    >>> remove_temporary(Path("no/such/folder"))
    """
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Lock a folder against other writers; the operating system releases the lock however this process ends.

    Yields the lock's file descriptor: a subprocess that inherits it holds the lock too, until it ends. A forked
    process, such as a loader's worker, does not hold it, because it may outlive this process for a while. On a file
    system without locks, other writers are not detected.

    Raises:
        DataError: if another process holds the lock, or the folder is not writable.
    """
    lock = folder / ".lock"
    with ExitStack() as stack:
        while True:
            stream = stack.enter_context(_lock(lock))
            if _is_at(stream, lock):
                break
            stack.close()  # the former holder removed the file after it was opened here
        _held.add(stream)
        try:
            yield stream.fileno()
        finally:
            _held.discard(stream)
            if _is_at(stream, lock):  # not if the folder was removed, and another process locked a new one
                lock.unlink()


@contextmanager
def _lock(lock: Path) -> Iterator[BinaryIO]:
    """Open and lock a file."""
    folder = lock.parent
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
        yield stream


def _is_at(stream: BinaryIO, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _let_go() -> None:
    """Close inherited locks in a forked process; the process that locked the folder keeps its lock."""
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when it is complete and on disk.

    Creates the folder if necessary. Several processes may write the same name at the same time: each writes a separate
    temporary file, which remains only if the process is killed.

    Raises:
        DataError: if the file cannot be written, such as on a full disk.
    """
    temporary = path.with_name(f".{uuid4().hex}.tmp")  # not longer than any valid name
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
        taken = FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError
        unfit = isinstance(error, (*taken, FileNotFoundError))  # not found: folders cannot be made there, as in /proc
        remedy = "choose another folder" if unfit else "free some space or choose another folder"
        remedy += ", and run the same command again: finished files are kept"
        raise DataError(f"{path}: cannot be written ({reason(error)}); {remedy}") from error


def too_long(folder: Path, names: Iterable[str]) -> str | None:
    """Return the first name that is too long for the file system, alone or with the folder's path; None if none is.

    Args:
        folder: the folder, which need not exist.
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
