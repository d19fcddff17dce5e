"""Reading and export of the HDF5 format of EfficientMORL's authors."""

import errno
import io
import json
import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest
from PIL import Image

from emorl.data.cli import main
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.records import Factor, Record, Source, check_record
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import verify
from emorl.data.sources import clevr
from emorl.data.sources.hdf5 import CLEVR_COLUMNS, HDF5File
from emorl.data.write.export import export_hdf5
from emorl.data.write.selection import Selection
from emorl.data.write.writer import write_shards
from emorl.errors import DataError

RANDOM = np.random.default_rng(0)
ENTITIES = 4


def scenes(number, size=(24, 32)):
    """Images and masks of a background and, alternately, three and two objects."""
    images = RANDOM.integers(0, 256, (number, *size, 3), np.uint8)
    masks = np.zeros((number, ENTITIES, *size, 1), np.uint8)
    for entity in range(1, ENTITIES):
        masks[:, entity, 5 * entity : 5 * entity + 4, entity : entity + 9] = 255
    masks[1::2, 2] = 0
    masks[:, 0] = 255 - masks[:, 1:].max(axis=1)
    return images, masks


def clevr_factors(masks):
    """Rows of the authors' columns; entity 2 is absent from every other scene."""
    number = len(masks)
    rows = np.tile([0.5, -1.25, 0.35, 90.5, 2, 1, 3, 8, 1.0], (number, ENTITIES, 1)).astype(np.float32)
    rows[:, 0], rows[1::2, 2] = 0, 0
    rows[:, 0, -1] = 1
    rows[:, :, 0] += np.arange(ENTITIES)
    return rows


def write(path, groups, **options):
    with h5py.File(path, "w") as file:
        for split, arrays in groups.items():
            for name, array in arrays.items():
                file.create_dataset(f"{split}/{name}", data=array, **options)
    return path


def group(number, dtype=np.uint8, factors=False):
    images, masks = scenes(number)
    arrays = {"imgs": images.astype(dtype), "masks": masks.astype(dtype)}
    return arrays | ({"factors": clevr_factors(masks)} if factors else {})


def assert_same(record, other):
    np.testing.assert_array_equal(record.image, other.image, strict=True)
    np.testing.assert_array_equal(record.segmentation, other.segmentation, strict=True)
    assert record.factors == other.factors


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"chunks": True, "compression": "gzip"}])
def test_images_and_masks(tmp_path, dtype, options):
    arrays = group(5, dtype)
    source = HDF5File(write(tmp_path / "clevr6_with_masks_train.h5", {"train": arrays}, **options))
    assert (source.dataset, source.image_size, source.max_objects, source.factors) == ("clevr", (24, 32), 3, ())
    records = list(source.records())
    for number, record in enumerate(records):
        check_record(record, source)
        np.testing.assert_array_equal(record.image, arrays["imgs"][number].astype(np.uint8), strict=True)
        assert len(record.factors) == 3 - number % 2
    assert records[1].segmentation[16, 4] == 2  # entity 3, the second object in the scene
    assert_same(next(source.records(3)), records[3])


def test_blocks_of_chunks_begin_anywhere(tmp_path):
    arrays = group(10)
    path = tmp_path / "clevr6.h5"
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(f"train/{name}", data=array, chunks=(4, *array.shape[1:]))
    source = HDF5File(path)
    everything = list(source.records())
    assert len(everything) == 10
    for start in range(11):
        for record, expected in zip(source.records(start), everything[start:], strict=True):
            assert_same(record, expected)


def test_factors_of_the_authors_clevr(tmp_path):
    arrays = group(2, factors=True)
    source = HDF5File(write(tmp_path / "clevr10_with_masks_and_factors_train.h5", {"train": arrays}))
    full, sparse = source.records()
    check_record(full, source)
    assert {factor.name for factor in source.factors} == set(CLEVR_COLUMNS) - {"visibility"}
    assert set(source.factors) < set(clevr.FACTORS)
    assert full.factors[0] == {
        **dict(zip(("x", "y", "z", "rotation"), (1.5, -1.25, float(np.float32(0.35)), 90.5), strict=True)),
        **dict(zip(("size", "material", "shape", "color"), ("small", "rubber", "cube", "yellow"), strict=True)),
    }
    assert [factors["x"] for factors in sparse.factors] == [1.5, 3.5]
    assert HDF5File(source.path, factors=False).factors == ()


