"""Folders of images: which files are read, their keys, and which files are skipped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from emorl.data.images import IMAGE_SUFFIXES
from emorl.errors import DataError, reason

NAMED = 3  # maximum number of names in a message


class Listing(NamedTuple):
    """The files of a folder, except those whose names begin with a dot.

    >>> listing = Listing(images=(Path("a.png"),), others=(Path("notes.txt"),), folders=())
    >>> listing.images[0].name
    'a.png'
    """

    images: tuple[Path, ...]  # files with an image suffix, sorted
    others: tuple[Path, ...]  # files with other suffixes
    folders: tuple[Path, ...]  # subfolders that were not read


class Images(NamedTuple):
    """The images to read, and a message about skipped files.

    >>> images = Images(paths=(Path("photos/a.png"),), keys=("a",), left_out="")
    >>> dict(zip(images.keys, images.paths))["a"].name
    'a.png'
    """

    paths: tuple[Path, ...]  # sorted
    keys: tuple[str, ...]  # key of each image: its path in the folder, without suffix
    left_out: str  # one line about skipped files; empty if none was skipped


def find_images(root: Path, recursive: bool = False) -> Images:
    """Return the images of a folder, sorted by path, or a single image.

    Args:
        root: folder, or image file.
        recursive: whether to read subfolders as well; symbolic links to folders are not followed.

    Raises:
        DataError: if there are no images, or if two differ only in their suffix.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "a.png").touch(), (folder / "b.jpg").touch(), (folder / "notes.txt").touch()
    (None, None, None)
    >>> find_images(folder).keys
    ('a', 'b')
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
    """List a folder, and its subfolders if ``recursive`` is true.

    Returns:
        Its images, other files and subfolders that were not read.

    Raises:
        DataError: if the path is not a folder, or cannot be read.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "sub").mkdir()
    >>> [path.name for path in list_folder(folder, recursive=False).folders]
    ['sub']
    """
    images, others, folders = [], [], []
    for path in _walk(root, recursive):
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        if path.is_dir():
            folders.append(path)
        elif is_image and (path.is_file() or not path.exists()):  # reading a broken link raises its error
            images.append(path)
        else:
            others.append(path)
    return Listing(tuple(sorted(images)), tuple(sorted(others)), tuple(sorted(folders)))


def key_of(path: Path, root: Path) -> str:
    """Return the key of an image: its path in the folder, without suffix.

    >>> key_of(Path("photos/day/a.png"), Path("photos"))
    'day/a'
    """
    return path.relative_to(root).with_suffix("").as_posix()


def describe_left_out(root: Path, listing: Listing, strays: Sequence[Path] = ()) -> str:
    """Return a message about the files that are skipped and why; empty if none is.

    Args:
        root: the folder.
        listing: its files.
        strays: masks that belong to no image.

    >>> describe_left_out(Path("photos"), Listing((), (Path("photos/notes.txt"),), ()))
    'skipped 1 file without an image suffix (notes.txt)'
    """
    links = [path for path in listing.folders if path.is_symlink()]
    folders = [path for path in listing.folders if not path.is_symlink()]
    kinds = (
        (listing.others, "file", "without an image suffix ({})"),
        (strays, "mask", "without an image ({})"),
        (folders, "subfolder", "({}; the option recursive reads them)"),
        (links, "subfolder", "({}; symbolic links to folders are not followed)"),
    )
    parts = []
    for paths, noun, why in kinds:
        if paths:
            names = some([path.relative_to(root).as_posix() for path in paths])
            parts.append(f"{len(paths)} {noun}{'s' if len(paths) > 1 else ''} {why.format(names)}")
    return f"skipped {' and '.join(parts)}" if parts else ""


def some(names: Sequence[str]) -> str:
    """Return the first `NAMED` names, followed by dots if there are more.

    >>> some(["a", "b", "c", "d"])
    'a, b, c, ...'
    """
    return ", ".join((*names[:NAMED], *(["..."] if len(names) > NAMED else [])))


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    """Yield files, and the subfolders that are not read."""
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
