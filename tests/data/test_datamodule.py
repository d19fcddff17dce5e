"""The data module: splits, batches, crops, labels, and folders to predict."""

import re
from itertools import chain

import numpy as np
import pytest
from failing_server import CUT, DROP, serve
from PIL import Image

import tiny
from emorl.data import Scenes
from emorl.data.datamodule import MultiObjectDataModule
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.shards import remote
from emorl.data.sources.folder import ImageFolder
from emorl.data.stream.loader import TrainingLoader
from emorl.data.stream.plan import Order
from emorl.data.transforms import fit
from emorl.data.write.selection import Selection
from emorl.data.write.writer import write_shards
from emorl.errors import DataError

BICUBIC = Image.Resampling.BICUBIC


def data(root, stage="fit", **arguments):
    module = MultiObjectDataModule(str(root), **{"batch_size": 2, "num_workers": 0, "image_size": 35} | arguments)
    module.setup(stage)
    return module


@pytest.fixture
def folder(tmp_path):
    for name, size in (("b.png", (9, 6)), ("a.JPG", (20, 30)), ("c.jpeg", (35, 35))):
        Image.new("RGB", size, (10, 20, 30)).save(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    return tmp_path


def keys(loader):
    return list(chain(*(batch["key"] for batch in loader)))


def test_splits_have_their_scenes(shards):
    module = data(shards)
    assert isinstance(module.train_dataloader(), TrainingLoader)
    assert len(keys(module.train_dataloader())) == 12
    assert [key for key in keys(module.val_dataloader()) if key] == [f"val-{i:08d}" for i in range(5)]
    assert [key for key in keys(module.test_dataloader()) if key] == [f"test-{i:08d}" for i in range(5)]


def test_batches_are_cropped_to_the_requested_size(shards):
    for batch in data(shards, image_size=16, crop="center").val_dataloader():
        assert batch["image"].shape == (2, 3, 16, 16)
        assert batch["segmentation"].shape == (2, 16, 16)
    record = Tetrominoes(5, 0, "val").scene(4)
    np.testing.assert_array_equal(batch["image"][0].movedim(0, -1), fit(record.image, "center", 16, BICUBIC))


def test_training_is_cropped_and_shuffled_as_requested(shards):
    loader = data(shards, image_size=16, crop="center", window=3).train_dataloader()
    assert loader.order == Order((5, 5, 2), window=3, seed=0)
    batch = next(iter(loader))
    record = Tetrominoes(12).scene(int(batch["index"][0]))
    np.testing.assert_array_equal(batch["image"][0].movedim(0, -1), fit(record.image, "center", 16, BICUBIC))


def test_training_reads_images_and_evaluation_also_segmentations_by_default(shards):
    plain, rich = data(shards), data(shards, train_labels=("factors",), eval_labels=("segmentation", "factors"))
    read = [
        next(iter(loader)).keys() - {"image", "index", "key", "box"}
        for module in (plain, rich)
        for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader())
    ]
    segmentation, both = {"segmentation"}, {"segmentation", "factors"}
    assert read == [set(), segmentation, segmentation, {"factors"}, both, both]


def test_labels_do_not_change_the_order_of_training(shards):
    orders = [keys(data(shards, train_labels=labels).train_dataloader()) for labels in ((), ("segmentation",))]
    assert orders[0] == orders[1]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_factors_come_from_workers_too(shards):
    batch = next(iter(data(shards, num_workers=1, train_labels=("factors",)).train_dataloader()))
    assert batch["factors"] == [Tetrominoes(12).scene(int(index)).factors for index in batch["index"]]


@pytest.mark.parametrize(("split", "samples", "expected"), [("test", 3, 3), ("val", None, 5), ("train", 99, 12)])
def test_any_split_is_streamed_to_score_from_its_first_scene_on(shards, split, samples, expected):
    module = data(shards, "test", image_size=20, score_size=35)
    batches = list(module.scoring_dataloader(split, samples))
    assert [key for batch in batches for key in batch["key"] if key] == [f"{split}-{i:08d}" for i in range(expected)]
    assert (batches[0]["image"].shape[-1], batches[0]["segmentation"].shape[-1]) == (20, 35)


