"""A minimal reader of `tf.train.Example` messages, without TensorFlow or protobuf.

    Example { Features features = 1 }           Features { map<string, Feature> feature = 1 }
    Feature { BytesList = 1 | FloatList = 2 | Int64List = 3 }, each { repeated value = 1 }

(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto, wire format:
https://protobuf.dev/programming-guides/encoding). The DeepMind data sets store an image as one byte string per
byte. Such a list is decoded with strides, fifty times faster than one byte string at a time.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from emorl.errors import DataError

Feature = np.ndarray | list[bytes]
Example = dict[str, Feature]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_FIXED_SIZE = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT = 10  # bytes


def parse_example(data: bytes, only: str | None = None) -> Example:
    """Parse a serialized `tf.train.Example`.

    Args:
        data: the message.
        only: name of the only feature to parse; by default all.

    Returns:
        The features by name: float lists as float32 arrays, integer lists as int64 arrays, lists of one-byte
        strings as uint8 arrays, other lists of byte strings as lists.

    Raises:
        DataError: if the bytes are not such a message.

    >>> feature = bytes([0x1A, 3, 0x0A, 1, 7])  # an Int64List with the value 7
    >>> entry = bytes([0x0A, 1]) + b"x" + bytes([0x12, len(feature)]) + feature
    >>> features = bytes([0x0A, len(entry)]) + entry
    >>> parse_example(bytes([0x0A, len(features)]) + features)
    {'x': array([7])}
    """
    try:
        message = memoryview(data)  # slicing it does not copy
        entries = [_split_entry(entry) for features in _submessages(message, 1) for entry in _submessages(features, 1)]
        return {name: _parse_feature(feature) for name, feature in entries if only in (None, name)}
    except (ValueError, OverflowError) as error:
        remedy = "check that the file contains serialized tf.train.Example messages"
        raise DataError.of("message", expected="a tf.train.Example", got=f"{error}", remedy=remedy) from error


def take(example: Example, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """Return the feature `name` as an array of a shape and type.

    Raises:
        DataError: if the feature is missing, or has a different type or size.

    >>> take({"x": np.arange(6)}, "x", (2, 3), np.int64).shape
    (2, 3)
    """
    value = example.get(name)
    if isinstance(value, np.ndarray) and value.dtype == dtype and value.size == np.prod(shape):
        return value.reshape(shape)
    got = f"{value.size} of {value.dtype}" if isinstance(value, np.ndarray) else f"{type(value).__name__}"
    raise DataError.of(
        f"feature {name!r}",
        expected=f"{'x'.join(map(str, shape))} values of {np.dtype(dtype)}",
        got="no such feature" if value is None else got,
        remedy="check that the file belongs to this data set and variant",
    )


def class_name(name: str, code: np.number, classes: Sequence[str]) -> str:
    """Return the class for an id in the feature `name`: 1 is the first class, 0 an absent object.

    Raises:
        DataError: if the id is not that of a class.

    >>> class_name("shape", np.uint8(2), ("square", "ellipse", "heart"))
    'ellipse'
    """
    if code not in range(1, len(classes) + 1):
        expected, remedy = f"an id of 1 to {len(classes)}", "check that the file belongs to this data set and variant"
        raise DataError.of(f"feature {name!r}", expected=expected, got=f"{code}", remedy=remedy)
    return classes[int(code) - 1]


def _split_entry(entry: memoryview) -> tuple[str, memoryview]:
    """Return a key and its feature; as in protobuf, the last of several wins, and a missing one is empty."""
    key = [memoryview(b""), *_submessages(entry, 1)][-1]
    feature = [memoryview(b""), *_submessages(entry, 2)][-1]
    return str(key, "utf-8"), feature


def _parse_feature(feature: memoryview) -> Feature:
    for field, parse in ((1, _parse_bytes), (2, _parse_floats), (3, _parse_integers)):
        for values in _submessages(feature, field):
            return parse(values)
    return []


def _parse_bytes(values: memoryview) -> Feature:
    if len(values) % 3 == 0:
        triples = np.frombuffer(values, dtype=np.uint8).reshape(-1, 3)  # tag of field 1, length 1, the byte
        if (triples[:, 0] == 0x0A).all() and (triples[:, 1] == 0x01).all():
            return triples[:, 2].copy()
    return [bytes(value) for value in _submessages(values, 1)]


def _parse_floats(values: memoryview) -> np.ndarray:
    """Join packed floats and single ones; proto3 parsers accept both."""
    chunks = [_expect(value, wire, _BYTES, _FIXED32) for field, wire, value in _fields(values) if field == 1]
    return np.frombuffer(b"".join(chunks), dtype="<f4").astype(np.float32)


def _parse_integers(values: memoryview) -> np.ndarray:
    """Join packed integers and single ones, both varints in two's complement."""
    integers: list[int] = []
    for field, wire, value in _fields(values):
        if field == 1:
            chunk, position = _expect(value, wire, _BYTES, _VARINT), 0
            while position < len(chunk):
                integer, position = _varint(chunk, position)
                integers.append(integer)
    return np.array(integers, dtype=np.uint64).view(np.int64)


def _submessages(message: memoryview, number: int) -> Iterator[memoryview]:
    """Yield the values of a length-delimited field."""
    for field, wire, value in _fields(message):
        if field == number:
            yield _expect(value, wire, _BYTES)


def _expect(value: memoryview, wire: int, *allowed: int) -> memoryview:
    if wire not in allowed:
        raise ValueError(f"a field of wire type {wire}, not {' or '.join(map(str, allowed))}")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield number, wire type and raw bytes of each field, without the length of length-delimited fields."""
    position = 0
    while position < len(message):
        tag, start = _varint(message, position)
        wire = tag & 7
        if wire == _VARINT:
            _, position = _varint(message, start)
        elif wire == _BYTES:
            length, start = _varint(message, start)
            position = start + length
        elif wire in _FIXED_SIZE:
            position = start + _FIXED_SIZE[wire]
        else:
            raise ValueError(f"the unknown wire type {wire}")
        if position > len(message):
            raise ValueError(f"a field that ends at byte {position} of {len(message)}")
        yield tag >> 3, wire, message[start:position]


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the integer at a position and the position after it."""
    value = 0
    for count, byte in enumerate(message[position : position + _MAX_VARINT]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position + count + 1
    raise ValueError(f"an integer truncated at byte {position}")
