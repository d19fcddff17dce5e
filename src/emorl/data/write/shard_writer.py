"""One shard, written whole or not at all: a tar file with the same bytes for the same records."""

import hashlib
import io
import itertools
import tarfile
from collections.abc import Iterator
from pathlib import Path

from emorl.data.records import Record, Source, check_record
from emorl.data.shards.manifest import Shard
from emorl.data.shards.samples import encode_record
from emorl.data.write.selection import ShardTask
from emorl.errors import DataError
from emorl.files import atomic


def write_shard(folder: Path, task: ShardTask, records: Iterator[Record]) -> Shard:
    """Write a shard and return its entry in the manifest.

    Raises:
        DataError: if there are too few records, if one contradicts its source, or if the disk is full.
    """
    path = folder / task.name
    with atomic(path) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, index in enumerate(itertools.chain.from_iterable(task.runs), start=task.first):
            record = next(records, None)
            if record is None:
                expected = f"a record {index}, counted from 0, for the split {task.split}"
                got, remedy = "the end of the source", "choose smaller splits: finished shards are kept"
                raise DataError.of(_name(task.source), expected=expected, got=got, remedy=remedy)
            _check(record, task.source, index)
            _add_sample(tar, f"{task.split}-{number:08d}", record)
    return describe(path, task.samples)


def describe(path: Path, samples: int) -> Shard:
    """Return the entry in the manifest of a shard as it is on the disk."""
    with path.open("rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    return Shard(path.name, samples, path.stat().st_size, checksum)


def _check(record: Record, source: Source, index: int) -> None:
    try:
        check_record(record, source)
    except DataError as error:
        raise DataError(f"{_name(source)}: record {index}: {error}") from error


def _name(source: Source) -> str:
    return f"{source.provenance.get('file', source.dataset)}"


def _add_sample(tar: tarfile.TarFile, key: str, record: Record) -> None:
    """Append the members; a `TarInfo` has time 0, owner 0 and mode 0644 unless told otherwise."""
    for extension, content in encode_record(record).items():
        member = tarfile.TarInfo(f"{key}.{extension}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
