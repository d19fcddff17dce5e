"""Whole shards, as the manifest describes them: fetched, compared, and kept in a local folder if there is one."""

import hashlib
import logging
import os
from pathlib import Path

from emorl.data.shards.manifest import Shard
from emorl.data.shards.remote import fetch, is_url, locate
from emorl.errors import DataError
from emorl.files import atomic

REMEDY = "fetch the shard again, or delete it and run the emorl-data command that writes it"

_log = logging.getLogger(__name__)


def fetch_shard(root: str | os.PathLike[str], shard: Shard, cache: str | os.PathLike[str] | None = None) -> bytes:
    """Return the content of a shard, which is what the manifest says.

    A shard from a URL is kept in the cache under its checksum: processes, runs and data sets may share the folder
    without a lock, for a file appears there whole or not at all, and one that was damaged since is fetched anew.
    Files in it may be deleted whenever nothing runs. A shard from a local path is read where it is.

    Args:
        root: folder of the data set: a local path or a URL.
        shard: the shard's entry in the manifest.
        cache: local folder, made if need be; nothing is kept without one.

    Raises:
        DataError: if the shard cannot be read, differs from the manifest in size or checksum (from a URL: twice), or
            if it cannot be kept, as on a full disk.
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
    if difference and is_url(root):  # a proxy may have spoilt it, or a server without Content-Length have hung up
        _log.warning("%s: %s; fetching it again", where, difference)
        content = fetch(root, shard.name, shard.bytes)
        difference = _difference(content, shard)
    if difference:
        raise DataError(f"{where}: {difference}; {REMEDY}")
    return content


def _difference(content: bytes, shard: Shard) -> str:
    """Return what is wrong with a shard, nothing if it is whole."""
    if len(content) != shard.bytes:
        more = " or more" if len(content) > shard.bytes else ""
        return f"expected {shard.bytes} bytes as in the manifest, got {len(content)}{more}"
    checksum = hashlib.sha256(content).hexdigest()
    return "" if checksum == shard.sha256 else f"expected SHA-256 {shard.sha256}, got {checksum}"
