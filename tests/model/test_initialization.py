"""Initial weights: those of the authors' code, and balanced ones."""

from functools import partial

import pytest
import torch
from torch import nn

from emorl.model import (
    IODINE,
    BalancedInitialization,
    BigDecoder,
    EfficientMORL,
    IodineDecoder,
    SmallDecoder,
    gaussian_noise,
    scale,
)


@pytest.fixture(scope="module", params=[{}, {"slot_dim": 64, "decoder": IodineDecoder}], ids=["tetrominoes", "clevr"])
def fresh(request):
    torch.manual_seed(0)
    return EfficientMORL(**request.param)


def spread(tensor):
    return tensor.detach().double().square().mean().sqrt().item()


def xavier_layers(model):
    """Name the layers that the released recipe fills, the decoder's position projection among them."""
    bottom_up, prior, refinement = model.bottom_up, model.prior.conditional, model.refinement
    yield from (layer for layer in model.encoder.convolutions if hasattr(layer, "weight"))
    yield from (model.encoder.mlp[1], model.encoder.mlp[3])
    yield from (bottom_up.attend.to_query, bottom_up.attend.to_key, bottom_up.attend.to_value)
    yield from (mlp[i] for mlp in (bottom_up.mean_mlp, bottom_up.rho_mlp) for i in (1, 3))
    yield from (layer for layer in model.decoder.layers if hasattr(layer, "weight"))
    yield model.decoder.position.projection
    yield from (prior.hidden, prior.mean, prior.rho)
    yield from (refinement.encoding[0], refinement.encoding[2], refinement.mean, refinement.rho)


def test_weights_are_xavier_normal_of_gain_a_fiftieth(fresh):
    for layer in xavier_layers(fresh):
        kernel = layer.weight[0, 0].numel() if layer.weight.ndim == 4 else 1
        fans = kernel * (layer.weight.shape[0] + layer.weight.shape[1])
        expected, count = 0.02 * (2 / fans) ** 0.5, layer.weight.numel()
        assert spread(layer.weight) == pytest.approx(expected, rel=5 / (2 * count) ** 0.5)
        assert layer.weight.abs().max() > 2.5 * expected or count < 500  # normal, not uniform
        assert layer.bias is None or not layer.bias.any()


def test_dual_gru_starts_from_the_standard_normal(fresh):
    for parameter in fresh.bottom_up.cell.parameters():
        assert spread(parameter) == pytest.approx(1, rel=5 / (2 * parameter.numel()) ** 0.5)
        assert abs(parameter.mean().item()) < 5 / parameter.numel() ** 0.5


def test_what_the_recipe_does_not_name_keeps_its_defaults(fresh):
    for module in fresh.modules():
        if isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all()
            assert not module.bias.any()
    embedding = fresh.encoder.position
    assert 0.4 < embedding.projection.weight.abs().max() <= 0.5  # uniform, 4 inputs
    assert 0.3 < embedding.projection.bias.abs().max() <= 0.5
    for parameter in fresh.refinement.recurrence.parameters():
        limit = fresh.refinement.slot_dim**-0.5
        assert 0.9 * limit < parameter.abs().max() <= limit
        assert spread(parameter) == pytest.approx(limit / 3**0.5, rel=0.2)


def test_slots_start_from_mean_zero_and_rho_one(fresh):
    assert not fresh.bottom_up.initial_mean.any()
    assert (fresh.bottom_up.initial_rho == 1).all()


@pytest.mark.parametrize("decoder", [SmallDecoder, partial(SmallDecoder, stride=2), IodineDecoder, BigDecoder])
def test_balanced_slots_start_dark_and_with_even_masks(decoder):
    torch.manual_seed(0)
    model = EfficientMORL(decoder=decoder, initialization=BalancedInitialization)
    components = model.decoder(0.35 * torch.randn(8, 4, 32), (48, 48))
    assert components.rgb.mean().item() == pytest.approx(0.08, abs=0.02)
    assert components.rgb.std().item() < 0.05
    assert components.masks.mean(dim=(0, 2, 3, 4)).tolist() == pytest.approx([0.25] * 4, abs=0.05)


def test_balanced_pixels_of_a_position_start_alike():
    model = EfficientMORL(decoder=partial(SmallDecoder, stride=3), initialization=BalancedInitialization)
    components = model.decoder(torch.randn(1, 2, 32), (9, 9))
    corners = components.rgb[..., ::3, ::3].repeat_interleave(3, -1).repeat_interleave(3, -2)
    torch.testing.assert_close(components.rgb, corners)


def test_balanced_channels_of_a_decoder_without_positions_of_several_pixels_differ():
    last = EfficientMORL(decoder=BigDecoder, initialization=BalancedInitialization).decoder.layers[-1]
    assert len(last.weight.detach().flatten(1).unique(dim=0)) == 64


@pytest.mark.parametrize("decoder", [SmallDecoder, partial(SmallDecoder, stride=4), IodineDecoder, BigDecoder])
def test_balanced_decoders_keep_the_scale_of_what_differs_between_slots(decoder):
    """Released: one in ten thousand."""
    torch.manual_seed(0)
    model = EfficientMORL(decoder=decoder, initialization=BalancedInitialization)
    logits = model.decoder(torch.randn(16, 4, 32), (48, 48)).log_masks.exp().logit()
    assert 0.05 < logits.var(dim=(0, 1)).mean().sqrt().item() < 1  # the last layer is 0.3 of unit scale


def test_balanced_attention_and_posteriors_start_at_unit_scale():
    torch.manual_seed(0)
    model = EfficientMORL(num_slots=4, initialization=BalancedInitialization)
    slots, pixels = torch.randn(64, 4, 32), torch.randn(64, 50, 64)
    attend = model.bottom_up.attend
    logits = torch.einsum("bkd,bnd->bkn", attend.to_query(slots), attend.to_key(pixels)) * 32**-0.5
    assert logits.std().item() == pytest.approx(1, abs=0.15)
    assert attend.to_value(pixels).std().item() == pytest.approx(2, abs=0.2)
    posterior = model.bottom_up_pass(torch.rand(8, 3, 35, 35), 4, gaussian_noise)[0][0]
    assert scale(posterior.rho).mean().item() == pytest.approx(0.4, abs=0.1)
    assert model.refinement.mean.weight.std().item() == pytest.approx(0.1 * (2 / 32) ** 0.5, rel=0.1)


def test_balanced_slots_of_iodine_start_dark_and_move_little():
    torch.manual_seed(0)
    model = IODINE(initialization=BalancedInitialization)
    start, moved = (stage.posterior for stage in model(torch.rand(4, 3, 16, 16), steps=1).stages)
    assert not start.mean.any()
    assert start.distribution.scale.detach().unique().item() == pytest.approx(0.36, abs=0.01)
    assert 0.01 < moved.mean.detach().std().item() < 0.3
    colors, logits = model.decoder.draw(0.35 * torch.randn(8, 4, 32), (16, 16))
    assert 0.05 < colors.std().item() < 0.5
    assert 0.05 < logits.std().item() < 0.5
