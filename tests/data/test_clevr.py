"""CLEVR from DeepMind's TFRecords, and its presets."""

import gzip
import struct

import numpy as np
import pytest
from expected import objects_of, published, segmentation_of
from stored import records_of
from tfrecord_writer import REAL_CLEVR, array_features, example, frame, real_clevr_arrays

from emorl.data.cli import main
from emorl.data.records import check_record
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import verify
from emorl.data.sources.clevr import ClevrTFRecords
from emorl.data.sources.splits import PRESETS, Preset
from emorl.errors import DataError

PATH, SCENES = published("clevr")
CODES = {
    "size": [None, "large", "small"],
    "material": [None, "rubber", "metal"],
    "shape": [None, "sphere", "cylinder", "cube"],
    "color": [None, "red", "cyan", "green", "blue", "brown", "gray", "purple", "yellow"],
}


def assert_is(record, arrays):
    """Compare a record with the published arrays of its scene."""
    np.testing.assert_array_equal(record.image, arrays["image"], strict=True)
    segmentation = segmentation_of(arrays["mask"][..., 0], arrays["visibility"])
    np.testing.assert_array_equal(record.segmentation, segmentation, strict=True)
    objects = objects_of(arrays["visibility"])
    assert len(record.factors) == len(objects)
    for factors, entity in zip(record.factors, objects, strict=True):
        assert factors == {
            **{name: float(arrays[name][entity]) for name in ("x", "y", "z", "rotation")},
            **{f"pixel_{axis}": float(arrays["pixel_coords"][entity, place]) for place, axis in enumerate("xyz")},
            **{name: names[arrays[name][entity]] for name, names in CODES.items()},
        }


def flat(arrays):
    """The arrays as in a parsed example."""
    return {name: array.ravel() for name, array in arrays.items()}


def frames(content):
    """Split a file into its records with their headers."""
    while content:
        size = struct.unpack_from("<Q", content)[0] + 16
        yield content[:size]
        content = content[size:]


def converted(folder):
    return {split: records_of(folder, split) for split in Manifest.load(folder).splits}


def test_reads_what_tensorflow_wrote():
    source = ClevrTFRecords(PATH)
    for record, arrays in zip(source.records(), SCENES, strict=True):
        assert_is(record, arrays)
        check_record(record, source)
    assert [int(arrays["visibility"].sum()) - 1 for arrays in SCENES] == [10, 8]  # the background is also visible
    assert list(source.object_counts()) == [10, 8]


def test_a_hidden_object_keeps_its_label_and_factors():
    arrays = dict(SCENES[0])
    mask = arrays["mask"].copy()
    mask[4] |= mask[3]
    mask[3] = 0
    record = ClevrTFRecords(PATH).decode(flat(arrays | {"mask": mask}))
    assert_is(record, arrays | {"mask": mask})
    assert set(np.unique(record.segmentation)) == set(range(11)) - {3}
    check_record(record, ClevrTFRecords(PATH))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("color", np.full(11, 9, np.uint8), "feature 'color': expected an id of 1 to 8, got 9"),
        ("shape", np.zeros(11, np.uint8), "feature 'shape': expected an id of 1 to 3, got 0"),
        ("size", np.ones(11, np.float32), "feature 'size': expected 11 values of uint8, got 11 of float32"),
        ("visibility", np.eye(11, dtype=np.float32)[0], "masks: expected visible entities, got an invisible one"),
        ("image", np.zeros(35 * 35 * 3, np.uint8), "feature 'image': expected 240x320x3 values"),
        ("pixel_coords", np.zeros(11, np.float32), "feature 'pixel_coords': expected 11x3 values"),
    ],
)
def test_other_features_are_refused(name, change, message):
    with pytest.raises(DataError, match=message):
        ClevrTFRecords(PATH).decode({**flat(SCENES[0]), name: change})


def test_a_part_of_the_file_is_one_test_split(tmp_path, capsys):
    assert not main(["convert", "clevr", str(PATH), str(tmp_path), "--preset", "clevr10", "--shard_size", "2"])
    (split,) = Manifest.load(tmp_path).splits.items()
    assert (split[0], split[1].indices) == ("test", "0-1")
    for record, arrays in zip(converted(tmp_path)["test"], SCENES, strict=True):
        assert_is(record, arrays)
    assert verify(tmp_path) == []
    assert main(["convert", "clevr", str(PATH), str(tmp_path / "six")]) == 2
    assert "preset: expected scenes of 0 to 6 objects, got none in 2; choose another" in capsys.readouterr().err


def test_a_preset_takes_its_scenes_from_the_whole_file(tmp_path, monkeypatch):
    preset = Preset(range(9), range(9, 11), front=2, train=1, held_out=1, records=6)
    monkeypatch.setitem(PRESETS, "clevr6", preset)
    path = tmp_path / "clevr.tfrecords"
    ten, eight = frames(gzip.decompress(PATH.read_bytes()))
    path.write_bytes((ten + eight) * 3)
    assert not main(["convert", "clevr", str(path), str(tmp_path / "out")])
    splits = Manifest.load(tmp_path / "out").splits
    assert {name: split.indices for name, split in splits.items()} == {"train": "1", "val": "3", "test": "4"}
    for split, scene in (("train", 1), ("val", 1), ("test", 0)):
        assert_is(converted(tmp_path / "out")[split][0], SCENES[scene])


def test_max_objects_of_a_preset_is_that_of_its_scenes(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "clevr6", Preset(range(9), range(9), front=2, train=1))
    assert not main(["convert", "clevr", str(PATH), str(tmp_path)])
    assert Manifest.load(tmp_path).slots == 9


@pytest.mark.skipif(not REAL_CLEVR.exists(), reason="no real scene in ../shared/data")
@pytest.mark.parametrize("packed", [True, False])
def test_a_published_scene_survives_conversion(tmp_path, packed):
    arrays = real_clevr_arrays()
    path = tmp_path / "clevr.tfrecords"
    path.write_bytes(gzip.compress(frame(example(array_features(arrays, packed))), compresslevel=1))
    assert not main(["convert", "clevr", str(path), str(tmp_path / "out"), "--preset", "clevr10"])
    assert not main(["verify", str(tmp_path / "out")])
    (record,) = converted(tmp_path / "out")["test"]
    assert_is(record, arrays)
    assert len(record.factors) == 7
