"""Reader of TFRecord files without TensorFlow: record framing, checksums and gzip.

A record is a little-endian u64 length, the masked CRC32C of these 8 bytes, the data, and the masked CRC32C of the
data (https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details").
"""

import gzip
import itertools
import struct
import sys
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BufferedIOBase
from os import PathLike
from pathlib import Path

import google_crc32c
import numpy as np

from emorl.data.records import Record, Source, file_provenance
from emorl.data.runs import Runs
from emorl.data.sources.example import Example, parse_example, take
from emorl.errors import DataError

MAX_RECORD = 1 << 28  # bytes; the largest known record, one of CLEVR, has 3.3 MB

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_SIZE = _LENGTH.size + _CHECKSUM.size
_DAMAGED = "the file is damaged or truncated: fetch it again and compare its checksum"


def masked_crc(data: bytes) -> int:
    """Return the CRC32C of the data, rotated right by 15 bits, plus a constant, as TFRecord stores it.

    >>> hex(masked_crc(b"123456789"))
    '0xc78ab0e5'
    """
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes]:
    """Stream the records of a TFRecord file, compressed with gzip or not.

    Returns:
        The bytes of one record after another.

    Raises:
        DataError: if the file is missing, empty, not a TFRecord, damaged or truncated.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "two.tfrecords")
    >>> length = _LENGTH.pack(3)
    >>> record = length + _CHECKSUM.pack(masked_crc(length)) + b"abc" + _CHECKSUM.pack(masked_crc(b"abc"))
    >>> _ = path.write_bytes(2 * record)
    >>> list(read_records(path))
    [b'abc', b'abc']
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give the path of a TFRecord file") from error
    with file:
        stream = _inflate(file)
        for number in itertools.count():
            data = _next_record(stream, f"{path}: record {number}")
            if data is None:
                break
            yield data
    if number == 0:
        raise DataError.of(path, expected="a TFRecord file", got="an empty one", remedy=_DAMAGED)


class TFRecordSource(Source):
    """A source over a TFRecord file of `tf.train.Example`s, in the order of the file.

    Args:
        path: the file, compressed or not.

    >>> from emorl.data.sources.tetrominoes import TetrominoesTFRecords
    >>> issubclass(TetrominoesTFRecords, TFRecordSource)
    True
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)

    @cached_property
    def provenance(self) -> dict[str, str | int]:
        """Name and checksum of the file."""
        return file_provenance(self.path)

    @abstractmethod
    def decode(self, example: Example) -> Record:
        """Convert a parsed example to a record.

        Raises:
            DataError: if a feature is missing or differs from this data set.
        """

    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the records from index `start` on.

        Raises:
            DataError: if the file is missing, damaged or not of this data set.
        """
        return self.select((range(start, sys.maxsize),))

    def select(self, runs: Runs) -> Iterator[Record]:
        """Yield the records at runs of indices, in one pass that decodes only these.

        Raises:
            DataError: if the file is missing, damaged or not of this data set.
        """
        wanted = itertools.chain.from_iterable(runs)
        index = next(wanted, None)
        for number, data in enumerate(read_records(self.path)):
            if number == index:
                with self._located(number):
                    record = self.decode(parse_example(data))
                yield record
                index = next(wanted, None)
            if index is None:
                break

    def feature(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> Iterator[np.ndarray]:
        """Yield one feature of each record, without parsing the others.

        Raises:
            DataError: if the file is missing, damaged or lacks this feature.
        """
        for number, data in enumerate(read_records(self.path)):
            with self._located(number):
                value = take(parse_example(data, only=name), name, shape, dtype)
            yield value

    @contextmanager
    def _located(self, number: int) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            raise DataError(f"{self.path}: record {number}: {error}") from error


def _inflate(file: BufferedIOBase) -> BufferedIOBase:
    """Decompress gzip, which is detected by its magic number unless the file starts with an intact record header."""
    head = file.read(_HEADER_SIZE)
    file.seek(0)
    if head.startswith(b"\x1f\x8b") and not _is_header(head):
        return gzip.GzipFile(fileobj=file)
    return file


def _is_header(head: bytes) -> bool:
    length, checksum = head[: _LENGTH.size], head[_LENGTH.size :]
    return len(head) == _HEADER_SIZE and _CHECKSUM.unpack(checksum)[0] == masked_crc(length)


def _next_record(stream: BufferedIOBase, where: str) -> bytes | None:
    """Return the next record, None at the end of the file."""
    head = _read(stream, _HEADER_SIZE, where)
    if not head:
        return None
    if not _is_header(head):
        expected = "a TFRecord header of 12 bytes with a matching checksum"
        raise DataError.of(where, expected=expected, got=f"the bytes {head.hex()}", remedy=_DAMAGED)
    (length,) = _LENGTH.unpack_from(head)
    if length > MAX_RECORD:
        expected = f"at most {MAX_RECORD} bytes"
        raise DataError.of(where, expected=expected, got=f"a length of {length}", remedy="use a trusted file")
    data, checksum = _read(stream, length, where), _read(stream, _CHECKSUM.size, where)
    if len(data) + len(checksum) < length + _CHECKSUM.size:
        expected, got = f"{length} bytes and their checksum", f"{len(data) + len(checksum)} bytes until the end"
        raise DataError.of(where, expected=expected, got=got, remedy=_DAMAGED)
    if _CHECKSUM.unpack(checksum)[0] != masked_crc(data):
        raise DataError.of(where, expected="data that match their checksum", got="different data", remedy=_DAMAGED)
    return data


def _read(stream: BufferedIOBase, size: int, where: str) -> bytes:
    try:
        return stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError.of(where, expected="an intact file", got=f"{error}", remedy=_DAMAGED) from error
