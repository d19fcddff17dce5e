"""Reading of ClevrTex folders, including damaged ones."""

import json

import numpy as np
import pytest
from PIL import Image
from stored import records_of

from emorl.data.cli import main
from emorl.data.records import check_record
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import verify
from emorl.data.sources import clevrtex
from emorl.data.sources.clevrtex import ClevrTexFolder
from emorl.errors import DataError


def metadata(index, variant, objects):
    """Write the files of `generate.py` of clevrtex-generation that are read."""
    shape, material = ("torus", "poliigonrustplain030") if variant == "outd" else ("monkey", "whitemarble")
    entry = {
        "shape": shape,
        "rotation": 187.25,
        "size": "medium",
        "3d_coords": [-1.5, 2.25, 0.6],
        "pixel_coords": [160.0, 120.0, 9.5],
        "color": "purple",
        "material": "rubber" if variant == "vbg" else material,
    }
    entries = [{**entry, "index": number, "rotation": 10.5 * number} for number in range(1, objects + 1)]
    return {"num_objects": objects, "split": variant, "image_index": index, "objects": entries}


def label_map(index, objects):
    labels = np.zeros((240, 320), np.uint8)
    for number in range(1, objects + 1):
        labels[20 * number : 20 * number + 15, index : index + 15] = number
    return labels


def write(folder, index, variant="full", objects=3, mode="RGBA"):
    stem = folder / f"{index // 1000}" / f"CLEVRTEX_{variant}_{index:06d}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, (320, 240), (index, 20, 30, 255)[: len(mode)])
    image.save(stem.with_suffix(".png"))
    image.save(f"{stem}_albedo_0001.png")  # an unused file
    flat = Image.fromarray(label_map(index, objects)).convert("P")
    flat.putpalette([0, 0, 0, 255, 0, 0] * 128)  # colors that differ from the labels
    flat.save(f"{stem}_flat.png")
    stem.with_suffix(".json").write_text(json.dumps(metadata(index, variant, objects), indent=2))
    return stem


@pytest.fixture
def folder(tmp_path):
    for index in range(10):
        write(tmp_path / "clevrtex_full", index, objects=index + 1)
    return tmp_path / "clevrtex_full"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("variant", clevrtex.SCENES)
def test_variants(tmp_path, variant, mode):
    write(tmp_path, 0, variant, objects=2, mode=mode)
    source = ClevrTexFolder(tmp_path)
    (record,) = source.records()
    check_record(record, source)
    assert (source.dataset, source.variant) == ("clevrtex", variant)
    assert (record.image == (0, 20, 30)).all()
    np.testing.assert_array_equal(record.segmentation, label_map(0, 2), strict=True)
    first, second = record.factors
    assert ("color" in first) == (variant == "vbg")
    assert first["shape"] == ("torus" if variant == "outd" else "monkey")
    assert (first["x"], first["y"], first["z"], first["rotation"]) == (-1.5, 2.25, 0.6, 10.5)
    assert second == {**first, "rotation": 21.0}


def test_scenes_come_in_the_order_of_their_index_across_folders(tmp_path, monkeypatch):
    for index in range(3):
        stem = write(tmp_path / "part", index)
        (tmp_path / f"{9 - index}").mkdir()
        for path in stem.parent.glob(f"{stem.name}*"):
            path.rename(tmp_path / f"{9 - index}" / path.name)
    source = ClevrTexFolder(tmp_path)
    assert [record.image[0, 0, 0] for record in source.records()] == [0, 1, 2]
    assert next(source.records(2)).image[0, 0, 0] == 2


def test_an_invisible_object_is_omitted_with_its_factors(tmp_path):
    stem = write(tmp_path, 0, objects=3)
    labels = label_map(0, 3)
    labels[labels == 2] = 0
    Image.fromarray(labels).convert("P").save(f"{stem}_flat.png")
    (record,) = ClevrTexFolder(tmp_path).records()
    assert np.unique(record.segmentation).tolist() == [0, 1, 2]
    assert [factors["rotation"] for factors in record.factors] == [10.5, 31.5]


