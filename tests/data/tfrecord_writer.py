"""An independent writer of TFRecord files and `tf.train.Example` messages: plain Python, without code of emorl."""

import gzip
import struct
from pathlib import Path

import numpy as np

REAL = Path(__file__).parents[3] / "shared" / "data" / "tetrominoes_mini.tfrecords"
REAL_CLEVR = REAL.with_name("clevr_scene.npz")


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


ONE_BYTE = [b"\x0a\x01" + bytes([byte]) for byte in range(256)]  # field 1 of one byte


def byte_feature(array):
    """One byte string for each byte of an array, as the published images and masks are stored."""
    return field(1, b"".join([ONE_BYTE[byte] for byte in array.astype(np.uint8).tobytes()]))


def float_feature(values, packed=True):
    floats = [struct.pack("<f", value) for value in values]
    return field(2, field(1, b"".join(floats)) if packed else b"".join(varint(1 << 3 | 5) + value for value in floats))


def int_feature(values, packed=True):
    integers = [varint(value) for value in values]
    return field(3, field(1, b"".join(integers)) if packed else b"".join(varint(1 << 3) + value for value in integers))


def example(features):
    entries = (field(1, field(1, name.encode()) + field(2, feature)) for name, feature in features.items())
    return field(1, b"".join(entries))


def tetrominoes_features(record, shapes, colors):
    """The features of a scene in the layout of the published file."""
    masks = np.stack([255 * (record.segmentation == label) for label in range(4)]).astype(np.uint8)
    objects = record.factors
    color = [0, 0, 0, *(part for factors in objects for part in colors[factors["color"]])]
    return {
        "image": byte_feature(record.image),
        "mask": byte_feature(masks),
        "visibility": float_feature([1] * 4),
        "x": float_feature([0, *(factors["x"] for factors in objects)]),
        "y": float_feature([0, *(factors["y"] for factors in objects)]),
        "shape": float_feature([0, *(shapes.index(factors["shape"]) + 1 for factors in objects)]),
        "color": float_feature(color),
    }


def array_features(arrays, packed=True):
    """The features of a scene given as arrays: bytes one by one, floats packed or not."""
    return {
        name: byte_feature(array) if array.dtype == np.uint8 else float_feature(array.ravel(), packed)
        for name, array in arrays.items()
    }


def real_clevr_arrays():
    """The real scene in the shapes of the published file, with factors made up."""
    with np.load(REAL_CLEVR) as scene:
        image, segmentation = scene["image"], scene["segmentation"]
    visibility = (np.arange(11) <= segmentation.max()).astype(np.float32)
    classes = {"size": 2, "material": 2, "shape": 3, "color": 8}
    return {
        "image": image,
        "mask": np.stack([255 * (segmentation == entity) for entity in range(11)]).astype(np.uint8)[..., None],
        "visibility": visibility,
        **{name: visibility * np.linspace(-3, 3, 11, dtype=np.float32) for name in ("x", "y", "z", "rotation")},
        "pixel_coords": np.outer(visibility, [160, 120, 10]).astype(np.float32),
        **{name: (visibility * (np.arange(11) % n + 1)).astype(np.uint8) for name, n in classes.items()},
    }
