"""Atomic writing of one shard: a tar file with equal bytes for equal records."""

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
from emorl.errors import DataError, reason
from emorl.files import atomic


def write_shard(folder: Path, task: ShardTask, records: Iterator[Record]) -> Shard:
    """Write a shard and return its entry in the manifest.

    Raises:
        DataError: if there are too few records, if one violates its source's specification, or if the disk is full.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> source = Tetrominoes(num_scenes=4)
    >>> task = ShardTask("test", "test-000000.tar", source, first=0, runs=(range(4),))
    >>> write_shard(Path(tempfile.mkdtemp()), task, source.records()).samples
    4
    """
    path = folder / task.name
    with atomic(path) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, index in enumerate(itertools.chain.from_iterable(task.runs), start=task.first):
            record = _next(records, task.source)
            if record is None:
                expected = f"a record {index}, counted from 0, for the split {task.split}"
                got, remedy = "the end of the source", "choose smaller splits: finished shards are kept"
                raise DataError.of(_name(task.source), expected=expected, got=got, remedy=remedy)
            _check(record, task.source, index)
            _add_sample(tar, f"{task.split}-{number:08d}", record)
    return describe(path, task.samples)


def _next(records: Iterator[Record], source: Source) -> Record | None:
    try:
        return next(records, None)
    except OSError as error:  # `atomic` would take it for one of the shard
        got, remedy = reason(error), "check its files, and run the same command again: finished shards are kept"
        raise DataError.of(_name(source), expected="records that can be read", got=got, remedy=remedy) from error


def describe(path: Path, samples: int) -> Shard:
    """Return the manifest entry of a shard on disk.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "test-000000.tar")
    >>> path.write_bytes(b"abc")
    3
    >>> describe(path, samples=1).bytes
    3
    """
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
    """Append the members, with the defaults of `TarInfo`: time 0, owner 0 and mode 0644."""
    for extension, content in encode_record(record).items():
        member = tarfile.TarInfo(f"{key}.{extension}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
