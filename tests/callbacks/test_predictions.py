"""The files of `emorl predict`: arrays, pictures, label maps, overview."""

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from emorl.callbacks import PredictionWriter
from emorl.callbacks.predictions import crop_boxes
from emorl.errors import DataError

SHAPES = {
    "image": (3, 35, 35),
    "slots": (4, 8),
    "scale": (4, 8),
    "masks": (4, 1, 35, 35),
    "components": (4, 3, 35, 35),
    "reconstruction": (3, 35, 35),
}


def predict(root, folder, writer, data=None, **arguments):
    module = tiny.module(network=tiny.lively(tiny.network()), **arguments)
    trainer = tiny.trainer(folder, callbacks=writer)
    return trainer.predict(module, tiny.data(root, **data or {}))


def arrays_of(path):
    with np.load(path) as content:
        return dict(content)


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_each_image_has_its_arrays_a_picture_and_a_label_map(shards, tmp_path, capsys):
    predict(shards, tmp_path, PredictionWriter(str(tmp_path / "out")))
    names = [f"test-{i:08d}" for i in range(5)]
    kinds = (".npz", ".png", "_labels.png")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "overview.png",
        *(f"{name}{kind}" for name in names for kind in kinds),
    }
    for name in names:
        arrays = arrays_of(tmp_path / "out" / f"{name}.npz")
        picture = pixels_of(tmp_path / "out" / f"{name}.png").transpose(2, 0, 1)
        height, width = tiny.sheet_size(1, 8)
        assert (picture.shape[2], picture.shape[1] > height) == (width + 4, True)
        image = tiny.tile(picture, 0, 0, rows=1, columns=8)
        np.testing.assert_array_equal(image, (arrays["image"] * 255).round())
        labels = pixels_of(tmp_path / "out" / f"{name}_labels.png")
        np.testing.assert_array_equal(labels, arrays["masks"].argmax(0)[0] + 1)  # slot k is k, from 1 on
    text = capsys.readouterr().out
    assert (
        f"Wrote slots, masks and a picture of 5 images to {tmp_path / 'out'}; the first 5 are in overview.png" in text
    )


@pytest.mark.parametrize("overview", [0, 3])
def test_the_overview_has_the_first_images(overview, shards, tmp_path):
    predict(shards, tmp_path, PredictionWriter(str(tmp_path / "out"), overview=overview))
    path = tmp_path / "out" / "overview.png"
    assert path.exists() == (overview > 0)
    if overview:
        picture = pixels_of(path).transpose(2, 0, 1)
        assert 0 < picture.shape[1] - tiny.sheet_size(overview, 4)[0] < 40
        last = tiny.tile(picture, 2, 0, rows=3, columns=4)
        expected = arrays_of(tmp_path / "out" / "test-00000002.npz")["image"]
        np.testing.assert_array_equal(last, (expected * 255).round())


def test_a_single_image_is_counted_as_one(tmp_path, capsys):
    Image.fromarray(np.zeros((35, 35, 3), np.uint8)).save(tmp_path / "a.png")
    predict(tmp_path / "a.png", tmp_path, PredictionWriter(str(tmp_path / "out")))
    text = capsys.readouterr().out
    assert f"Wrote slots, masks and a picture of 1 image to {tmp_path / 'out'}; it is in overview.png" in text


def test_arrays_may_be_left_out(shards, tmp_path, capsys):
    predict(shards, tmp_path, PredictionWriter(str(tmp_path / "out"), arrays=False))
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".png"}
    assert "Wrote a picture and a label map of 5 images" in capsys.readouterr().out


def test_the_crop_is_in_the_arrays(tmp_path):
    """Where the data tell it: top, left, bottom, right."""
    batch = {"index": torch.tensor([0, -1, 1]), "box": torch.tensor([[16, 0, 112, 96], [0, 0, 0, 0], [0, 4, 9, 13]])}
    assert crop_boxes(batch).tolist() == [[0, 16, 96, 112], [4, 0, 13, 9]]
    assert crop_boxes({"index": batch["index"]}) is None


@pytest.mark.parametrize("names", [("overview",), ("a", "a_labels")])
def test_no_picture_is_written_over_another(names, tmp_path):
    (tmp_path / "in").mkdir()
    for name in names:
        Image.new("RGB", (40, 50)).save(tmp_path / "in" / f"{name}.png")
    with pytest.raises(DataError, match=rf"{names[-1]}\.png: expected one file of each name, got two"):
        predict(tmp_path / "in", tmp_path, PredictionWriter(str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a" * 246, "ü" * 123, "sub/" + "a" * 246])
def test_names_that_are_too_long_are_refused_before_anything_is_written(name, tmp_path):
    for each in ("0", name):
        (path := tmp_path / "in" / f"{each}.png").parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 50)).save(path)
    match = "_labels.png: expected a name that the file system allows, got one that is too long; rename the image"
    with pytest.raises(DataError, match=match):
        predict(tmp_path / "in", tmp_path, PredictionWriter(str(tmp_path / "out/deep")), {"recursive": True})
    assert not (tmp_path / "out").exists()


def test_a_path_that_is_too_long_is_refused(tmp_path):
    """In a folder that itself could still be made."""
    (tmp_path / "in").mkdir()
    Image.new("RGB", (40, 50)).save(tmp_path / "in" / f"{'a' * 240}.png")
    out = str(tmp_path)
    while len(out) < 3900:
        out += "/" + "b" * min(250, 3900 - len(out))
    with pytest.raises(DataError, match="expected a name that the file system allows"):
        predict(tmp_path / "in", tmp_path, PredictionWriter(out))
    assert not (tmp_path / ("b" * 250)).exists()


