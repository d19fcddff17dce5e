"""Fetching of whole shards: each is compared with the manifest, and optionally kept in a local cache."""

import hashlib
import logging
import os
from pathlib import Path

from emorl.data.shards.manifest import Shard
from emorl.data.shards.remote import fetch, locate
from emorl.errors import DataError
from emorl.files import atomic, is_url

REMEDY = "fetch the shard again, or delete it and run the emorl-data command that writes it"

_log = logging.getLogger(__name__)


def fetch_shard(root: str | os.PathLike[str], shard: Shard, cache: str | os.PathLike[str] | None = None) -> bytes:
    """Return the content of a shard, after comparing it with the manifest.

    A shard from a URL is stored in the cache under its checksum. Processes, runs and data sets can share the cache
    without a lock, because files are written atomically, and damaged files are fetched again. Its files can be deleted
    while no process uses them. Shards at a local path are not cached.

    Args:
        root: folder of the data set: a local path or a URL.
        shard: the shard's entry in the manifest.
        cache: local folder, created if necessary; by default shards are not cached.

    Raises:
        DataError: if the shard cannot be read, differs from the manifest in size or checksum (from a URL: twice), or
            cannot be cached, such as on a full disk.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> size = (folder / "train-000000.tar").write_bytes(b"abc")
    >>> shard = Shard("train-000000.tar", samples=1, bytes=size, sha256=hashlib.sha256(b"abc").hexdigest())
    >>> fetch_shard(folder, shard)
    b'abc'
    """
    if cache is None or not is_url(root):
        return _fetch(root, shard)
    kept = Path(cache) / f"{shard.sha256}.tar"
    if kept.exists():
        content = fetch(cache, kept.name, shard.bytes)
        if not (difference := _difference(content, shard)):
            return content
        _log.warning("%s: %s; fetching %s again", kept, difference, locate(root, shard.name))
    content = _fetch(root, shard)
    with atomic(kept) as stream:
        stream.write(content)
    return content


def _fetch(root: str | os.PathLike[str], shard: Shard) -> bytes:
    where = locate(root, shard.name)
    content = fetch(root, shard.name, shard.bytes)
    difference = _difference(content, shard)
    if difference and is_url(root):  # damaged by a proxy, or truncated by a server that sends no Content-Length
        _log.warning("%s: %s; fetching it again", where, difference)
        content = fetch(root, shard.name, shard.bytes)
        difference = _difference(content, shard)
    if difference:
        raise DataError(f"{where}: {difference}; {REMEDY}")
    return content


def _difference(content: bytes, shard: Shard) -> str:
    """Describe how a shard differs from the manifest; empty if it does not."""
    if len(content) != shard.bytes:
        more = " or more" if len(content) > shard.bytes else ""
        return f"expected {shard.bytes} bytes as in the manifest, got {len(content)}{more}"
    checksum = hashlib.sha256(content).hexdigest()
    return "" if checksum == shard.sha256 else f"expected SHA-256 {shard.sha256}, got {checksum}"