def test_an_object_hidden_by_others_keeps_its_factors(tmp_path):
    arrays = group(1, factors=True)
    arrays["masks"][0, 0] |= arrays["masks"][0, 2]
    arrays["masks"][0, 2] = 0
    (record,) = HDF5File(write(tmp_path / "clevr6.h5", {"test": arrays})).records()
    assert len(record.factors) == 3
    assert np.unique(record.segmentation).tolist() == [0, 1, 3]


def test_gray_becomes_rgb(tmp_path):
    arrays = group(1)
    arrays["imgs"] = arrays["imgs"][..., :1]
    (record,) = HDF5File(write(tmp_path / "multi_dsprites_binarized.h5", {"train": arrays})).records()
    np.testing.assert_array_equal(record.image, np.repeat(arrays["imgs"][0], 3, axis=-1))


@pytest.mark.parametrize(
    ("name", "dataset", "variant"),
    [
        ("tetrominoes_test.h5", "tetrominoes", "standard"),
        ("multi_dsprites_colored_on_grayscale.h5", "multi_dsprites", "colored_on_grayscale"),
        ("clevr10_with_masks_test.h5", "clevr", "standard"),
        ("my_own.h5", "my_own", "standard"),
        ("clevrtex.h5", "clevrtex", "standard"),
    ],
)
def test_the_file_name_identifies_the_data_set(tmp_path, name, dataset, variant):
    source = HDF5File(write(tmp_path / name, {"test": group(1)}))
    assert (source.dataset, source.variant) == (dataset, variant)
    assert source.provenance["file"] == name


def spoilt(change):
    arrays = group(2, factors=True)
    change(arrays)
    return {"train": arrays}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("imgs"), r"train/imgs: expected numbers of the shape \[N, H, W, C\], got no such array"),
        (lambda a: a.update(masks=a["masks"][:1]), r"train/masks: .*\[2, E, 24, 32, 1\], got \[1, 4, 24, 32, 1\]"),
        (lambda a: a.update(masks=a["masks"][..., 0]), r"train/masks: .* got \[2, 4, 24, 32\]"),
        (lambda a: a.update(masks=np.zeros(2, "S1")), "train/masks: .* got no such array"),
        (lambda a: a.update(factors=a["factors"][..., 1:]), r"\[2, 4, 9\], got \[2, 4, 8\]; .* --factors false"),
    ],
)
def test_arrays_in_another_layout(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        HDF5File(write(tmp_path / "clevr6.h5", spoilt(change)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(imgs=a["imgs"] / 255), r"imgs: expected 3 channels or 1 of whole .* got 3 of 0\.\d"),
        (lambda a: a.update(imgs=a["imgs"] - 300.0), "imgs: .* whole numbers from 0 to 255, got 3 of -300"),
        (
            lambda a: a.update(imgs=np.full((2, 24, 32, 3), np.nan)),
            "imgs: .* whole numbers from 0 to 255, got 3 of nan",
        ),
        (lambda a: a.update(imgs=np.zeros((2, 24, 32, 4))), "imgs: expected 3 channels or 1 .* got 4"),
        (lambda a: a["masks"].fill(255), "masks: expected one entity in each pixel, got none or several"),
        (lambda a: a["factors"].__setitem__((..., 4), 3), "factor 'size': expected a class of 1 to 2, got 3.0; "),
        (lambda a: a["factors"].__setitem__((..., 4), np.nan), "factor 'size': expected a class of 1 to 2, got nan"),
        (lambda a: a["factors"].__setitem__((..., -1), 0), "masks: expected visible entities, got an invisible one"),
    ],
)
def test_invalid_values(tmp_path, change, message):
    path = write(tmp_path / "clevr6.h5", spoilt(change))
    with pytest.raises(DataError, match=rf"clevr6\.h5: train\[0\]: {message}"):
        list(HDF5File(path).records())


def test_factors_of_unknown_columns(tmp_path):
    path = write(tmp_path / "tetrominoes.h5", {"train": group(1, factors=True)})
    with pytest.raises(DataError, match=r"expected factors of known columns, .* --factors false"):
        HDF5File(path)
    assert len(list(HDF5File(path, factors=False).records())) == 1


