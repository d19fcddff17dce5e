"""TFRecord files without TensorFlow: framing, checksums, compression, damage."""

import contextlib
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from expected import objects_of, published, segmentation_of
from fixtures.write_with_tensorflow import TETROMINO_COLORS
from hypothesis import given, settings
from hypothesis import strategies as st
from tfrecord_writer import (
    REAL,
    bytes_feature,
    crc32c,
    example,
    field,
    float_feature,
    frame,
    int_feature,
    masked,
    varint,
    write,
)

from emorl.data.generate.tetrominoes import COLORS, SHAPES
from emorl.data.sources.example import class_name, parse_example, take
from emorl.data.sources.tetrominoes import TetrominoesTFRecords
from emorl.data.sources.tfrecord import MAX_RECORD, TFRecordSource, masked_crc, read_records
from emorl.errors import DataError

MESSAGES = [b"", b"one", bytes(range(256)) * 3]
FRAMED = b"".join(map(frame, MESSAGES))
VALID = example(
    {
        "image": bytes_feature([bytes([byte]) for byte in range(20)]),
        "names": bytes_feature([b"ab", b"", b"c"]),
        "x": float_feature([0.5, -1.0]),
        "n": int_feature([3, -1, 2**40]),
    }
)


def read(path):
    return list(read_records(path))


def prefix_until_error(path):
    """Return the records before the first error, and whether there was one."""
    records, failure = [], None
    try:
        records.extend(read_records(path))  # extends record by record
    except DataError as error:
        failure = str(error)
    assert failure is None or (str(path) in failure and "\n" not in failure)
    return records, failure is not None


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("tfrecord") / "some.tfrecords"


def test_checksum_is_the_published_crc32c():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4 and common check value
    assert struct.pack("<I", masked_crc(b"123456789")) == masked(b"123456789")


@pytest.mark.parametrize("compressed", [True, False])
def test_reads_plain_and_compressed_records(path, compressed):
    assert read(write(path, MESSAGES, compressed)) == MESSAGES


def test_plain_file_whose_first_length_looks_like_gzip(path):
    messages = [bytes(0x8B1F)]
    assert write(path, messages, compressed=False).read_bytes().startswith(b"\x1f\x8b")
    assert read(path) == messages


@pytest.mark.skipif(not REAL.exists(), reason="no real records in ../shared/data")
def test_reads_real_records():
    records = [parse_example(data) for data in read_records(REAL)]
    assert len(records) == 10
    for record in records:
        assert take(record, "image", (35, 35, 3), np.uint8).max() == 255
        assert take(record, "mask", (4, 35, 35, 1), np.uint8).sum() == 35 * 35 * 255
        assert take(record, "color", (4, 3), np.float32).shape == (4, 3)


def test_missing_empty_and_foreign_files(path):
    with pytest.raises(DataError, match=r"nothing\.tfrecords: cannot be read .*; give the path"):
        read(path.with_name("nothing.tfrecords"))
    with pytest.raises(DataError, match="cannot be read"):
        read(path.parent)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="expected a TFRecord file, got an empty one"):
        read(path)
    path.write_bytes(b"\x89PNG and so on, no records")
    with pytest.raises(DataError, match="record 0: expected a TFRecord header"):
        read(path)
    path.write_bytes(gzip.compress(b"text"))
    with pytest.raises(DataError, match="record 0: expected a TFRecord header"):
        read(path)


@pytest.mark.parametrize("claimed", [MAX_RECORD + 1, 2**60, 2**64 - 1])
def test_hostile_length_with_a_valid_checksum(path, claimed):
    length = struct.pack("<Q", claimed)
    path.write_bytes(frame(b"fine") + length + masked(length) + b"x" * 100)
    with pytest.raises(DataError, match=f"record 1: expected at most {MAX_RECORD} bytes, got a length of {claimed}"):
        read(path)


@settings(deadline=None)
@given(st.integers(0, len(FRAMED) - 1))
def test_truncated_plain_file(path, size):
    path.write_bytes(FRAMED[:size])
    boundaries = np.cumsum([0, *(len(frame(message)) for message in MESSAGES)]).tolist()
    records, failed = prefix_until_error(path)
    assert records == MESSAGES[: len(records)]
    assert failed or size in boundaries[1:]  # the format cannot detect truncation between two records


@settings(deadline=None)
@given(st.integers(0, len(FRAMED) - 1), st.integers(1, 255))
def test_plain_file_with_a_flipped_byte(path, place, flip):
    content = bytearray(FRAMED)
    content[place] ^= flip
    path.write_bytes(content)
    records, failed = prefix_until_error(path)
    assert failed
    assert records == MESSAGES[: len(records)]