def test_classes_are_distinguished():
    full = {factor.name: factor.classes for factor in clevrtex.factors_of("full")}
    outd = {factor.name: factor.classes for factor in clevrtex.factors_of("outd")}
    assert (len(full["material"]), len(outd["material"])) == (60, 25)
    for name in ("shape", "material"):
        assert set(full[name]).isdisjoint(outd[name])
        assert list(full[name]) == sorted(full[name])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda stem: stem.with_suffix(".json").unlink(), r"000000\.json: cannot be read \(No such file or direct"),
        (lambda stem: stem.with_suffix(".json").write_text('{"objects": ['), r"000000\.json: expected the metadata"),
        (lambda stem: stem.with_suffix(".json").write_text("{}"), r"expected the metadata of a scene, got KeyError"),
        (lambda stem: stem.with_suffix(".json").write_text('{"objects": [7]}'), r"got TypeError"),
        (lambda stem: stem.with_suffix(".json").write_text('{"objects": []}'), r"labels of the objects in .*, got \[1"),
        (lambda stem: stem.with_name(f"{stem.name}_flat.png").unlink(), r"_flat\.png: expected an image, got No such"),
        (lambda stem: Image.new("RGB", (320, 240)).save(f"{stem}_flat.png"), r"expected a label map .* the mode RGB"),
        (lambda stem: Image.new("L", (320, 240)).save(f"{stem}.png"), r"expected an RGB image, got the mode L"),
        (lambda stem: cut(stem.with_suffix(".png")), r"000000\.png: expected an image, got"),
    ],
)
def test_damaged_scenes(tmp_path, spoil, message):
    spoil(write(tmp_path, 0))
    with pytest.raises(DataError, match=message):
        list(ClevrTexFolder(tmp_path).records())


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def test_an_unknown_material_is_named(tmp_path):
    stem = write(tmp_path, 0, objects=1)
    scene = metadata(0, "full", 1)
    scene["objects"][0]["material"] = "chocolate"
    stem.with_suffix(".json").write_text(json.dumps(scene))
    source = ClevrTexFolder(tmp_path)
    with pytest.raises(DataError, match=r"factor 'material': expected one of poliigonbricks01, .*, got 'chocolate'"):
        check_record(next(source.records()), source)


def test_a_missing_image(folder):
    (folder / "0" / "CLEVRTEX_full_000004.png").unlink()
    with pytest.raises(DataError, match=r"the index 000004 once, got CLEVRTEX_full_000005\.png; unpack all parts"):
        ClevrTexFolder(folder)


@pytest.mark.parametrize("variants", [[], ["full", "camo"], ["best"]])
def test_no_folder_of_one_variant(tmp_path, variants):
    for variant in variants:
        write(tmp_path / variant, 0, variant)
    got = "none" if not variants else " and ".join(sorted(variants))
    with pytest.raises(DataError, match=f"of one variant of full, .*, got {got}; give the unpacked folder"):
        ClevrTexFolder(tmp_path)


def test_published_splits(tmp_path):
    write(tmp_path / "full", 0)
    splits = ClevrTexFolder(tmp_path / "full").splits
    assert splits == {"train": range(10000, 50000), "val": range(5000, 10000), "test": range(5000)}
    write(tmp_path / "outd", 0, "outd")
    assert ClevrTexFolder(tmp_path / "outd").splits == {"test": range(10000)}


@pytest.mark.parametrize("numbers", [[], ["--train", "5", "--test", "1"]])
def test_convert(folder, tmp_path, monkeypatch, numbers):
    monkeypatch.setitem(clevrtex.SCENES, "full", 10)
    out = tmp_path / "out"
    assert not main(["convert", "clevrtex", str(folder), str(out), "--processes", "1", *numbers])
    assert verify(out) == []
    manifest = Manifest.load(out)
    expected = {"train": "2-6", "test": "0"} if numbers else {"train": "2-9", "val": "1", "test": "0"}
    assert {name: split.indices for name, split in manifest.splits.items()} == expected
    record = records_of(out, "train")[0]
    assert record.image[0, 0, 0] == 2
    np.testing.assert_array_equal(record.segmentation, label_map(2, 3))


def test_a_part_of_the_archive_keeps_the_published_splits(folder, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["convert", "clevrtex", str(folder), out]) == 2
    assert "expected 50000 images for the split train, got 10; unpack all parts" in capsys.readouterr().err
    assert not main(["convert", "clevrtex", str(folder), out, "--test", "10"])
    assert main(["convert", "clevrtex", str(folder), out, "--val", "20000"]) == 2
    assert "at most 5000 scenes of the split val, got 20000; choose smaller splits" in capsys.readouterr().err


def test_a_wrong_path(tmp_path, capsys):
    assert main(["convert", "clevrtex", str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 2
    assert "nowhere: expected images CLEVRTEX_" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