def test_masks_may_be_boolean(tmp_path):
    arrays = group(2)
    plain = HDF5File(write(tmp_path / "a.h5", {"train": arrays}))
    boolean = HDF5File(write(tmp_path / "b.h5", {"train": {**arrays, "masks": arrays["masks"] > 0}}))
    for record, other in zip(boolean.records(), plain.records(), strict=True):
        assert_same(record, other)


def test_groups_of_other_names_are_skipped_with_a_warning(tmp_path, caplog):
    path = write(tmp_path / "a.h5", {"train": group(1), "valid": group(1), "extra": {"imgs": np.zeros(1)}})
    assert HDF5File(path).left_out == ["extra", "valid"]
    assert not main(["convert", "hdf5", str(path), str(tmp_path / "out"), "--processes", "1"])
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == f"{path}: skipped extra, valid: only the groups train, val, test are read"


def test_groups_must_agree(tmp_path):
    arrays = group(1)
    smaller = {"imgs": arrays["imgs"], "masks": arrays["masks"][:, :3]}
    with pytest.raises(DataError, match="with masks of one shape"):
        HDF5File(write(tmp_path / "a.h5", {"train": arrays, "test": smaller}))
    with pytest.raises(DataError, match=r"train, val, test .*, got groups \[\]"):
        HDF5File(write(tmp_path / "b.h5", {"training": arrays}))


@pytest.mark.parametrize("attribute", ["{", '{"dataset": "x"}', 7])
def test_a_damaged_attribute(tmp_path, attribute):
    path = write(tmp_path / "a.h5", {"train": group(1)})
    with h5py.File(path, "a") as file:
        file.attrs["emorl"] = attribute
    with pytest.raises(DataError, match=r"a\.h5: attribute emorl"):
        HDF5File(path)