@settings(deadline=None)
@given(st.data())
def test_compressed_file_damaged(path, data):
    content = bytearray(gzip.compress(FRAMED))
    if data.draw(st.booleans(), label="cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1), label="size")]
        must_fail = True
    else:
        place = data.draw(st.integers(0, len(content) - 1), label="place")
        content[place] ^= data.draw(st.integers(1, 255), label="flip")
        must_fail = place >= 10  # bytes 3 to 9 of a gzip header are flags, time and system, which change no data
    path.write_bytes(content)
    records, failed = prefix_until_error(path)
    assert failed or not must_fail
    assert records == MESSAGES[: len(records)]
    assert failed or records == MESSAGES


def test_parses_every_kind_of_feature():
    parsed = parse_example(VALID)
    np.testing.assert_array_equal(parsed["image"], np.arange(20, dtype=np.uint8), strict=True)
    assert parsed["names"] == [b"ab", b"", b"c"]
    np.testing.assert_array_equal(parsed["x"], np.array([0.5, -1.0], dtype=np.float32), strict=True)
    np.testing.assert_array_equal(parsed["n"], np.array([3, -1, 2**40]), strict=True)


@pytest.mark.parametrize("feature", [float_feature, int_feature])
def test_packed_and_unpacked_lists_are_the_same(feature):
    packed, unpacked = (parse_example(example({"x": feature([1, 2, 300], packed)}))["x"] for packed in (True, False))
    np.testing.assert_array_equal(packed, unpacked, strict=True)


def test_parses_only_the_requested_feature():
    assert list(parse_example(VALID, only="n")) == ["n"]
    assert parse_example(VALID, only="m") == {}


@pytest.mark.parametrize("code", [np.uint8(0), np.uint8(3), np.float32(1.5), np.float32("nan"), np.float32(-1)])
def test_class_name_refuses_other_codes(code):
    assert class_name("size", np.float32(2), ("large", "small")) == "small"
    with pytest.raises(DataError, match=f"feature 'size': expected an id of 1 to 2, got {code}; check that the file"):
        class_name("size", code, ("large", "small"))


def test_empty_features_and_unknown_fields():
    assert parse_example(b"") == {}
    unknown = field(7, b"later") + varint(8 << 3) + varint(5) + varint(9 << 3 | 1) + bytes(8)
    assert parse_example(example({"x": b""}) + unknown) == {"x": []}
    assert len(parse_example(example({"x": float_feature([])}))["x"]) == 0


def test_one_byte_strings_among_others_stay_apart():
    assert parse_example(example({"x": bytes_feature([b"a", b"\x01b", b"cd"])}))["x"] == [b"a", b"\x01b", b"cd"]


@pytest.mark.parametrize(
    "message",
    [
        b"\x0b",  # a group
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # 2^60 bytes and more
        b"\x0a" + b"\xff" * 20,
        b"\x08\x01",  # features as an integer
        example({"x": field(2, field(1, b"123"))}),
        example({"x": field(3, field(1, b"\xff" * 9 + b"\x7f"))}),  # more than 64 bits
        field(1, field(1, field(1, b"\xff\xfe"))),  # a name that is not UTF-8
    ],
)
def test_malformed_messages(message):
    with pytest.raises(DataError, match=r"expected a tf\.train\.Example, got .*; check"):
        parse_example(message)


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(message):
    with contextlib.suppress(DataError):
        assert isinstance(parse_example(message), dict)


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255), st.integers(0, len(VALID)))
def test_damaged_messages_are_parsed_or_refused(place, byte, size):
    message = bytearray(VALID)
    message[place] = byte
    with contextlib.suppress(DataError):
        assert isinstance(parse_example(bytes(message[:size])), dict)


@pytest.mark.parametrize(
    ("name", "got"), [("y", "no such feature"), ("names", "list"), ("x", "2 of float32"), ("n", "3 of int64")]
)
def test_take_names_the_wrong_feature(name, got):
    with pytest.raises(DataError, match=f"feature '{name}': expected 3x2 values of float32, got {got}"):
        take(parse_example(VALID), name, (3, 2), np.float32)


class Lengths(TFRecordSource):
    """Records the length of each decoded feature `x`."""

    def __init__(self, path):
        super().__init__(path)
        self.decoded = []

    def decode(self, example):
        self.decoded.append(len(example["x"]))
        return self.decoded[-1]


def test_only_the_selected_records_are_decoded(path):
    source = Lengths(write(path, [example({"x": float_feature([0] * length)}) for length in range(10)]))
    assert list(source.select((range(1, 3), range(6, 7)))) == [1, 2, 6] == source.decoded
    assert list(source.records(start=8)) == [8, 9]
    assert list(source.select((range(9, 12),))) == [9]
    assert list(source.select(())) == []


def test_one_feature_of_each_record(path):
    source = Lengths(write(path, [example({"x": float_feature([i]), "y": int_feature([i])}) for i in range(3)]))
    assert [values.tolist() for values in source.feature("x", (1,), np.float32)] == [[0.0], [1.0], [2.0]]
    assert source.decoded == []
    write(path, [example({"x": float_feature([1])}), example({"y": int_feature([1])}), b"\x0b"])
    values = source.feature("x", (1,), np.float32)
    next(values)
    with pytest.raises(DataError, match=r"some\.tfrecords: record 1: feature 'x': expected .* got no such feature"):
        next(values)


def test_records_are_streamed(path):
    write(path, MESSAGES)
    path.write_bytes(path.read_bytes()[:-1])  # truncated, which only reading the end detects
    assert next(read_records(Path(path))) == MESSAGES[0]


def test_reads_tetrominoes_that_tensorflow_wrote():
    path, scenes = published("tetrominoes")
    for record, arrays in zip(TetrominoesTFRecords(path).records(), scenes, strict=True):
        objects = objects_of(arrays["visibility"])
        np.testing.assert_array_equal(record.image, arrays["image"], strict=True)
        segmentation = segmentation_of(arrays["mask"][..., 0], arrays["visibility"])
        np.testing.assert_array_equal(record.segmentation, segmentation, strict=True)
        assert record.factors == [
            {
                "x": float(arrays["x"][entity]),
                "y": float(arrays["y"][entity]),
                "shape": SHAPES[int(arrays["shape"][entity]) - 1],
                "color": list(COLORS)[TETROMINO_COLORS.index(tuple(arrays["color"][entity]))],
            }
            for entity in objects
        ]
    assert [len(record.factors) for record in TetrominoesTFRecords(path).records()] == [3, 1]
