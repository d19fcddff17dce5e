"""An independent writer of TFRecord files and `tf.train.Example` messages: plain Python, no library of emorl's."""

import gzip
import struct
from pathlib import Path

import numpy as np

REAL = Path(__file__).parents[3] / "shared" / "data" / "tetrominoes_mini.tfrecords"


def _table_entry(byte):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


TABLE = [_table_entry(byte) for byte in range(256)]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15) + (crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32)


def frame(data):
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def write(path, messages, compressed=True):
    content = b"".join(map(frame, messages))
    path.write_bytes(gzip.compress(content) if compressed else content)
    return path


def varint(value):
    value, out = value % 2**64, b""
    while value >= 0x80:
        value, out = value >> 7, out + bytes([value & 0x7F | 0x80])
    return out + bytes([value])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def bytes_feature(values):
    return field(1, b"".join(field(1, value) for value in values))


def float_feature(values, packed=True):
    floats = [struct.pack("<f", value) for value in values]
    return field(2, field(1, b"".join(floats)) if packed else b"".join(varint(1 << 3 | 5) + value for value in floats))


def int_feature(values, packed=True):
    integers = [varint(value) for value in values]
    return field(3, field(1, b"".join(integers)) if packed else b"".join(varint(1 << 3) + value for value in integers))


def example(features):
    entries = (field(1, field(1, name.encode()) + field(2, feature)) for name, feature in features.items())
    return field(1, b"".join(entries))


def tetrominoes_features(record, shapes, colours):
    """The features of a scene in the layout of the published file."""
    masks = np.stack([255 * (record.segmentation == label) for label in range(4)]).astype(np.uint8)
    objects = record.factors
    colour = [0, 0, 0, *(part for factors in objects for part in colours[factors["color"]])]
    return {
        "image": bytes_feature([bytes([byte]) for byte in record.image.ravel()]),
        "mask": bytes_feature([bytes([byte]) for byte in masks.ravel()]),
        "visibility": float_feature([1] * 4),
        "x": float_feature([0, *(factors["x"] for factors in objects)]),
        "y": float_feature([0, *(factors["y"] for factors in objects)]),
        "shape": float_feature([0, *(shapes.index(factors["shape"]) + 1 for factors in objects)]),
        "color": float_feature(colour),
    }
