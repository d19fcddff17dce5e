"""Batches of other data loaders than the package's, with images only."""

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import LambdaCallback
from torch.utils.data import DataLoader, TensorDataset

import tiny
from emorl.batches import completed
from emorl.model import ImageNoise

pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

IMAGES = torch.randint(0, 256, (6, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def loader(items, batch_size=2):
    return DataLoader(items, batch_size=batch_size)


def dicts(images):
    return [{"image": image} for image in images]


@pytest.mark.parametrize(
    ("wrap", "images"),
    [(dicts, IMAGES / 255), (list, IMAGES), (TensorDataset, IMAGES / 255)],
    ids=["float dict", "8-bit tensor", "float TensorDataset"],
)
def test_images_alone_train_validate_test_and_predict(wrap, images, tmp_path):
    module, data = tiny.module(), loader(wrap(images))
    tiny.trainer(tmp_path, max_steps=2).fit(module, data, data)
    trainer = tiny.trainer(tmp_path)
    assert trainer.validate(module, data, verbose=False)[0]["val/mse"] > 0
    assert trainer.test(module, data, verbose=False)[0]["test/mse"] > 0
    predictions = trainer.predict(module, data)
    assert [key for part in predictions for key in part.key] == [f"{index:06d}" for index in range(6)]


def test_scores_do_not_depend_on_the_batch_size(tmp_path):
    module = tiny.module(network=tiny.lively(tiny.network()))
    whole, parts = (
        tiny.trainer(tmp_path).test(module, loader(dicts(IMAGES), size), verbose=False)[0]["test/mse"]
        for size in (6, 2)
    )
    assert parts == pytest.approx(whole, rel=1e-5)
    found = [completed(dicts(IMAGES)[0] | {"image": IMAGES[:2]}, first)["index"] for first in (0, 2)]
    draws = [ImageNoise(index)("z0", torch.zeros(2, 4, 8)) for index in found]
    assert not torch.equal(*draws)


@pytest.mark.parametrize(("size", "expected"), [(2, [0, 1, 2, 3, 0, 1]), (4, [0, 1, 2, 3, 4, 5])])
def test_images_of_a_step_are_numbered_through_its_batches(size, expected, tmp_path):
    """Batches of a step must not share noise. A validation between them numbers its images from 0."""
    seen = []
    watch = LambdaCallback(on_train_batch_start=lambda _, __, batch, ___: seen.extend(batch["index"].tolist()))
    options = {"accumulate_grad_batches": 2, "val_check_interval": 1, "limit_val_batches": 1, "max_epochs": 1}
    data = loader(dicts(IMAGES), size)
    tiny.trainer(tmp_path, callbacks=watch, **options).fit(tiny.module(), data, data)
    assert seen == expected


@pytest.mark.filterwarnings("ignore:Total length of `.*Loader` across ranks is zero")
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
def test_a_training_without_data_is_refused(tmp_path):
    with pytest.raises(MisconfigurationException, match="training data of one batch or more, got none"):
        tiny.trainer(tmp_path, max_steps=2).fit(tiny.module(), DataLoader(dicts(IMAGES), 8, drop_last=True))


@pytest.mark.parametrize("method", ["fit", "validate", "test"])
def test_label_maps_with_a_channel_axis_are_refused(method, tmp_path):
    items = [{"image": image, "segmentation": image[:1]} for image in IMAGES]
    with pytest.raises(ValueError, match=r"shape \[B, H, W\].* got \[2, 1, 12, 12\]"):
        getattr(tiny.trainer(tmp_path, max_steps=1), method)(tiny.module(), *[loader(items)] * (1 + (method == "fit")))


def test_what_is_there_stays():
    batch = {"image": IMAGES[:2], "index": torch.tensor([7, -1]), "key": ["a", ""], "segmentation": IMAGES[:2, 0]}
    found = completed(batch, first=3)
    assert found.keys() == batch.keys()
    assert all(found[name] is value for name, value in batch.items())


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"images": IMAGES}, r"got a dict with images\. Have the data set return a dict with 'image'"),
        ({}, "got a dict with no key"),
        ((IMAGES, torch.zeros(6)), "got a tuple of 2"),
        (None, "got a NoneType"),
        (
            {"image": IMAGES, "segmentation": IMAGES[:, :1]},
            r"shape \[B, H, W\], with B = 6 .*, got \[6, 1, 12, 12\].*squeeze",
        ),
        (
            {"image": IMAGES, "segmentation": IMAGES},
            r"shape \[B, H, W\], with B = 6 images, got \[6, 3, 12, 12\]. Give one",
        ),
        ({"image": IMAGES, "segmentation": IMAGES[:2, 0]}, r"with B = 6 images, got \[2, 12, 12\]"),
        ({"image": IMAGES, "segmentation": IMAGES[0, 0]}, r"with B = 6 images, got \[12, 12\]"),
        ({"image": IMAGES, "segmentation": IMAGES[:, 0] / 1}, r"\[B, H, W\], got torch.float32. Convert the labels"),
        ({"image": IMAGES, "segmentation": [1]}, r"\[B, H, W\], got a list of 1. Stack"),
        ({"image": [1]}, "got a dict with image"),
        (IMAGES.movedim(1, -1), r"got \[6, 12, 12, 3\]\. Move channels to the front"),
        ({"image": IMAGES[0]}, r"got \[3, 12, 12\]\. Add a batch axis"),
        (IMAGES[:, :1], r"got \[6, 1, 12, 12\]"),
    ],
)
def test_what_is_no_batch(batch, message):
    with pytest.raises(ValueError, match=message):
        completed(batch, first=0)


@pytest.mark.parametrize("images", [IMAGES.long(), IMAGES.float()], ids=["integers", "floats up to 255"])
def test_images_of_another_type_or_range(images, tmp_path):
    with pytest.raises(ValueError, match="Expected 8-bit images, or float images in"):
        tiny.trainer(tmp_path).test(tiny.module(), loader(dicts(images)))
