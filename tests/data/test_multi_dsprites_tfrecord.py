"""Multi-dSprites from DeepMind's TFRecords."""

import numpy as np
import pytest
from expected import objects_of, published, segmentation_of
from stored import records_of

from emorl.data.cli import main
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.records import check_record
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import verify
from emorl.data.sources.multi_dsprites import MultiDSpritesTFRecords
from emorl.errors import DataError

VARIANTS = ("binarized", "colored_on_grayscale", "colored_on_colored")
SHAPES = [None, "square", "ellipse", "heart"]


def assert_is(record, arrays):
    """Compare a record with the published arrays of its scene."""
    image = arrays["image"] if arrays["image"].shape[-1] == 3 else np.concatenate([arrays["image"]] * 3, axis=-1)
    np.testing.assert_array_equal(record.image, image, strict=True)
    segmentation = segmentation_of(np.moveaxis(arrays["mask"][..., 0], -1, 0), arrays["visibility"])
    np.testing.assert_array_equal(record.segmentation, segmentation, strict=True)
    for factors, entity in zip(record.factors, objects_of(arrays["visibility"]), strict=True):
        expected = {name: float(arrays[name][entity]) for name in ("scale", "orientation", "x", "y")}
        expected["shape"] = SHAPES[int(arrays["shape"][entity])]
        if arrays["color"].shape[1] == 3:
            expected |= dict(zip(("red", "green", "blue"), arrays["color"][entity].tolist(), strict=True))
        assert factors == expected


def flat(arrays):
    """The arrays as in a parsed example."""
    return {name: array.ravel() for name, array in arrays.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_reads_what_tensorflow_wrote(variant):
    path, scenes = published(f"multi_dsprites_{variant}")
    source = MultiDSpritesTFRecords(path, variant)
    for record, arrays in zip(source.records(), scenes, strict=True):
        assert_is(record, arrays)
        check_record(record, source)


@pytest.mark.parametrize("variant", VARIANTS)
def test_specification_equals_that_of_the_generator(variant):
    source, generator = MultiDSpritesTFRecords("unread", variant), MultiDSprites(1, variant=variant)
    for name in ("dataset", "variant", "image_size", "max_objects", "factors"):
        assert getattr(source, name) == getattr(generator, name)


def test_a_hidden_object_keeps_its_label_and_factors():
    path, scenes = published("multi_dsprites_colored_on_colored")
    mask = scenes[0]["mask"].copy()
    mask[:, :, 3] |= mask[:, :, 1]
    mask[:, :, 1] = 0
    arrays = scenes[0] | {"mask": mask}
    record = MultiDSpritesTFRecords(path, "colored_on_colored").decode(flat(arrays))
    assert_is(record, arrays)
    assert np.unique(record.segmentation).tolist() == [0, 2, 3, 4]
    assert len(record.factors) == 4


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("shape", np.array([0, 1, 4, 1, 1], np.float32), r"feature 'shape': expected an id of 1 to 3, got 4\.0"),
        ("color", np.zeros(5, np.float32), "feature 'color': expected 5x3 values of float32, got 5 of float32"),
        ("mask", np.zeros(64 * 64 * 5, np.uint8), "masks: expected one entity in each pixel"),
    ],
)
def test_other_features_are_refused(name, change, message):
    path, scenes = published("multi_dsprites_colored_on_colored")
    with pytest.raises(DataError, match=message):
        MultiDSpritesTFRecords(path, "colored_on_colored").decode({**flat(scenes[0]), name: change})


def test_other_variants_are_refused():
    path, _ = published("multi_dsprites_binarized")
    with pytest.raises(DataError, match=r"variant: expected .*binarized.*, got 'red'; choose one of them"):
        MultiDSpritesTFRecords(path, "red")
    with pytest.raises(DataError, match="record 0: feature 'visibility': expected 5 values of float32, got 4"):
        next(MultiDSpritesTFRecords(path, "colored_on_colored").records())


@pytest.mark.parametrize("options", [[], ["--train", "1", "--test", "1"]])
def test_convert(tmp_path, options):
    path, scenes = published("multi_dsprites_colored_on_grayscale")
    assert not main(["convert", "multi_dsprites", str(path), str(tmp_path), *options])
    assert verify(tmp_path) == []
    manifest = Manifest.load(tmp_path)
    assert (manifest.variant, manifest.slots) == ("colored_on_grayscale", 6)
    splits = {name: split.indices for name, split in manifest.splits.items()}
    assert splits == ({"train": "0", "test": "1"} if options else {"test": "0-1"})
    records = [record for split in manifest.splits for record in records_of(tmp_path, split)]
    for record, arrays in zip(records, scenes, strict=True):
        assert_is(record, arrays)


def test_convert_another_variant(tmp_path, capsys):
    path, _ = published("multi_dsprites_binarized")
    command = ["convert", "multi_dsprites", str(path), str(tmp_path)]
    assert main(command) == 2
    assert "record 0: feature 'visibility': expected 6 values of float32, got 4 of float32" in capsys.readouterr().err
    assert not main([*command, "--variant", "binarized"])
    assert Manifest.load(tmp_path).variant == "binarized"