def test_the_longest_names_are_taken(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (40, 50)).save(tmp_path / "in" / f"{'a' * 244}.png")
    predict(tmp_path / "in", tmp_path, PredictionWriter(str(tmp_path / "out")))
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize(
    ("root", "out", "recursive"),
    [("in", "in", False), ("in/a.png", "in", False), ("in", "in/sub", True), ("in/overview.png", "in", False)],
)
def test_no_image_is_written_over(root, out, recursive, tmp_path):
    for name in ("a", "overview", "sub/a"):
        (path := tmp_path / "in" / f"{name}.png").parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 50)).save(path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    with pytest.raises(DataError, match="expected a folder without the images"):
        predict(tmp_path / root, tmp_path, PredictionWriter(str(tmp_path / out)), {"recursive": recursive})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_pictures_of_an_image_may_lie_beside_it(tmp_path):
    Image.new("RGB", (40, 50)).save(tmp_path / "a.jpg")
    predict(tmp_path / "a.jpg", tmp_path, PredictionWriter(str(tmp_path)))
    assert {path.name for path in tmp_path.iterdir()} == {"a.jpg", "a.png", "a.npz", "a_labels.png", "overview.png"}


def test_arrays_have_their_shapes_and_ranges(shards, tmp_path):
    predict(shards, tmp_path, PredictionWriter(str(tmp_path / "out")))
    for path in (tmp_path / "out").glob("*.npz"):
        arrays = arrays_of(path)
        arrays.pop("crop_box", None)
        assert {name: array.shape for name, array in arrays.items()} == SHAPES
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
        np.testing.assert_allclose(arrays["masks"].sum(0), 1, atol=1e-5)
        for name in ("image", "masks", "components", "reconstruction"):
            assert arrays[name].min() >= 0
            assert arrays[name].max() <= 1 + 1e-6
        assert (arrays["scale"] > 0).all()
        blended = (arrays["masks"] * arrays["components"]).sum(0)
        np.testing.assert_allclose(arrays["reconstruction"], blended, atol=1e-5)


def test_arrays_are_the_predictions(shards, tmp_path):
    (first, *_) = predict(shards, tmp_path, PredictionWriter(str(tmp_path / "out")))
    arrays = arrays_of(tmp_path / "out" / f"{first.key[1]}.npz")
    for name in SHAPES:
        np.testing.assert_array_equal(arrays[name], getattr(first, name)[1])


def test_by_default_they_go_to_the_run(shards, tmp_path):
    predict(shards, tmp_path, PredictionWriter())
    assert len(list((tmp_path / "predictions").iterdir())) == 16


def test_images_keep_their_names(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a b.png", "ü.jpg", "v1.2.png"):
        Image.new("RGB", (40, 50)).save(tmp_path / "in" / name)
    predict(tmp_path / "in", tmp_path, PredictionWriter(str(tmp_path / "out")))
    assert {path.name for path in (tmp_path / "out").glob("*.npz")} == {"a b.npz", "ü.npz", "v1.2.npz"}


def test_what_an_earlier_prediction_has_left_is_told(shards, tmp_path, capsys):
    out = tmp_path / "out"
    predict(shards, tmp_path, PredictionWriter(str(out)))
    predict(shards, tmp_path, PredictionWriter(str(out)))
    assert "This folder also contains" not in capsys.readouterr().out  # every file was replaced
    (out / "notes.npz").touch()  # of the user
    Image.new("RGB", (40, 50)).save(tmp_path / "a.jpg")
    predict(tmp_path / "a.jpg", tmp_path, PredictionWriter(str(out)))
    told = "This folder also contains 15 files of an earlier prediction, such as test-00000000.npz"
    assert capsys.readouterr().out.splitlines()[-1] == told
    predict(shards, tmp_path, PredictionWriter(str(out), arrays=False))
    told = "This folder also contains 8 files of an earlier prediction, such as a.npz"  # three of a, five arrays
    assert capsys.readouterr().out.splitlines()[-1] == told


def test_what_an_earlier_prediction_has_left_in_subfolders_is_told(tmp_path, capsys):
    for name in ("c.png", "day/b.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 50)).save(tmp_path / "in" / name)
    writer = PredictionWriter(str(tmp_path / "out"))
    predict(tmp_path / "in", tmp_path, writer, data={"recursive": True})
    (tmp_path / "in" / "day" / "b.png").unlink()
    predict(tmp_path / "in", tmp_path, writer, data={"recursive": True})
    told = "This folder also contains 3 files of an earlier prediction, such as day/b.npz"
    assert capsys.readouterr().out.splitlines()[-1] == told


def test_a_second_prediction_counts_anew(shards, tmp_path, capsys):
    writer = PredictionWriter(str(tmp_path / "out"))
    for _ in range(2):
        predict(shards, tmp_path, writer)
    assert capsys.readouterr().out.count("of 5 images") == 2


@pytest.mark.parametrize("steps", [0, 2])
def test_the_refinement_of_testing_is_used(shards, tmp_path, steps):
    predict(shards, tmp_path, PredictionWriter(str(tmp_path / "out")), test_refinement_steps=steps)
    (batch, *_) = tiny.loaded(shards, "test").test_dataloader()
    module = tiny.module(network=tiny.lively(tiny.network()), test_refinement_steps=steps).eval()
    with torch.no_grad():
        expected = module.predict_step(batch, 0)
    written = arrays_of(tmp_path / "out" / "test-00000000.npz")["slots"]
    np.testing.assert_allclose(written, expected.slots[0], rtol=1e-5, atol=1e-6)