def test_damaged_files(tmp_path):
    path = write(tmp_path / "a.h5", {"train": group(40)}, chunks=True, compression="gzip", fletcher32=True)
    content = bytearray(path.read_bytes())
    with pytest.raises(DataError, match="nothing: expected a readable HDF5 file, got No such file or directory"):
        HDF5File(tmp_path / "nothing")
    with pytest.raises(DataError, match="expected a readable HDF5 file, got Is a directory"):
        HDF5File(tmp_path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.h5: expected a readable HDF5 file, got .*truncated"):
        HDF5File(path)
    content[len(content) // 2 : len(content) // 2 + 99] = bytes(99)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.h5: expected a readable HDF5 file"):
        list(HDF5File(path).records())


def blank(path, number, entities):
    masks = np.zeros((number, entities, 8, 8, 1), np.uint8)
    masks[:, :1] = 255
    return write(path, {"train": {"imgs": np.zeros((number, 8, 8, 3), np.uint8), "masks": masks}})


def test_a_file_without_scenes_is_an_error(tmp_path, capsys):
    path = blank(tmp_path / "a.h5", number=0, entities=2)
    assert main(["convert", "hdf5", str(path), str(tmp_path / "out")]) == 2
    assert "nothing to write" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_of_backgrounds_is_converted(tmp_path):
    path = blank(tmp_path / "a.h5", number=2, entities=1)
    assert not main(["convert", "hdf5", str(path), str(tmp_path / "out"), "--processes", "1"])
    assert Manifest.load(tmp_path / "out").max_objects == 1


@pytest.mark.parametrize("entities", [0, 257])
def test_a_number_of_entities_that_shards_do_not_have_names_the_file(tmp_path, entities):
    path = blank(tmp_path / "a.h5", number=1, entities=entities)
    with pytest.raises(DataError, match=rf"a\.h5: expected masks of 1 to 256 entities, .* got {entities}; give"):
        HDF5File(path)


class Listed(Source):
    """The records of a list."""

    dataset, variant, image_size = "listed", "odd", (24, 32)
    provenance = {"list": 1}  # noqa: RUF012

    def __init__(self, records, factors, max_objects):
        self.list, self.factors, self.max_objects = records, factors, max_objects

    def records(self, start=0):
        return iter(self.list[start:])


def odd_scenes(factors):
    """A scene with a fully occluded object, and one without objects."""
    images, _ = scenes(2)
    segmentation = np.zeros((24, 32), np.uint8)
    segmentation[3:9, 3:9] = 2
    values = [{factor.name: factor.classes[i] if factor.classes else i / 3 for factor in factors} for i in range(2)]
    return [Record(images[0], segmentation, values), Record(images[1], np.zeros((24, 32), np.uint8), [])]


ODD_FACTORS = (Factor("weight", "continuous"), Factor("shape", "discrete", ("b", "a", "c")), Factor("x", "continuous"))


@pytest.mark.parametrize("factors", [ODD_FACTORS, ()])
def test_unusual_scenes_survive_export_and_conversion(tmp_path, factors):
    source = Listed(odd_scenes(factors), factors, 7)
    manifest = write_shards({"train": Selection(source, range(2))}, tmp_path / "one")
    export_hdf5(tmp_path / "one", tmp_path / "clevr6_odd.h5")  # its description counts, not its name
    back = HDF5File(tmp_path / "clevr6_odd.h5")
    for name in ("dataset", "variant", "image_size", "max_objects", "factors"):
        assert getattr(back, name) == getattr(manifest, name)
    for record, expected in zip(back.records(), source.list, strict=True):
        assert_same(record, expected)


@pytest.fixture(scope="module")
def tetrominoes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tetrominoes") / "shards"
    sizes = {"train": 5, "val": 2, "test": 3}
    write_shards({s: Selection(Tetrominoes(n, split=s), range(n)) for s, n in sizes.items()}, folder, shard_size=2)
    return folder


def test_export_and_convert_commands_are_inverse(tmp_path, tetrominoes, capsys):
    file, out = tmp_path / "new" / "t.h5", tmp_path / "out"
    assert not main(["export", "hdf5", str(tetrominoes), str(file)])
    assert capsys.readouterr().out.strip() == str(file)
    assert not main(["convert", "hdf5", str(file), str(out), "--shard_size", "2", "--processes", "1"])
    assert verify(out) == []
    one, two = Manifest.load(tetrominoes), Manifest.load(out)
    assert replace(one, source={}, splits={}) == replace(two, source={}, splits={})
    for split, described in one.splits.items():
        assert two.splits[split].shards == described.shards  # the same bytes


def test_the_crop_of_the_images_survives_export_and_conversion(tmp_path):
    folder, file = tmp_path / "photos", tmp_path / "cropped.h5"
    folder.mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(folder / "a.png")
    assert not main(["convert", "folder", str(folder), str(tmp_path / "one"), "--size", "8", "--crop", "center"])
    export_hdf5(tmp_path / "one", file)
    assert not main(["convert", "hdf5", str(file), str(tmp_path / "two")])
    assert [Manifest.load(tmp_path / each).crop_left("center") for each in ("one", "two")] == ["square", "square"]
    with h5py.File(file, "r+") as written:  # as written by earlier versions
        described = json.loads(written.attrs["emorl"])
        del described["crop"]
        written.attrs["emorl"] = json.dumps(described)
    assert "crop" not in HDF5File(file).provenance


def test_the_exported_layout_is_the_authors(tmp_path, tetrominoes):
    export_hdf5(tetrominoes, tmp_path / "t.h5")
    record = Tetrominoes(5).scene(1)
    with h5py.File(tmp_path / "t.h5") as file:
        assert {name: file[f"train/{name}"].shape for name in file["train"]} == {
            "imgs": (5, 35, 35, 3),
            "masks": (5, 4, 35, 35, 1),
            "factors": (5, 4, 5),
        }
        np.testing.assert_array_equal(file["train/imgs"][1], record.image, strict=True)
        masks = file["train/masks"][1]
        assert masks.dtype == np.uint8
        np.testing.assert_array_equal(masks.sum(axis=0), np.full((35, 35, 1), 255))
        np.testing.assert_array_equal(masks[..., 0].argmax(axis=0), record.segmentation)
        assert file["train/masks"].chunks == (1, 4, 35, 35, 1)
        assert json.loads(file.attrs["emorl"])["columns"] == ["x", "y", "shape", "color", "visibility"]
        np.testing.assert_array_equal(file["train/factors"][1, :, -1], [1, 1, 1, 1])
        np.testing.assert_array_equal(file["train/factors"][1, 1:, 0], [f["x"] for f in record.factors])


def test_clevr_has_the_authors_columns_first(tmp_path):
    arrays = group(2, factors=True)
    values = {factor.name: factor.classes[0] if factor.classes else 0.5 for factor in clevr.FACTORS}
    source = Listed([Record(arrays["imgs"][0], np.ones((24, 32), np.uint8), [values])], clevr.FACTORS, 10)
    write_shards({"train": Selection(source, range(1))}, tmp_path / "clevr")
    export_hdf5(tmp_path / "clevr", tmp_path / "c.h5")
    with h5py.File(tmp_path / "c.h5") as file:
        np.testing.assert_array_equal(file["train/factors"][0, 1, :9], [0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1, 1])
        assert file["train/factors"].shape == (1, 11, 12)
    (record,) = HDF5File(tmp_path / "c.h5").records()
    assert record.factors == [values]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], {"train": "0-5", "test": "6-8"}),
        (["--train", "4", "--test", "2"], {"train": "0-3", "test": "6-7"}),
        (["--train", "4", "--val", "2"], {"train": "0-3", "val": "4-5"}),
    ],
)
def test_splits_come_from_the_groups_of_their_name(tmp_path, numbers, expected):
    path = write(tmp_path / "clevr6.h5", {"train": group(6), "test": group(3)})
    assert not main(["convert", "hdf5", str(path), str(tmp_path / "out"), "--processes", "1", *numbers])
    splits = Manifest.load(tmp_path / "out").splits
    assert {name: split.indices for name, split in splits.items()} == expected


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (["--train", "7"], "expected at most 6 scenes of the split train, got 7; choose smaller splits"),
        (["--train", "6", "--val", "1"], "expected at most 0 scenes of the split val, got 1"),
        (["--test", "1"], "expected at most 0 scenes of the split test, got 1"),
    ],
)
def test_splits_that_are_too_large(tmp_path, capsys, numbers, message):
    path = write(tmp_path / "clevr6.h5", {"train": group(6)})
    assert main(["convert", "hdf5", str(path), str(tmp_path / "out"), *numbers]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class SmallDisk(io.FileIO):
    """A file on a nearly full disk: the write that fills it is short, and later writes fail."""

    room = 0

    def write(self, data):
        left = SmallDisk.room - self.tell()
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(data)[:left])


