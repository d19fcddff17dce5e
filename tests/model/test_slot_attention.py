from functools import partial

import pytest
import torch
from tiny_morl import enliven, images, named_noise

from emorl.model import BigDecoder, IodineDecoder, SlotAttend, SlotAttention, SmallDecoder


def tiny(**arguments):
    torch.manual_seed(0)
    return enliven(SlotAttention(**{"num_slots": 3, "slot_dim": 8, "feature_dim": 8} | arguments))


@pytest.mark.parametrize("num_slots", [None, 1, 5])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (5, 12)])
def test_slots_and_size_are_free(num_slots, height, width):
    reading = tiny()(images(2, height, width), num_slots, named_noise())
    slots = num_slots or 3
    assert reading.slots.shape == (2, slots, 8)
    assert reading.attention.shape == (2, slots, height * width)
    assert reading.components.rgb.shape == (2, slots, 3, height, width)
    assert reading.components.log_masks.shape == (2, slots, 1, height, width)


@pytest.mark.parametrize("decoder", [SmallDecoder, IodineDecoder, BigDecoder])
def test_every_parameter_learns(decoder):
    model = tiny(decoder=decoder)
    model(images(2, 16, 16), noise=named_noise()).loss.backward()
    unmoved = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-9}
    assert unmoved <= {"attend.norm.bias"}  # it adds the same logit to every slot
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_loss_is_the_squared_error_of_an_image():
    image = images(2)
    reading = tiny()(image, noise=named_noise())
    errors = [(x - y).square().sum() for x, y in zip(reading.components.reconstruction, image, strict=True)]
    torch.testing.assert_close(reading.loss, sum(errors) / 2)


def test_permuting_the_noise_permutes_the_slots():
    model, image, noise, order = tiny(), images(), named_noise(), torch.tensor([2, 0, 1])
    original = model(image, noise=noise)
    permuted = model(image, noise=lambda name, like: noise(name, like)[:, order])
    torch.testing.assert_close(permuted.slots, original.slots[:, order])
    torch.testing.assert_close(permuted.components.rgb, original.components.rgb[:, order])
    torch.testing.assert_close(permuted.loss, original.loss)


def test_iterations_share_their_weights_and_count():
    image, noise = images(), named_noise()
    one, three = tiny(iterations=1), tiny()
    assert three.iterations == 3
    assert three.state_dict().keys() == one.state_dict().keys()
    assert not torch.allclose(one(image, noise=noise).slots, three(image, noise=noise).slots)
    start = three.initial(2, 3, noise)
    one.initial = lambda *_: start
    for _ in range(3):
        start = one(image).slots
    torch.testing.assert_close(start, three(image, noise=noise).slots)


def test_an_iteration_is_a_gru_and_a_residual_mlp():
    model, image, noise = tiny(iterations=1), images(), named_noise()
    start = model.initial(2, 3, noise)
    update, _ = model.attend(start, model.attend.project(model.encoder(2 * image - 1)))
    carried = torch.stack([model.cell(u, s) for u, s in zip(update, start, strict=True)])
    torch.testing.assert_close(model(image, noise=noise).slots, carried + model.mlp(carried))


def test_slots_start_from_one_distribution():
    model = tiny()
    start = model.initial(2, 4, lambda _, like: torch.ones_like(like))
    rho = model.initial_rho
    expected = model.initial_mean + (torch.nn.functional.softplus(rho) + 1e-5).sqrt()
    torch.testing.assert_close(start, expected.expand(2, 4, 8))


def test_attention_is_shared_by_the_slots_and_averaged_over_pixels():
    torch.manual_seed(0)
    attend = enliven(SlotAttend(6, 8))
    slots, features = torch.randn(2, 3, 8).double(), torch.randn(2, 10, 6).double()
    update, attention = attend(slots, attend.project(features))
    normed = (slots - slots.mean(-1, True)) / (slots.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    query = (normed * attend.norm.weight + attend.norm.bias) @ attend.to_query.weight.T / 8**0.5
    logits = torch.einsum("bkd,bnd->bkn", query, features @ attend.to_key.weight.T)
    expected = logits.exp() / logits.exp().sum(1, keepdim=True) + 1e-8
    torch.testing.assert_close(attention, expected)
    weights = expected / expected.sum(2, keepdim=True)
    torch.testing.assert_close(update, torch.einsum("bkn,bnd->bkd", weights, features @ attend.to_value.weight.T))


def test_a_slot_that_no_pixel_chose_keeps_a_finite_update():
    attend = SlotAttend(6, 8)
    with torch.no_grad():
        attend.norm.weight.fill_(1e4)
    update, _ = attend(torch.randn(2, 3, 8), attend.project(1e3 * torch.randn(2, 10, 6)))
    assert update.isfinite().all()


def test_hidden_width_is_128():
    assert tiny().mlp[1].weight.shape == (128, 8)
    assert tiny(hidden_dim=16).mlp[1].weight.shape == (16, 8)


def test_big_decoder_names_the_remedy():
    with pytest.raises(ValueError, match="multiples of 16, got 12x12"):
        tiny(decoder=partial(BigDecoder))(images())


def test_slots_compete_in_float32_whatever_the_precision():
    attend = SlotAttend(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        update, attention = attend(torch.randn(2, 3, 8), attend.project(torch.randn(2, 20, 8)))
    assert attention.dtype == torch.float32
    torch.testing.assert_close(attention.sum(1), torch.ones(2, 20), rtol=0, atol=1e-6)
    assert update.dtype == torch.bfloat16
