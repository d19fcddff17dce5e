"""Noise: named, per image, independent of the batch."""

import pytest
import torch
from tiny_morl import Recorder, assert_same, images, tiny_model

from emorl.model import ImageNoise, PosteriorMeans, SlotAttention, gaussian_noise


def like(batch, num_slots=3, dtype=torch.float32):
    return torch.zeros(batch, num_slots, 8, dtype=dtype)


def indices(*values):
    return torch.tensor(values)


def test_draws_of_an_image_do_not_depend_on_its_batch():
    together = ImageNoise(indices(5, 0, 7))("z1", like(3))
    alone = ImageNoise(indices(7))("z1", like(1))
    assert torch.equal(together[2], alone[0])
    shuffled = ImageNoise(indices(7, 5, 0))("z1", like(3))
    assert torch.equal(shuffled, together[[2, 0, 1]])


def test_draws_depend_on_index_name_and_seed():
    keys = [(1, 0, "z1"), (2, 0, "z1"), (1, 1, "z1"), (1, 0, "z2"), (11, 1, "z1"), (1, 11, "z1")]
    draws = [ImageNoise(indices(index), seed)(name, like(1)) for index, seed, name in keys]
    assert len({draw.sum().item() for draw in draws}) == len(draws)


def test_every_training_step_draws_anew():
    draws = [ImageNoise(indices(1), seed, step)("z1", like(1)) for seed, step in ((0, -1), (0, 0), (0, 1), (1, 0))]
    assert len({draw.sum().item() for draw in draws}) == 4
    assert torch.equal(draws[0], ImageNoise(indices(1))("z1", like(1)))


def test_draws_do_not_depend_on_the_order_of_the_calls():
    one, other = ImageNoise(indices(3, 4)), ImageNoise(indices(3, 4))
    first = one("z0", like(2)), one("refine1", like(2))
    second = other("refine1", like(2)), other("z0", like(2))
    assert_same(first, second[::-1], rtol=0, atol=0)


def test_image_noise_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = ImageNoise(indices(3))("z0", like(1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(ImageNoise(indices(3))("z0", like(1)), first)


def test_the_default_type_does_not_change_the_draws():
    like, noise = torch.zeros(1, 2, 3), ImageNoise(torch.tensor([5]))
    expected = noise("z0", like)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.testing.assert_close(noise("z0", like), expected, rtol=0, atol=0)
    finally:
        torch.set_default_dtype(before)


def test_precision_does_not_change_the_draws():
    single, double = (ImageNoise(indices(3))("z0", like(1, dtype=dtype)) for dtype in (torch.float32, torch.float64))
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert torch.equal(single.double(), double)


def test_image_noise_is_standard_normal():
    draws = ImageNoise(torch.arange(400), seed=3)("z0", like(400, 16)).flatten()
    assert draws.mean().item() == pytest.approx(0, abs=0.02)
    assert draws.std().item() == pytest.approx(1, abs=0.02)
    assert draws.unique().numel() > 0.99 * draws.numel()


def test_slots_of_an_image_are_drawn_apart():
    draws = ImageNoise(indices(3))("z0", like(1))[0]
    assert not torch.equal(draws[0], draws[1])


def test_zero_step_scores_with_image_noise_are_those_of_the_image_alone():
    model, image = tiny_model(), images(3)
    with torch.no_grad():
        together = model(image, noise=ImageNoise(indices(4, 9, 2))).stages[0]
        alone = model(image[1:2], noise=ImageNoise(indices(9))).stages[0]
    torch.testing.assert_close(together.nll[1:2], alone.nll)
    torch.testing.assert_close(together.kl[1:2], alone.kl)


def test_posterior_means_take_the_place_of_samples():
    draws = Recorder(PosteriorMeans())
    inference = tiny_model()(images(), 2, noise=draws)
    zero = {name for name, draw in draws.draws.items() if not draw.any()}
    assert zero == {"z1", "z2", "z3", "refine1", "refine2"}
    assert draws.draws.keys() - zero == {"z0", "prior_z3", "prior_z2"}
    assert all(torch.equal(stage.slots, stage.posterior.mean) for stage in inference.stages)


def test_posterior_means_start_every_image_from_the_same_slots():
    first, second = PosteriorMeans()("z0", like(2))
    assert torch.equal(first, second)
    assert torch.equal(PosteriorMeans()("z0", like(1))[0], first)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(PosteriorMeans(1)("z0", like(1))[0], first)


def test_gaussian_noise_follows_the_global_generator():
    torch.manual_seed(0)
    expected = torch.randn(2, 3, 8)
    torch.manual_seed(0)
    assert torch.equal(gaussian_noise("any name", like(2)), expected)
    assert not torch.equal(gaussian_noise("any name", like(2)), expected)
    assert gaussian_noise("z0", like(2, dtype=torch.float64)).dtype == torch.float64


def test_models_draw_from_the_global_generator_by_default():
    for model in (tiny_model(), SlotAttention(slot_dim=8, feature_dim=8).double()):
        results = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            results.append(model(images()).loss)
        assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("without_graph", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_recorded_noise_repeats_a_computation(without_graph):
    model, recorder = tiny_model(), Recorder(gaussian_noise)
    with without_graph():
        once = model(images(), 2, noise=recorder)
        again = model(images(), 2, noise=recorder.replay)
        other = model(images(), 2)
    assert_same(once, again, rtol=0, atol=0)
    assert not torch.equal(once.stages[2].slots, other.stages[2].slots)


@pytest.mark.parametrize("bad", [torch.tensor([1.0]), torch.tensor([[1]]), [1]])
def test_indices_are_whole_numbers_one_an_image(bad, unchecked):
    with pytest.raises(ValueError, match=r"Expected indices as a tensor of whole numbers \[B\], got "):
        ImageNoise(bad)
    with pytest.raises(ValueError, match=r"Expected seed to be a whole number, such as 1, got 1\.0"):
        ImageNoise(indices(1), seed=1.0)
