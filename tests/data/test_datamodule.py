from itertools import chain

import numpy as np
import pytest
from failing_server import CUT, DROP, serve
from PIL import Image

import tiny
from emorl.data.datamodule import MultiObjectDataModule
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.shards import remote
from emorl.data.shards.manifest import Manifest
from emorl.data.stream.loader import TrainingLoader
from emorl.data.stream.plan import Order
from emorl.data.transforms import fit
from emorl.errors import DataError

BICUBIC = Image.Resampling.BICUBIC


def data(root, stage="fit", **arguments):
    module = MultiObjectDataModule(str(root), **{"batch_size": 2, "num_workers": 0} | arguments)
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


def test_batches_are_cropped_to_the_size_asked_for(shards):
    for batch in data(shards, image_size=16, crop="center").val_dataloader():
        assert batch["image"].shape == (2, 3, 16, 16)
        assert batch["segmentation"].shape == (2, 16, 16)
    record = Tetrominoes(5, 0, "val").scene(4)
    np.testing.assert_array_equal(batch["image"][0].movedim(0, -1), fit(record.image, "center", 16, BICUBIC))


def test_training_is_cropped_and_shuffled_as_asked_for(shards):
    loader = data(shards, image_size=16, crop="center", window=3).train_dataloader()
    assert loader.order == Order((5, 5, 2), window=3, seed=0)
    batch = next(iter(loader))
    record = Tetrominoes(12).scene(int(batch["index"][0]))
    np.testing.assert_array_equal(batch["image"][0].movedim(0, -1), fit(record.image, "center", 16, BICUBIC))


def test_training_reads_images_alone_and_evaluation_segmentations_unless_asked_for_more(shards):
    plain, rich = data(shards), data(shards, train_labels=("factors",), eval_labels=("segmentation", "factors"))
    read = [
        next(iter(loader)).keys() - {"image", "index", "key"}
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
def test_prediction_reads_the_split_it_is_told(shards, split):
    module = data(shards, stage="predict", predict_split=split)
    assert {key.split("-")[0] for key in keys(module.predict_dataloader()) if key} == {split}


def test_prediction_reads_a_folder_of_images(folder):
    batches = list(data(folder, stage="predict").predict_dataloader())
    assert list(chain(*(batch["key"] for batch in batches))) == ["a", "b", "c", ""]
    assert {batch["image"].shape for batch in batches} == {(2, 3, 35, 35)}
    np.testing.assert_allclose(batches[0]["image"][0, :, 10, 10], (10, 20, 30), atol=4)
    assert all("segmentation" not in batch for batch in batches)


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated")
def test_without_a_validation_split_training_says_so_and_goes_on(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(MultiObjectDataModule, "setup", without_validation)
    trainer = tiny.trainer(tmp_path, max_steps=1)
    with pytest.warns(UserWarning, match=r"expected a split 'val', got train, test; there will be no scores"):
        trainer.fit(tiny.module(), tiny.data(shards))
    assert trainer.global_step == 1
    with pytest.raises(DataError, match="expected a split 'val', got train, test"):
        tiny.trainer(tmp_path).validate(tiny.module(), tiny.data(shards))


def without_validation(module, stage):
    del stage
    module.manifest = Manifest.load(module.root)
    del module.manifest.splits["val"]


def test_a_split_that_is_not_there(shards):
    module = data(shards, stage="predict", predict_split="other")
    with pytest.raises(DataError, match=r"expected a split 'other', got train, val, test; convert or generate"):
        module.predict_dataloader()


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_training_and_testing_need_a_manifest(folder, stage):
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read"):
        data(folder, stage=stage)


def test_too_small_a_data_set(shards):
    with pytest.raises(DataError, match="expected at least 13 samples, one batch for each process, got 12"):
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


def test_what_is_wrong_at_the_server_ends_the_training(tmp_path):
    root = tiny.write(tmp_path / "set", train=10)
    (root / "train-000001.tar").write_bytes((root / "train-000000.tar").read_bytes())
    with serve(root) as (url, _), pytest.raises(DataError, match=rf"^{url}/train-000001\.tar: expected"):
        keys(data(url, num_workers=1).train_dataloader())
