"""Programs recorded from models give the results of the models."""

import pytest
import recorded
import torch
from recorded import Reconstruct, compare_numbers_of_slots, compare_shapes, compare_way, exported

import tiny
import warm
from emorl.model import ImageNoise, PosteriorMeans


@pytest.mark.filterwarnings("ignore")  # torch's own, of deprecated ways and of shapes compared while they are traced
@pytest.mark.parametrize(("way", "draws"), [("export", 2), ("jit", 2), ("make_fx", 1)])
def test_a_recorded_program_computes_what_the_model_does(way, draws, unchecked):
    """With one draw, and with the best of two."""
    compare_way(way, draws)


@pytest.mark.slow
def test_a_program_that_dynamo_records_computes_what_the_model_does():
    cases = "strict export", "1", "compile", "1"
    ran = warm.script(recorded.__file__, *cases)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.filterwarnings("ignore")
def test_a_traced_program_takes_any_batch_whatever_the_groups(unchecked):
    model = tiny.network(decode_chunk=2).eval().requires_grad_(False)
    program = torch.jit.trace(lambda images: model.encode(images).slots, torch.rand(4, 3, 12, 12), check_trace=False)
    for batch in (1, 6):
        images = torch.rand(batch, 3, 12, 12)
        torch.testing.assert_close(program(images), model.encode(images).slots)


def test_tensors_without_data_have_the_same_shapes(unchecked):
    compare_shapes()


def test_a_program_of_any_number_of_slots(unchecked):
    compare_numbers_of_slots()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["z0", "prior_z2"])
@pytest.mark.parametrize("seed", [0, 5])
def test_the_draws_of_means_are_those_of_the_image_of_index_0(name, seed, batch):
    like = torch.zeros(batch, 3, 5)
    expected = ImageNoise(torch.tensor([0]), seed)(name, like[:1]).expand_as(like)
    assert torch.equal(PosteriorMeans(seed)(name, like), expected)


@pytest.mark.parametrize("record", ["export", "jit"])
@pytest.mark.parametrize(("name", "steps"), [("efficient_morl", 1), ("iodine", 1), ("iodine", 5)])
def test_steps_that_follow_gradients_are_refused(name, steps, record, monkeypatch):
    model, images = tiny.FAMILY[name]().eval(), torch.rand(2, 3, 12, 12)
    program = Reconstruct(model)
    program.forward = lambda images: tuple(model.reconstruct(images, steps))
    if record == "jit":
        monkeypatch.setattr(torch.jit, "is_tracing", lambda: True)
    with pytest.raises(ValueError, match=r"plain tensor operations, got .*, whose steps need gradients of the loss"):
        exported(program, images, strict=False) if record == "export" else program(images)
