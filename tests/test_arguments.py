"""Arguments of public functions that are of another kind are refused in one line that says what was expected."""

import re

import pytest
import torch

import emorl
import tiny
from emorl.data import Scenes
from emorl.errors import DataError
from emorl.model import IODINE, SlotAttention

pytest.importorskip("huggingface_hub")
from emorl.hub import HubModel

pytestmark = pytest.mark.usefixtures("unchecked")
IMAGES = torch.rand(2, 3, 16, 16)


@pytest.fixture
def model():
    return emorl.pretrained.Pretrained(tiny.network(cls=SlotAttention), 16, {}).eval()


@pytest.mark.parametrize("value", [None, "2", [2], 2.0, 1.5])
def test_numbers_of_an_inference(model, value):
    told = f"^Expected {{}} to be a whole number, such as 1, got {re.escape(repr(value))}\\.$"
    for method in (model.encode, model.reconstruct):
        with pytest.raises(ValueError, match=told.format("draws")):
            method(IMAGES, draws=value)
        for name in ("steps", "num_slots") if value is not None else ():
            with pytest.raises(ValueError, match=told.format(name)):
                method(IMAGES, **{name: value})


@pytest.mark.parametrize("size", [16, 0, "ab", (16.0, 16.0), (3, 16, 16), (16,)])
def test_the_size_of_a_decoded_image(model, size):
    slots = model.encode(IMAGES).slots
    with pytest.raises(
        ValueError, match=r"^Expected size as whole numbers \(height, width\) above 0, such as \(64, 64\), got "
    ):
        model.decode(slots, size)
    assert model.decode(slots, [16, 16]).rgb.shape == model.decode(slots).rgb.shape


@pytest.mark.parametrize("crop", ["centre", 3])
def test_the_name_of_a_crop(model, crop, shards):
    told = rf"^Expected one of the crops square, .*, got {crop!r}\.$"
    with pytest.raises(ValueError, match=told):
        model.preprocess(IMAGES, crop=crop)
    with pytest.raises(ValueError, match=told):
        _ = Scenes(shards, image_size=16, crop=crop)[0]


@pytest.mark.parametrize("value", [None, 3])
def test_a_path(model, value):
    for call in (model.export, model.save_pretrained, HubModel.from_pretrained, Scenes, emorl.MultiObjectDataModule):
        with pytest.raises(TypeError, match=rf"^Expected \w+ to be a path, as text or a Path, got {value}\.$"):
            call(value)
    with pytest.raises(TypeError, match=rf"^Expected repo_id as text, user/repo, got {value}\.$"):
        model.push_to_hub(value)


@pytest.mark.parametrize("value", [0, -1, "16", 1.5])
def test_the_size_of_scenes(value, shards):
    with pytest.raises(ValueError, match=r"^Expected image_size (of 1 or more|to be a whole number, such as 1), got "):
        Scenes(shards, image_size=value)
    with pytest.raises(DataError, match=r"^data\.image_size: expected 1 or more, got "):
        emorl.MultiObjectDataModule(str(shards), image_size=value)


@pytest.mark.parametrize("value", [None, "4", 4.5])
@pytest.mark.parametrize("cls", [emorl.EfficientMORL, SlotAttention, IODINE])
def test_the_sizes_of_a_model(cls, value):
    for name in ("num_slots", "slot_dim"):
        with pytest.raises(ValueError, match=rf"^Expected {name} to be a whole number, such as 1, got "):
            cls(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_size", None), ("image_size", "16"), ("refinement_steps", "2"), ("test_refinement_steps", 1.5)],
)
def test_the_numbers_of_a_module(name, value):
    with pytest.raises(ValueError, match=rf"^Expected {name} to be a whole number, such as 1, got {value!r}\.$"):
        emorl.SlotModule(tiny.network(), **{name: value})