@pytest.mark.parametrize("room", [0, 50, 2000, 8000])
def test_a_full_disk_is_an_error_and_no_crash(tmp_path, tetrominoes, monkeypatch, room):
    """HDF5 crashes the process at exit if it could not close a file, which fails all tests."""
    monkeypatch.setattr(SmallDisk, "room", room)
    monkeypatch.setattr("emorl.data.write.export.open", lambda name, mode, **_: SmallDisk(name, mode), raising=False)
    with pytest.raises(DataError, match=r"t\.h5: cannot be written \(.*No space left on device\); free some space"):
        export_hdf5(tetrominoes, tmp_path / "t.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_source_can_be_pickled(tmp_path):
    source = HDF5File(write(tmp_path / "clevr6.h5", {"train": group(3, factors=True)}))
    for record, expected in zip(pickle.loads(pickle.dumps(source)).records(1), list(source.records())[1:], strict=True):
        assert_same(record, expected)


def test_export_does_not_write_to_a_url(tmp_path, tetrominoes, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"s3://bucket/t\.h5: expected a local path to write to, got a URL"):
        export_hdf5(tetrominoes, "s3://bucket/t.h5")
    assert list(tmp_path.iterdir()) == []


def test_export_overwrites_nothing_and_leaves_no_partial_file(tmp_path, tetrominoes, capsys):
    file = tmp_path / "t.h5"
    file.write_text("precious")
    assert main(["export", "hdf5", str(tetrominoes), str(file)]) == 2
    assert "t.h5: expected a new file, got an existing file; delete it or choose another" in capsys.readouterr().err
    assert file.read_text() == "precious"

    folder = tmp_path / "damaged"
    write_shards({"train": Selection(Tetrominoes(4), range(4))}, folder, shard_size=2)
    (folder / "train-000001.tar").write_bytes(b"")
    assert main(["export", "hdf5", str(folder), str(tmp_path / "d.h5")]) == 2
    assert "train-000001.tar" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "t.h5"]
    assert main(["export", "hdf5", str(tmp_path / "nowhere"), str(tmp_path / "n.h5")]) == 2
    assert "manifest.json: cannot be read" in capsys.readouterr().err
