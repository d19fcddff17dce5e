"""Export of a data set to the HDF5 layout of EfficientMORL's authors, so that their code can read it."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from jaxtyping import Float64, UInt8
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.data.records import Objects
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import read_record, read_shard
from emorl.data.sources.hdf5 import ATTRIBUTE, CLEVR_COLUMNS, Contents
from emorl.errors import DataError
from emorl.files import atomic, to_write


def export_hdf5(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write a data set as an HDF5 file in the layout of `emorl.data.sources.hdf5`.

    Factors have the columns of the authors' CLEVR files that the data set has, followed by its other factors. The
    arrays are compressed with gzip, one chunk per scene.

    Args:
        root: folder of the data set: a local path or a URL.
        path: the local file, which is written atomically.

    Raises:
        DataError: if the data set is damaged, or if the file is a URL, exists or cannot be written.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.data.sources.hdf5 import HDF5File
    >>> from emorl.data.write.selection import consecutive
    >>> from emorl.data.write.writer import write_shards
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = write_shards(consecutive(Tetrominoes(num_scenes=2, seed=0), {"test": 2}), folder)
    >>> export_hdf5(folder, folder / "tetrominoes.h5")
    >>> HDF5File(folder / "tetrominoes.h5").splits
    {'test': range(0, 2)}
    """
    manifest, path = Manifest.load(root), to_write(path)
    if path.exists():
        raise DataError.of(path, expected="a new file", got="an existing file", remedy="delete it or choose another")
    crop = manifest.source.get("crop")
    shown = None if crop is None else str(crop)
    contents = Contents(manifest.dataset, manifest.variant, manifest.factors, _columns(manifest), shown)
    samples = sum(split.samples for split in manifest.splits.values())
    with _create_file(path) as (file, output), tqdm(total=samples, unit="scene", disable=None) as bar:
        file.attrs[ATTRIBUTE] = json.dumps(asdict(contents))
        for name, split in manifest.splits.items():
            images, masks, factors = _create_arrays(file.create_group(name), split.samples, manifest, contents)
            for number, sample in enumerate(s for shard in split.shards for s in read_shard(root, shard)):
                record = read_record(sample, manifest)
                images[number] = record.image
                masks[number] = _masks(record.segmentation, manifest.slots)
                factors[number] = _factors(record.factors, manifest.slots, contents)
                output.check()
                bar.update()


class _Output:
    """A file that stores the first error instead of raising it, because HDF5 crashes the process on errors.

    Args:
        file: the file, unbuffered, so that errors occur on writing.
    """

    def __init__(self, file: io.FileIO) -> None:
        self.file = file
        self.error: OSError | None = None
        self.read, self.seek, self.tell = file.read, file.seek, file.tell

    def write(self, data: Any) -> None:  # a buffer type of h5py
        if self._attempt(self.file.write, data) < len(data):
            self.error = self.error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def truncate(self, size: int) -> None:
        self._attempt(self.file.truncate, size)

    def flush(self) -> None:
        """Do nothing, since the file is unbuffered."""

    def check(self) -> None:
        """Raise the stored error, if any."""
        if self.error is not None:
            raise self.error

    def _attempt(self, function: Callable[..., int], *arguments: object) -> int:
        if self.error is None:
            try:
                return function(*arguments)
            except OSError as error:
                self.error = error
        return 0


@contextmanager
def _create_file(path: Path) -> Iterator[tuple[h5py.File, _Output]]:
    """Create a file atomically."""
    with atomic(path) as stream, open(stream.name, "r+b", buffering=0) as raw:
        output = _Output(raw)
        with h5py.File(output, "w") as file:
            yield file, output
        output.check()


def _columns(manifest: Manifest) -> tuple[str, ...]:
    names = [*(factor.name for factor in manifest.factors), "visibility"]
    return (*(c for c in CLEVR_COLUMNS if c in names), *(name for name in names if name not in CLEVR_COLUMNS))


def _create_arrays(group: h5py.Group, scenes: int, manifest: Manifest, contents: Contents) -> list[h5py.Dataset]:
    """Create the arrays of a split, one chunk for each scene."""
    layout = (
        ("imgs", np.uint8, (*manifest.image_size, 3)),
        ("masks", np.uint8, (manifest.slots, *manifest.image_size, 1)),
        ("factors", np.float64, (manifest.slots, len(contents.columns))),
    )
    return [
        group.create_dataset(name, (scenes, *shape), dtype, chunks=(1, *shape), compression="gzip")
        for name, dtype, shape in layout
    ]


def _masks(segmentation: UInt8[np.ndarray, "h w"], entities: int) -> UInt8[np.ndarray, "{entities} h w 1"]:
    covered = segmentation == np.arange(entities)[:, None, None]
    return np.where(covered, np.uint8(255), np.uint8(0))[..., None]


def _factors(objects: Objects, entities: int, contents: Contents) -> Float64[np.ndarray, "{entities} columns"]:
    """Return a row for each entity: first the background, then the objects, then absent entities."""
    rows = np.zeros((entities, len(contents.columns)))
    rows[: len(objects) + 1, contents.columns.index("visibility")] = 1
    for factor in contents.factors:
        numbers = [factor.encode(values[factor.name]) + (factor.kind == "discrete") for values in objects]
        rows[1 : len(objects) + 1, contents.columns.index(factor.name)] = numbers
    return rows
