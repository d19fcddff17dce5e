"""Slot Attention: iterations, attention, loss."""

from functools import partial

import pytest
import torch
from tiny_morl import enliven, images, named_noise

from emorl.model import BigDecoder, SlotAttend, SlotAttention


def tiny(**arguments):
    torch.manual_seed(0)
    return enliven(SlotAttention(**{"num_slots": 3, "slot_dim": 8, "feature_dim": 8} | arguments))


def test_loss_is_the_squared_error_of_an_image():
    image = images(2)
    inference = tiny()(image, noise=named_noise())
    reconstruction = inference.stages[-1].components.reconstruction
    errors = [(x - y).square().sum() for x, y in zip(reconstruction, image, strict=True)]
    torch.testing.assert_close(inference.loss, sum(errors) / 2)


def test_iterations_share_their_weights_and_count():
    model, image, noise = tiny(), images(), named_noise()
    start = model.initial(2, 3, noise)
    layers = model(image, 3, noise=noise).layers
    for layer in layers:
        model.initial = lambda *_, start=start: start
        start = model(image, 1).stages[-1].slots
        torch.testing.assert_close(start, layer.slots)
    assert not torch.allclose(layers[0].slots, layers[2].slots)


def test_an_iteration_is_a_gru_and_a_residual_mlp():
    model, image, noise = tiny(), images(), named_noise()
    start = model.initial(2, 3, noise)
    update, _ = model.attend(start, model.attend.project(model.encoder(2 * image - 1)))
    carried = torch.stack([model.cell(u, s) for u, s in zip(update, start, strict=True)])
    torch.testing.assert_close(model(image, 1, noise=noise).stages[-1].slots, carried + model.mlp(carried))


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


def test_the_released_start_fills_the_decoder_alone():
    torch.manual_seed(0)
    model = SlotAttention(num_slots=3, slot_dim=32)
    positions = model.decoder.position.projection
    for layer in (positions, *model.decoder.layers[::2]):
        if hasattr(layer, "weight"):
            fans = (layer.weight.shape[0] + layer.weight.shape[1]) * layer.weight[0, 0].numel()
            assert layer.weight.std().item() == pytest.approx(0.02 * (2 / fans) ** 0.5, rel=0.3)
            assert not layer.bias.any()
    assert model.encoder.convolutions[0].weight.abs().max() > 0.1
    assert model.encoder.position.projection.weight.std() > 0.1
