"""Bottom-up inference, layer by layer."""

import pytest
import torch
from tiny_morl import assert_same, enliven, named_noise

from emorl.model import BottomUp, DualGRU, Gaussian, PlainGRU, scale


@pytest.mark.parametrize("cell", [DualGRU, PlainGRU])
def test_layers_follow_one_another_with_shared_weights(cell):
    torch.manual_seed(0)
    bottom_up, noise = enliven(BottomUp(6, 8, num_layers=3, cell=cell)), named_noise()
    features = torch.randn(2, 10, 6, dtype=torch.float64)
    keys, values = features @ bottom_up.attend.to_key.weight.T, features @ bottom_up.attend.to_value.weight.T
    mean, rho = (half.expand(2, 3, 8) for half in (bottom_up.initial_mean, bottom_up.initial_rho))
    found = bottom_up(features, bottom_up.draws(2, 3, noise))
    for layer in range(3):
        slots = mean + scale(rho) * noise(f"z{layer}", mean)
        query = bottom_up.attend.to_query(bottom_up.attend.norm(slots)) / 8**0.5
        attention = torch.softmax(torch.einsum("bkd,bnd->bkn", query, keys), dim=1) + 1e-8
        update = torch.einsum("bkn,bnd->bkd", attention / attention.sum(2, keepdim=True), values)
        mean, rho = bottom_up.cell(update, Gaussian(mean, rho))
        for half, mlp in ((mean, bottom_up.mean_mlp), (rho, bottom_up.rho_mlp)):
            assert [type(part).__name__ for part in mlp] == ["LayerNorm", "Linear", "ReLU", "Linear"]
            assert mlp[1].weight.shape == (16, 8)
            assert half.shape == (2, 3, 8)
        mean, rho = mean + bottom_up.mean_mlp(mean), rho + bottom_up.rho_mlp(rho)
        assert_same(found.posteriors[layer], (mean, rho), rtol=1e-10, atol=1e-10)
        assert_same(found.attention[layer], attention, rtol=1e-10, atol=1e-10)


def test_slots_start_alike_and_part_by_their_noise():
    bottom_up = enliven(BottomUp(6, 8))
    features = torch.randn(2, 10, 6, dtype=torch.float64)
    alike = bottom_up(features, torch.zeros(3, 2, 3, 8, dtype=torch.float64)).posteriors[-1].mean
    torch.testing.assert_close(alike[:, 0], alike[:, 2])
    apart = bottom_up(features, bottom_up.draws(2, 3, named_noise())).posteriors[-1].mean
    assert not torch.allclose(apart[:, 0], apart[:, 2])