@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_single_shard_gives_every_scene_in_any_window(window, tmp_path):
    root = tiny.write(tmp_path / "one", train=5)
    for seed in range(5):
        found = keys(data(root, seed=seed, window=window, batch_size=1).train_dataloader())
        assert sorted(found) == [f"train-{i:08d}" for i in range(5)]


def test_testing_alone_has_segmentations_of_the_size_to_score_at(shards):
    module = data(shards, "test", image_size=20, score_size=35)
    tested, validated = next(iter(module.test_dataloader())), next(iter(module.val_dataloader()))
    assert tested["image"].shape[-2:] == validated["segmentation"].shape[-2:] == (20, 20)
    assert tested["segmentation"].shape[-2:] == (35, 35)
    whole = next(iter(data(shards, "test", image_size=35).test_dataloader()))
    assert tested["segmentation"].equal(whole["segmentation"])


def test_the_seed_chooses_the_order_of_training(shards):
    orders = {tuple(keys(data(shards, seed=seed).train_dataloader())) for seed in (0, 0, 1)}
    assert len(orders) == 2


@pytest.mark.parametrize("split", ["val", "test", "train"])
def test_prediction_reads_the_requested_split(shards, split):
    module = data(shards, stage="predict", predict_split=split)
    batches = list(module.predict_dataloader())
    assert {key.split("-")[0] for batch in batches for key in batch["key"] if key} == {split}
    assert not any({"segmentation", "factors"} & batch.keys() for batch in batches)  # which nobody reads


def test_prediction_reads_a_folder_of_images(folder):
    batches = list(data(folder, stage="predict").predict_dataloader())
    assert list(chain(*(batch["key"] for batch in batches))) == ["a", "b", "c", ""]
    assert {batch["image"].shape for batch in batches} == {(2, 3, 35, 35)}
    np.testing.assert_allclose(batches[0]["image"][0, :, 10, 10], (10, 20, 30), atol=4)
    assert all("segmentation" not in batch for batch in batches)


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated")
def test_without_a_validation_split_training_warns_and_continues(shards, tmp_path, monkeypatch):
    setup = MultiObjectDataModule.setup
    monkeypatch.setattr(
        MultiObjectDataModule, "setup", lambda module, stage: (setup(module, stage), module.manifest.splits.pop("val"))
    )
    trainer = tiny.trainer(tmp_path, max_steps=1)
    told = r"expected a split 'val', got train, test; training runs without scores and .* draws only training images"
    with pytest.warns(UserWarning, match=told):
        trainer.fit(tiny.module(), tiny.data(shards))
    assert trainer.global_step == 1
    with pytest.raises(DataError, match="expected a split 'val', got train, test"):
        tiny.trainer(tmp_path).validate(tiny.module(), tiny.data(shards))


def test_an_unknown_split(shards):
    module = data(shards, stage="predict", predict_split="other")
    told = r"expected a split 'other', got train, val, test; name one .* --data\.predict_split, or .*--data\.root"
    with pytest.raises(DataError, match=told):
        module.predict_dataloader()
    with pytest.raises(DataError, match=r"expected a split 'other', got train, val, test; convert or generate"):
        module.scoring_dataloader("other")


