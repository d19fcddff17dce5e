"""The stream from shards to batches: decoding, order and padding."""

import weakref
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.records import ALL_LABELS
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import read_shard
from emorl.data.stream import scenes
from emorl.data.stream.scenes import ImageReader, Scene, SceneStream, ShardReader, blank, collate
from emorl.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def scene(key, value=0, segmented=True):
    return Scene(key, np.full((2, 2, 3), value, np.uint8), np.full((2, 2), value, np.uint8) if segmented else None)


def test_a_batch_is_stacked():
    batch = collate([(4, scene("a", 7)), (-1, blank(2, 2, ("segmentation",))), (2, scene("b", 9))])
    assert batch["image"].shape == (3, 3, 2, 2)
    assert batch["image"].dtype == batch["segmentation"].dtype == torch.uint8
    assert batch["index"].tolist() == [4, -1, 2]
    assert batch["key"] == ["a", "", "b"]
    assert batch["segmentation"][:, 0, 0].tolist() == batch["image"][:, 0, 0, 0].tolist() == [7, 0, 9]


def test_channels_come_first_in_rgb_order():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 1] = 1, 2, 3
    assert collate([(0, Scene("a", image, None))])["image"][0, :, 0, 1].tolist() == [1, 2, 3]


def test_plain_images_have_no_segmentation():
    assert "segmentation" not in collate([(0, scene("a", segmented=False))])


def test_a_stream_yields_in_the_order_of_the_windows_and_pads():
    def read(indices):
        return ((index, partial(scene, f"{index}")) for index in map(int, indices))

    stored, windows = np.array([5, 6, 7, 8, -1, -1]), [np.array([7, 5, 6]), np.array([-1, 8, -1])]
    stream = SceneStream(read, lambda _: (stored, windows), batch_size=4)
    assert [batch["index"].tolist() for batch in stream] == [[7, 5, 6, -1], [8, -1]]


def test_decoding_waits_until_a_scene_is_due():
    decoded = []

    def read(indices):
        return ((index, lambda index=index: decoded.append(index) or scene("a")) for index in map(int, indices))

    stream = SceneStream(read, lambda _: (np.arange(6), [np.arange(6)]), batch_size=2)
    next(iter(stream))
    assert decoded == [0, 1]


def shard_reader(shards, labels=ALL_LABELS):
    return ShardReader(str(shards), Manifest.load(shards), "train", "square", 35, 35, labels)


@pytest.fixture
def reader(shards):
    return shard_reader(shards)


def test_shards_give_the_scenes_that_were_written(reader):
    source = Tetrominoes(12)
    for index, decode in reader(np.array([0, 4, 5, 11])):
        expected, read = source.scene(index), decode()
        assert read.key == f"train-{index:08d}"
        np.testing.assert_array_equal(read.image, expected.image)
        np.testing.assert_array_equal(read.segmentation, expected.segmentation)
        assert read.factors == expected.factors


@pytest.mark.parametrize("labels", [(), ("segmentation",), ("factors",), ALL_LABELS])
def test_a_batch_and_its_padding_have_the_requested_labels(shards, labels):
    batch = collate([(i, decode()) for i, decode in shard_reader(shards, labels)(np.array([3, -1]))])
    assert batch.keys() == {"image", "index", "key", "box", *labels}
    if "factors" in labels:
        assert batch["factors"] == [Tetrominoes(12).scene(3).factors, []]


@pytest.mark.parametrize(("name", "label"), [("segmentation.png", "segmentation"), ("factors.json", "factors")])
def test_labels_that_are_not_requested_are_not_decoded(shards, monkeypatch, name, label):
    samples = [{**sample, name: b"damaged"} for sample in read_shard(str(shards), shard_reader(shards).shards[0])]
    monkeypatch.setattr(scenes, "read_shard", lambda *_: samples)
    others = tuple(other for other in ALL_LABELS if other != label)
    ((_, decode),) = shard_reader(shards, others)(np.array([0]))
    np.testing.assert_array_equal(decode().image, Tetrominoes(12).scene(0).image)
    ((_, decode),) = shard_reader(shards, (label,))(np.array([0]))
    with pytest.raises(DataError, match=f"scene train-00000000: {name}: expected"):
        decode()


def test_padding_among_shards_is_blank(reader):
    found = dict(reader(np.array([10, -1])))
    assert found[-1]().image.sum() == 0
    assert found[-1]().key == ""


def test_a_batch_of_padding_has_the_keys_of_any_batch(reader):
    batches = [collate([(i, decode()) for i, decode in reader(np.array(indices))]) for indices in ([0, 1], [-1, -1])]
    assert batches[0].keys() == batches[1].keys()
    assert batches[0]["segmentation"].shape == batches[1]["segmentation"].shape


def test_each_shard_is_fetched_once(reader, monkeypatch):
    fetched = []
    original = ShardReader._from_shard
    monkeypatch.setattr(
        ShardReader,
        "_from_shard",
        lambda self, number, wanted: fetched.append(number) or original(self, number, wanted),
    )
    assert [index for index, _ in reader(np.array([5, 7, 9, 0, 1, -1, -1]))] == [5, 7, 9, 0, 1, -1, -1]
    assert fetched == [1, 0]


def test_images_are_read_with_their_names(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "one.png")
    read = ImageReader((tmp_path / "one.png",), ("one",), "square", 6)
    (index, decode), (padding, blank) = read(np.array([0, -1]))
    assert (index, decode().key, decode().segmentation) == (0, "one", None)
    np.testing.assert_array_equal(decode().image, PIXELS[:, 1:7])
    assert (padding, blank().key) == (-1, "")


def test_a_shard_whose_end_comes_first_is_read_in_that_order(reader):
    places = np.array([8, 9, 5, 6, 11, 3, 4, 0])
    assert [index for index, _ in reader(places)] == places.tolist()


def test_one_window_is_held_at_a_time():
    class Decode:
        def __call__(self):
            return scene("a")

    alive, most = weakref.WeakSet(), 0

    def read(indices):
        nonlocal most
        for index in map(int, indices):
            decode = Decode()
            alive.add(decode)
            most = max(most, len(alive))
            yield index, decode

    assert len(list(SceneStream(read, lambda _: (np.arange(9), np.arange(9).reshape(3, 3)), batch_size=1))) == 9
    assert most == 3
