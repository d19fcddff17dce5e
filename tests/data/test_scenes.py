"""The map-style torch data set `Scenes`."""

import json
import pickle
import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tiny
from emorl.data import Scenes
from emorl.data.datamodule import MultiObjectDataModule
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.write.selection import Selection
from emorl.data.write.writer import write_shards
from emorl.errors import DataError


@pytest.fixture
def root(tmp_path):
    return tiny.write(tmp_path / "shards", train=12, test=3)


def test_it_has_the_scenes_of_a_split_by_index(root):
    scenes = Scenes(root, "train", labels=("segmentation", "factors"))
    records = list(Tetrominoes(12, 0, "train").records())
    assert len(scenes) == 12
    for index in (11, 0, 7, 5, -1):
        scene, record = scenes[index], records[index]
        assert scene["index"] == index % 12
        assert torch.equal(scene["image"], torch.from_numpy(record.image).permute(2, 0, 1))
        assert torch.equal(scene["segmentation"], torch.from_numpy(record.segmentation))
        assert scene["factors"] == record.factors
    with pytest.raises(IndexError, match="Expected an index of -12 or more, and below 12, got 12"):
        scenes[12]
    assert len(list(Scenes(root, "test"))) == 3


def test_an_index_is_an_integer_of_any_type(root):
    scenes = Scenes(root)
    for index in (np.int64(3), torch.tensor(3)):
        assert scenes[index]["index"] == 3
        assert type(scenes[index]["index"]) is int
    for bad in (slice(1, 3), 1.0, np.float64(1), torch.tensor(1.0), "1", [1, 2], None):
        with pytest.raises(TypeError, match=r"^Expected an integer index, got .*\. Use torch\.utils\.data\.Subset"):
            scenes[bad]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_scenes_with_factors_are_batches_of_a_loader(root, num_workers):
    scenes = Scenes(root, labels=("segmentation", "factors"))
    loader = DataLoader(scenes, batch_size=5, num_workers=num_workers, collate_fn=Scenes.collate)
    batches = list(loader)
    assert [len(batch["factors"]) for batch in batches] == [5, 5, 2]
    assert [objects for batch in batches for objects in batch["factors"]] == [scene["factors"] for scene in scenes]
    assert batches[0]["image"].shape == (5, 3, 35, 35)
    assert batches[0]["segmentation"].shape == (5, 35, 35)
    plain = next(iter(DataLoader(Scenes(root), batch_size=5, collate_fn=Scenes.collate)))
    assert plain.keys() == {"image", "segmentation", "key", "index"}


@pytest.mark.parametrize("labels", ["factors", "segmentation", None, 3, {"factors"}])
def test_labels_are_a_tuple(root, labels):
    told = rf"^labels: expected a tuple of segmentation, factors, got {re.escape(repr(labels))}; give a tuple, such as"
    with pytest.raises(DataError, match=told):
        Scenes(root, labels=labels)
    with pytest.raises(DataError, match=told):
        MultiObjectDataModule(str(root), train_labels=labels)
    assert Scenes(root, labels=["factors"]).labels == ("factors",)


def test_it_resizes_and_has_no_factors_unless_asked(root):
    scene = Scenes(root, image_size=16)[3]
    assert scene["image"].shape == (3, 16, 16)
    assert scene["segmentation"].shape == (16, 16)
    assert scene.keys() == {"image", "segmentation", "key", "index"}
    assert Scenes(root, labels=())[3].keys() == {"image", "key", "index"}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_it_feeds_a_loader_with_workers(root, num_workers):
    scenes = Scenes(root)
    loader = DataLoader(scenes, batch_size=4, shuffle=True, num_workers=num_workers)
    batches = list(loader)
    assert sorted(index for batch in batches for index in batch["index"].tolist()) == list(range(12))
    assert batches[0]["image"].shape == (4, 3, 35, 35)


def test_scenes_with_any_number_of_objects_are_batches_by_default(tmp_path):
    write_shards({"train": Selection(MultiDSprites(12), range(12))}, tmp_path / "shards", 5)
    scenes, factors = Scenes(tmp_path / "shards"), Scenes(tmp_path / "shards", labels=("factors",))
    assert len({len(scene["factors"]) for scene in factors}) > 1
    assert [len(batch["key"]) for batch in DataLoader(scenes, 4)] == [4, 4, 4]


def test_it_can_be_pickled_after_use(root):
    scenes = Scenes(root)
    first = scenes[0]["image"]
    assert torch.equal(pickle.loads(pickle.dumps(scenes))[0]["image"], first)


@pytest.mark.parametrize("past", [0, 5])
def test_an_index_out_of_range_names_both_bounds(root, past):
    scenes = Scenes(root, "train")
    for index in (len(scenes) + past, -len(scenes) - 1 - past):
        told = f"Expected an index of {-len(scenes)} or more, and below {len(scenes)}, got {index}."
        with pytest.raises(IndexError, match=re.escape(told)):
            scenes[index]


def test_an_unknown_label_is_an_error(root):
    with pytest.raises(DataError, match="expected labels among segmentation, factors, got mask; leave it out"):
        Scenes(root, "train", labels=("segmentation", "mask"))


def test_errors_are_one_line(root):
    with pytest.raises(DataError, match=r"expected a split 'val', got train, test"):
        Scenes(root, "val")
    with pytest.raises(DataError, match="expected a local folder, got a URL"):
        Scenes("https://127.0.0.1/data")
    shard = next(root.glob("*train*0.tar"))
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="expected SHA-256"):
        Scenes(root)[0]
    assert json.loads((root / "manifest.json").read_text())["dataset"] == "tetrominoes"


def test_a_shard_that_is_gone_is_named(root):
    scenes = Scenes(root)
    assert scenes[0]["index"] == 0
    next(root.glob("*train*0.tar")).unlink()
    with pytest.raises(DataError, match=r"train-000000\.tar: expected a shard, got No such file or directory; fetch"):
        scenes[0]


def test_no_scenes_are_no_batch():
    with pytest.raises(ValueError, match=r"^Expected one scene or more, got none\.$"):
        Scenes.collate([])