@pytest.mark.parametrize(
    ("root", "command"),
    [
        ("data/tetrominoes", "emorl-data generate tetrominoes data/tetrominoes"),
        ("elsewhere/multi_dsprites", "emorl-data generate multi_dsprites elsewhere/multi_dsprites"),
        ("my data/clevr6", "emorl-data convert clevr clevr_with_masks_train.tfrecords 'my data/clevr6'"),
        ("data/clevr6-96", "make blender; emorl-data generate clevr data/clevr6-96 --size 96 (or converted data: "),
    ],
)
def test_missing_data_of_a_recipe_name_the_command_that_makes_them(root, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = rf"manifest\.json: cannot be read \(No such file or directory\); make the data set: {re.escape(command)}"
    with pytest.raises(DataError, match=told):
        tiny.loaded(root)
    with pytest.raises(DataError, match=told):
        Scenes(root)
    with pytest.raises(DataError, match=r"cannot be read .*; check the path"):
        tiny.loaded("data/mine")


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_training_and_testing_need_a_manifest(folder, stage):
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read"):
        data(folder / "empty", stage=stage)
    match = r"expected a data set of shards, got images; convert the folder \(emorl-data convert folder .* OUT\)"
    for images in (folder, folder.parent, folder / "b.png"):
        with pytest.raises(DataError, match=match):
            data(images, stage=stage)


@pytest.fixture
def frames(tmp_path):
    """Shards of frames of 24x32 pixels, half red from the left, with an object in the red half."""
    (tmp_path / "frames").mkdir()
    (tmp_path / "masks").mkdir()
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[:, :16, 0] = 255
    for name in ("a", "b", "c"):
        Image.fromarray(pixels).save(tmp_path / "frames" / f"{name}.png")
        Image.fromarray(pixels[..., 0]).save(tmp_path / "masks" / f"{name}.png")
    source = ImageFolder(tmp_path / "frames", tmp_path / "masks")
    write_shards({"test": Selection(source, range(3))}, tmp_path / "shards")
    return tmp_path


def test_images_have_the_size_of_the_crop_by_default(frames, shards):
    sizes = {"square": 24, "center": 19, "pad": 32, "emorl": 19}
    for crop, size in sizes.items():
        module = data(frames / "shards", "test", image_size=None, crop=crop)
        batch = next(iter(module.test_dataloader()))
        assert (module.image_size, batch["image"].shape[-1], batch["segmentation"].shape[-1]) == (size, size, size)
    assert MultiObjectDataModule(str(shards)).image_size is None
    with pytest.raises(
        DataError, match="image_size: expected a size for images, got none; give the size that the model"
    ):
        data(frames / "frames", "predict", image_size=None)


def test_padding_keeps_all_of_an_image_and_adds_background(frames):
    for batch in (
        next(iter(data(frames / "shards", "test", image_size=16, crop="pad").test_dataloader())),
        next(iter(data(frames / "frames", "predict", image_size=16, crop="pad").predict_dataloader())),
    ):
        assert not batch["image"][:, :, :2].any()
        assert not batch["image"][:, :, 14:].any()
        assert (batch["image"][0, 0, 2:14, :7] > 250).all()
        assert batch["box"].tolist() == [[0, -4, 32, 28]] * 2
        if "segmentation" in batch:
            assert (batch["segmentation"][0] == (batch["image"][0, 0] > 127)).all()


@pytest.mark.parametrize(("root", "stage"), [("shards", "test"), ("frames", "predict")])
def test_what_a_crop_cuts_away_is_reported_in_a_line(frames, root, stage, caplog):
    Image.new("RGB", (20, 20)).save(frames / "frames" / "d.png")
    module = data(frames / root, stage, crop="square")
    (line,) = (record.getMessage() for record in caplog.records)
    number = "3 of 3" if root == "shards" else "3 of 4"
    cut = "24x32 (height x width) to rows 0:24, columns 4:28"
    assert line.endswith(
        f"{root}: the crop 'square' cuts {number} images, such as one of {cut}; the crop 'pad' keeps them whole"
    )
    loader = module.test_dataloader() if stage == "test" else module.predict_dataloader()
    assert next(iter(loader))["box"].tolist() == [[4, 0, 28, 24]] * 2
    caplog.clear()
    data(frames / root, stage, crop="pad")
    assert caplog.records == []


def test_prediction_reports_skipped_files_and_reads_subfolders_if_recursive(folder, caplog):
    for path in ("sub/deep/a.PNG", "sub/.hidden.png", ".sub/b.png"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (35, 35)).save(folder / path, "PNG")
    module = data(folder, stage="predict", crop="pad")
    text = "skipped 1 file without an image suffix (notes.txt) and 1 subfolder (sub; the option recursive reads them)"
    assert [record.getMessage() for record in caplog.records] == [f"{folder}: {text}"]
    assert keys(module.predict_dataloader()) == ["a", "b", "c", ""]
    module = data(folder, stage="predict", crop="pad", recursive=True, num_workers=0)
    assert keys(module.predict_dataloader()) == ["a", "b", "c", "sub/deep/a"]


def test_a_manifest_of_another_program_is_to_be_moved(folder):
    (folder / "manifest.json").write_text('{"name": "gallery", "icons": []}')
    with pytest.raises(DataError, match=r"manifest\.json: .* got a file of another program; .* move it to another"):
        data(folder, stage="predict")


def test_prediction_reads_a_single_image(folder):
    assert keys(data(folder / "a.JPG", stage="predict", batch_size=1).predict_dataloader()) == ["a"]


def test_a_file_to_which_the_crop_does_not_apply_is_named(folder):
    loader = data(folder, stage="predict", crop="emorl").predict_dataloader()
    with pytest.raises(DataError, match=r"a\.JPG: crop 'emorl': expected CLEVR frames"):
        next(iter(loader))


def test_a_home_folder_is_expanded(shards, monkeypatch):
    monkeypatch.setenv("HOME", str(shards.parent))
    module = data(f"~/{shards.name}", cache="~/cache")
    assert (module.root, module.cache) == (str(shards), str(shards.parent / "cache"))


@pytest.mark.parametrize(
    ("name", "number", "least"),
    [
        ("batch_size", 0, 1),
        ("num_workers", -1, 0),
        ("window", 0, 1),
        ("image_size", 0, 1),
        ("score_size", 0, 1),
        ("seed", -1, 0),
    ],
)
def test_a_number_out_of_range(shards, name, number, least):
    message = f"data.{name}: expected {least} or more, got {number}; choose a number in this range"
    with pytest.raises(DataError, match=message):
        MultiObjectDataModule(str(shards), **{name: number})


def test_a_number_out_of_range_is_one_line_of_the_command(shards, emorl, capsys):
    with pytest.raises(SystemExit, match="2"):
        emorl("test", "--pretrained=tetrominoes", f"--data.root={shards}", "--data.batch_size=0")
    assert "emorl: error: data.batch_size: expected 1 or more, got 0; choose a number" in capsys.readouterr().err


def test_too_small_a_data_set(shards):
    with pytest.raises(DataError, match="expected at least 13 scenes, one batch for each process, got 12"):
        data(shards, batch_size=13).train_dataloader()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("cached", [False, True])
def test_training_over_a_bad_connection_has_each_sample_once(tmp_path, monkeypatch, cached):
    monkeypatch.setattr(remote, "BACKOFF", 0.002)
    root = tiny.write(tmp_path / "set", train=60)
    cache = str(tmp_path / "cache") if cached else None
    faults = [503, CUT, DROP]

    def fault(requests):
        return faults[len(requests) // 5 % 3] if len(requests) % 5 == 0 else None

    with serve(root, fault) as (url, requests):
        module = data(url, num_workers=2, cache=cache)
        training = module.train_dataloader()
        for _ in range(2):
            assert sorted(keys(training)) == [f"train-{i:08d}" for i in range(60)]
    assert len(requests) >= (12 if cached else 24) * 5 // 4
    if cached:
        assert len(requests) < 20
        assert len(list((tmp_path / "cache").iterdir())) == 12


def test_a_lasting_server_error_ends_training(tmp_path):
    root = tiny.write(tmp_path / "set", train=10)
    (root / "train-000001.tar").write_bytes((root / "train-000000.tar").read_bytes())
    with serve(root) as (url, _), pytest.raises(DataError, match=rf"^{url}/train-000001\.tar: expected"):
        keys(data(url, num_workers=1).train_dataloader())
