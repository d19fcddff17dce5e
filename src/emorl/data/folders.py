"""Folders of images: which files are read, under which keys, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from emorl.data.images import IMAGE_SUFFIXES
from emorl.errors import DataError, reason

NAMED = 3  # names in a message, at most


class Listing(NamedTuple):
    """The files of a folder, but for those whose names begin with a dot."""

    images: tuple[Path, ...]  # by suffix, sorted
    others: tuple[Path, ...]  # files of other suffixes
    folders: tuple[Path, ...]  # subfolders that were not entered


class Images(NamedTuple):
    """The images to read, and what to say of those that are not."""

    paths: tuple[Path, ...]  # sorted
    keys: tuple[str, ...]  # of each: its path in the folder, without suffix
    left_out: str  # one line, empty if nothing was left out


def find_images(root: Path, recursive: bool = False) -> Images:
    """Return the images of a folder, sorted by path, or a single image.

    Args:
        root: folder, or file of an image.
        recursive: whether to read subfolders too, other than links to folders.

    Raises:
        DataError: if there are no images, or two that differ in their suffix alone.
    """
    if os.path.isfile(root):  # `Path.is_file` raises an error on a name that is too long
        return Images((root,), (root.stem,), "")
    listing = list_folder(root, recursive)
    left_out = describe_left_out(root, listing)
    if not listing.images:
        expected = f"a folder with images in it ({', '.join(IMAGE_SUFFIXES)}), or with shards and their manifest.json"
        got = f"neither ({left_out})" if left_out else "neither"
        raise DataError.of(root, expected=expected, got=got, remedy="check the path")
    keys = tuple(key_of(path, root) for path in listing.images)
    if twins := sorted(key for key, count in Counter(keys).items() if count > 1):
        got = f"several named {some(twins)}"
        raise DataError.of(root, expected="one image of each name", got=got, remedy="rename them")
    return Images(listing.images, keys, left_out and f"{root}: {left_out}")


def list_folder(root: Path, recursive: bool) -> Listing:
    """List a folder, and its subfolders too if that is asked for.

    Raises:
        DataError: if it is no folder, or cannot be read.
    """
    images, others, folders = [], [], []
    for path in _walk(root, recursive):
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        if path.is_dir():
            folders.append(path)
        elif is_image and (path.is_file() or not path.exists()):  # the error of a broken link is that of reading it
            images.append(path)
        else:
            others.append(path)
    return Listing(tuple(sorted(images)), tuple(sorted(others)), tuple(sorted(folders)))


def key_of(path: Path, root: Path) -> str:
    """Return what names an image: its path in the folder, without suffix."""
    return path.relative_to(root).with_suffix("").as_posix()


def describe_left_out(root: Path, listing: Listing, strays: Sequence[Path] = ()) -> str:
    """Say what of a folder is not read and why; nothing if all is.

    Args:
        root: the folder.
        listing: what is in it.
        strays: masks that belong to no image.
    """
    kinds = (
        (listing.others, "file", "without an image's suffix ({})"),
        (strays, "mask", "without an image ({})"),
        (listing.folders, "subfolder", "({}; the option recursive reads them)"),
    )
    parts = []
    for paths, noun, why in kinds:
        if paths:
            names = some([path.relative_to(root).as_posix() for path in paths])
            parts.append(f"{len(paths)} {noun}{'s' if len(paths) > 1 else ''} {why.format(names)}")
    return f"left out {' and '.join(parts)}" if parts else ""


def some(names: Sequence[str]) -> str:
    """Return the first names of a list, and dots if there are more."""
    return ", ".join((*names[:NAMED], *(["..."] if len(names) > NAMED else [])))


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    """Yield files, and the subfolders that are not entered."""
    try:
        entries = [Path(entry) for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except (OSError, ValueError) as error:
        got = "no such folder" if isinstance(error, FileNotFoundError) else reason(error)
        raise DataError.of(folder, expected="a folder", got=got, remedy="check the path") from error
    for path in entries:
        if recursive and path.is_dir() and not path.is_symlink():
            yield from _walk(path, recursive)
        else:
            yield path
