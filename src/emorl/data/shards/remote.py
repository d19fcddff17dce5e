"""Files of a data set, by path or URL: transient faults are retried, other faults raise an error immediately.

URLs are read with fsspec, one request per file. Unlike a pipe from curl, it distinguishes a broken connection from the
end of a file and 404 from 503, and quotes URLs. The user's settings apply: proxies, `~/.netrc`, and variables such as
`FSSPEC_S3_ANON` and `AWS_ENDPOINT_URL`.
"""

import logging
import os
import random
import time
from collections.abc import Callable

import aiohttp
import fsspec  # type: ignore[import-untyped]

from emorl.errors import DataError, reason
from emorl.files import is_url

TRIES = 6
BACKOFF = 1.0  # maximum wait in seconds before the second try; doubles with each further try, 31 seconds in total

_CHUNK = 1 << 20
_HTTP = {"trust_env": True, "timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}
_OPTIONS = {protocol: {"client_kwargs": _HTTP} for protocol in ("http", "https")}
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError)
_CHECK = "check the path, or run the emorl-data command that writes the data set (again)"
_LATER = "check the network and the server, and run the same command again"

_dice = random.SystemRandom()  # separate from the seeded generators of an experiment
_log = logging.getLogger(__name__)


def locate(root: str | os.PathLike[str], name: str) -> str:
    """Return the path or URL of a file of the data set.

    >>> locate("https://example.org/tetrominoes/", "manifest.json")
    'https://example.org/tetrominoes/manifest.json'
    """
    folder = os.fspath(root)
    return f"{folder.rstrip('/')}/{name}" if is_url(root) else os.path.join(folder, name)


def fetch(root: str | os.PathLike[str], name: str, limit: int, remedy: str | None = None) -> bytes:
    """Return the content of a file of the data set; reading of a local file stops after `limit` bytes.

    Downloads are tried up to `TRIES` times, with a warning and an increasing wait each time, if the fault is transient:
    a refused, broken or silent connection, a truncated answer, or a server error.

    Args:
        root: folder of the data set: a local path or a URL.
        name: file name in the folder.
        limit: largest number of bytes of a local file.
        remedy: how the user can fix a local file that cannot be read, for the error; by default a general advice.

    Raises:
        DataError: if the file cannot be read.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with open(os.path.join(folder, "manifest.json"), "wb") as stream:
    ...     _ = stream.write(b"{}")
    >>> fetch(folder, "manifest.json", limit=1024)
    b'{}'
    """
    where = locate(root, name)
    if is_url(root):
        return _download(where)
    try:
        with open(where, "rb") as stream:
            return _read(stream.read, limit)
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: cannot be read ({_reason(error)}); {remedy or _CHECK}") from error


def _download(where: str) -> bytes:
    tries = 1
    while True:
        try:
            protocol = where.partition("://")[0]
            content: bytes = fsspec.filesystem(protocol, **_OPTIONS.get(protocol, {})).cat_file(where)
            return content
        except Exception as error:  # each file system of fsspec raises different errors
            if not _may_pass(error):
                raise DataError(f"{where}: cannot be read ({_reason(error)}); {_CHECK}") from error
            if tries == TRIES:
                raise DataError(f"{where}: cannot be read in {tries} tries ({_reason(error)}); {_LATER}") from error
            wait = BACKOFF * 2 ** (tries - 1) * _dice.uniform(0.5, 1)
            _log.warning("%s: %s; try %d of %d in %.1f s", where, _reason(error), tries + 1, TRIES, wait)
        time.sleep(wait)
        tries += 1


def _may_pass(error: Exception) -> bool:
    status = getattr(error, "status", None)  # HTTP status
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
    """Read in chunks, so that memory depends on the file's size and not on the size in the manifest."""
    content = bytearray()
    while len(content) <= limit and (chunk := read(_CHUNK)):
        content += chunk
    return bytes(content)
