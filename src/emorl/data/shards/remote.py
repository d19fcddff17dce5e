"""Files of a data set, by path or URL: transient faults are retried, others are one error at once.

URLs are read with fsspec, one request a file. Unlike a pipe from curl, it tells a connection that broke from the end of
a file and 404 from 503, quotes what a URL may not hold, and needs nothing but Python. Its settings are the user's:
proxies and `~/.netrc` are honored, and so are variables such as `FSSPEC_S3_ANON` and `AWS_ENDPOINT_URL`.
"""

import logging
import os
import random
import time
from collections.abc import Callable

import aiohttp
import fsspec  # type: ignore[import-untyped]

from emorl.errors import DataError, reason

TRIES = 6
BACKOFF = 1.0  # seconds before the second try, at most; twice as long before each further one: half a minute in all

_CHUNK = 1 << 20
_HTTP = {"trust_env": True, "timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}
_OPTIONS = {protocol: {"client_kwargs": _HTTP} for protocol in ("http", "https")}
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError)
_CHECK = "check the path, or run the emorl-data command that writes the data set (again)"
_LATER = "check the network and the server, and run the same command again"

_dice = random.SystemRandom()  # leaves alone the generators that an experiment has seeded
_log = logging.getLogger(__name__)


def is_url(root: str | os.PathLike[str]) -> bool:
    """Return whether a data set is at a URL, such as `https://`, `s3://` or `file://`, rather than at a path."""
    return "://" in os.fspath(root)


def locate(root: str | os.PathLike[str], name: str) -> str:
    """Return the path or URL of a file of the data set."""
    folder = os.fspath(root)
    return f"{folder.rstrip('/')}/{name}" if is_url(root) else os.path.join(folder, name)


def fetch(root: str | os.PathLike[str], name: str, limit: int) -> bytes:
    """Return the content of a file of the data set, of a larger local file a little more than `limit` bytes.

    From a URL it is tried up to `TRIES` times, with a warning and a longer wait each time, as long as the fault is one
    that may pass: a connection refused, broken or silent, an answer cut short, a server that is overloaded or broken.

    Raises:
        DataError: if the file cannot be read.
    """
    where = locate(root, name)
    if is_url(root):
        return _download(where)
    try:
        with open(where, "rb") as stream:
            return _read(stream.read, limit)
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: cannot be read ({_reason(error)}); {_CHECK}") from error


def _download(where: str) -> bytes:
    tries = 1
    while True:
        try:
            protocol = where.partition("://")[0]
            content: bytes = fsspec.filesystem(protocol, **_OPTIONS.get(protocol, {})).cat_file(where)
            return content
        except Exception as error:  # every file system has errors of its own
            if not _may_pass(error):
                raise DataError(f"{where}: cannot be read ({_reason(error)}); {_CHECK}") from error
            if tries == TRIES:
                raise DataError(f"{where}: cannot be read in {tries} tries ({_reason(error)}); {_LATER}") from error
            wait = BACKOFF * 2 ** (tries - 1) * _dice.uniform(0.5, 1)
            _log.warning("%s: %s; try %d of %d in %.1f s", where, _reason(error), tries + 1, TRIES, wait)
        time.sleep(wait)
        tries += 1


def _may_pass(error: Exception) -> bool:
    status = getattr(error, "status", None)  # of an HTTP answer
    if status is not None:
        return status in (408, 429) or status >= 500
    return isinstance(error, (OSError, aiohttp.ClientError)) and not isinstance(error, _LASTING)


def _reason(error: Exception) -> str:
    if status := getattr(error, "status", None):
        return f"HTTP status {status}"
    if isinstance(error, FileNotFoundError):
        return "No such file or directory"
    return reason(error)


def _read(read: Callable[[int], bytes], limit: int) -> bytes:
    """Read in chunks: memory follows what is there, not what a manifest claims."""
    content = bytearray()
    while len(content) <= limit and (chunk := read(_CHUNK)):
        content += chunk
    return bytes(content)
