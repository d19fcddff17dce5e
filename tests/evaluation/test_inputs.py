"""Inputs of studies: models, scenes, and their checks."""

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.transforms import fit
from emorl.errors import DataError
from emorl.evaluation.inputs import chosen_steps, compared_steps, infer, load_model, load_scenes
from emorl.evaluation.studies.draws import draws
from emorl.model import SlotAttention

TEST = list(Tetrominoes(5, 0, "test").records())  # the test split of `shards`


@pytest.fixture
def module():
    return tiny.module(network=tiny.lively(tiny.network())).eval()


def test_a_checkpoint_is_loaded_in_evaluation_mode(module, tmp_path):
    module.train()
    loaded = load_model(tiny.saved(module, tmp_path / "a.ckpt"))
    assert not loaded.training
    assert loaded.network.num_slots == 4
    assert loaded.state_dict().keys() == module.state_dict().keys()
    assert all(value.cpu().equal(module.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG", b"text", "weights"])
def test_a_path_that_is_not_a_checkpoint_is_one_error(content, tmp_path):
    path = tmp_path / "a.ckpt"
    if content == "weights":
        torch.save({"state_dict": {}}, path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.ckpt: expected a checkpoint, got .+; give the path of a \.ckpt file"):
        load_model(str(path))


def test_scenes_are_the_records_of_the_split(module, shards):
    scenes = load_scenes(str(shards), module, count=3)
    assert scenes.image.shape == (3, 3, 35, 35)
    for place, record in enumerate(TEST[:3]):
        assert scenes.image[place].movedim(0, -1).equal(torch.from_numpy(record.image))
        assert scenes.segmentation[place].equal(torch.from_numpy(record.segmentation))
        assert scenes.factors[place] == record.factors


def test_a_short_split_is_taken_whole_and_resized_for_the_model(shards):
    module = tiny.module(image_size=20, crop="center")
    scenes = load_scenes(str(shards), module, "val", count=99)
    assert scenes.image.shape == (5, 3, 20, 20)
    expected = fit(Tetrominoes(5, 0, "val").scene(3).image, "center", 20, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(scenes.image[3].movedim(0, -1), expected)
    assert scenes.segmentation.shape == (5, 20, 20)
    assert scenes.segmentation.unique().tolist() == [0, 1, 2, 3]


def test_segmentations_may_have_another_size_to_score_at(shards):
    scenes = load_scenes(str(shards), tiny.module(image_size=20), count=2, score_size=35)
    assert scenes.image.shape == (2, 3, 20, 20)
    assert scenes.segmentation[1].equal(torch.from_numpy(TEST[1].segmentation))


def test_an_unknown_split_is_refused(module, shards):
    with pytest.raises(DataError, match="expected a split 'tests', got train, val, test; convert"):
        load_scenes(str(shards), module, "tests")


def test_numbers_below_one_are_refused(module, shards, tmp_path):
    with pytest.raises(ValueError, match="Expected count of 1 or more, got 0"):
        load_scenes(str(shards), module, count=0)
    with pytest.raises(ValueError, match="Expected 1 or more draws, got 0"):
        load_model("tetrominoes", test_draws=0)
    with pytest.raises(ValueError, match="Expected number of 1 or more, got 0"):
        draws("tetrominoes", str(shards), tmp_path / "out", number=0)


def test_batches_number_the_scenes(module, shards):
    scenes = load_scenes(str(shards), module)
    first, second, third = scenes.batches(size=2)
    assert torch.cat([first["index"], second["index"], third["index"]]).tolist() == [0, 1, 2, 3, 4]
    assert third["key"] == ["4"]
    assert third["image"].equal(scenes.image[4:])
    assert second["segmentation"].equal(scenes.segmentation[2:4])


def test_an_inference_has_no_graph_and_does_not_depend_on_the_batch(module, shards):
    scenes = load_scenes(str(shards), module)
    (batch,) = scenes.batches()
    whole = infer(module, batch, 2).stages[-1]
    assert not whole.nll.requires_grad
    parts = [infer(module, part, 2).stages[-1] for part in scenes.batches(size=2)]
    torch.testing.assert_close(torch.cat([part.nll for part in parts]), whole.nll)
    torch.testing.assert_close(torch.cat([part.slots for part in parts]), whole.slots)


def test_steps_are_those_of_the_test_unless_given_and_enough_for_the_model(module):
    slot_attention = tiny.module(network=tiny.network(cls=SlotAttention), test_refinement_steps=2)
    assert [chosen_steps(module, None), chosen_steps(module, 0), chosen_steps(slot_attention, None)] == [1, 0, 2]
    with pytest.raises(DataError, match=r"steps: Expected 1 or more steps, got 0\. SlotAttention has no slots"):
        chosen_steps(slot_attention, 0)


def test_i_0_is_compared_if_the_model_has_slots_there(module):
    slot_attention = tiny.module(network=tiny.network(cls=SlotAttention))
    assert [compared_steps(module, i) for i in (0, 3)] == [[0], [0, 3]]
    assert compared_steps(slot_attention, 3) == [3]


def test_the_number_of_slots_can_be_another_than_in_training(module, shards):
    batch = next(load_scenes(str(shards), module).batches())
    assert infer(module, batch, 1, num_slots=7).stages[-1].components.masks.shape == (5, 7, 1, 35, 35)
