"""The cache of exported models, in the user's cache folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from emorl.errors import DataError, reason


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/emorl/explore``, by default in ``~/.cache``.

    >>> cache_folder().parts[-2:]
    ('emorl', 'explore')
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emorl" / "explore"


def cached(key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of a key; if it does not exist, create it atomically.

    Args:
        key: name of the folder.
        make: writes the files to a new, empty folder.

    Raises:
        DataError: if the cache cannot be written.
    """
    folder = cache_folder() / key
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            make(made)
            if not folder.is_dir():  # another process may have created it meanwhile
                shutil.move(made, folder)
    except OSError as error:
        remedy = "free some space, or set XDG_CACHE_HOME to a folder that can be written"
        raise DataError.of(folder, expected="a cache folder", got=reason(error), remedy=remedy) from error
    return folder
