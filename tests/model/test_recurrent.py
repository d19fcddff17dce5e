"""The recurrent cells of the posteriors."""

import pytest
import torch
from torch import nn

from emorl.model import DualGRU, Gaussian, PlainGRU


@pytest.fixture
def inputs():
    update, mean, rho = torch.randn(3, 2, 3, 8, generator=torch.Generator().manual_seed(0))
    return update, Gaussian(mean, rho)


def test_dual_gru_is_two_gru_cells_with_one_input(inputs):
    dual, (update, state) = DualGRU(8), inputs
    after = dual(update, state)
    for cell, before, ours in zip((dual.mean, dual.rho), state, after, strict=True):
        reference = nn.GRUCell(8, 8)
        reference.load_state_dict(cell.state_dict())
        for image in range(2):
            torch.testing.assert_close(ours[image], reference(update[image], before[image]))


def test_the_cells_of_a_dual_gru_do_not_touch(inputs):
    dual, (update, state) = DualGRU(8), inputs
    leaves = Gaussian(*(half.requires_grad_() for half in state))
    after = dual(update, leaves)
    across = torch.autograd.grad(after.mean.sum(), leaves.rho, retain_graph=True, allow_unused=True)
    assert across == (None,)
    assert torch.autograd.grad(after.rho.sum(), leaves.mean, allow_unused=True) == (None,)


def test_plain_gru_is_one_cell_on_both_halves(inputs):
    plain, (update, state) = PlainGRU(8), inputs
    after = plain(update, state)
    assert after.mean.shape == after.rho.shape == (2, 3, 8)
    expected = plain.cell(plain.project(update[1]), torch.cat((state.mean[1], state.rho[1]), dim=-1))
    torch.testing.assert_close(torch.cat((after.mean[1], after.rho[1]), dim=-1), expected)
    assert {name: tuple(p.shape) for name, p in plain.named_parameters()} == {
        "project.weight": (16, 8),
        "project.bias": (16,),
        "cell.weight_ih": (48, 16),
        "cell.weight_hh": (48, 16),
        "cell.bias_ih": (48,),
        "cell.bias_hh": (48,),
    }


@pytest.mark.parametrize("kind", [DualGRU, PlainGRU])
def test_autocast_does_not_round_the_state(kind, inputs):
    cell, (update, state) = kind(8), inputs
    with torch.autocast("cpu", torch.bfloat16):
        rounded = cell(update, state)
    assert {half.dtype for half in rounded} == {torch.float32}
    torch.testing.assert_close(tuple(rounded), tuple(cell(update, state)), rtol=0, atol=0 if kind is DualGRU else 0.02)
