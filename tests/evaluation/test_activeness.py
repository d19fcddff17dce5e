"""Activeness of latent dimensions."""

import pytest
import torch

import tiny
from emorl.evaluation.representation.activeness import activeness, activeness_figure

SIZE = (10, 12)
DIM = 9  # more dimensions than are swept at once


@pytest.fixture
def network():
    return tiny.lively(tiny.network(slot_dim=DIM))


@pytest.fixture
def slots():
    return torch.randn(2, 2, DIM, generator=torch.Generator().manual_seed(0))


VALUES = torch.linspace(-1, 2, 3).expand(DIM, 3)


def loop(network, slots):
    """The definition, one image at a time."""
    total = torch.zeros(DIM)
    for dim in range(DIM):
        for scene in range(2):
            for slot in range(2):
                pictures = []
                for value in VALUES[dim]:
                    varied = slots[scene].clone()
                    varied[slot, dim] = value
                    with torch.no_grad():
                        pictures.append(network.decoder(varied[None], SIZE).reconstruction[0])
                stack = torch.stack(pictures)
                total[dim] += ((stack - stack.mean(0)) ** 2).mean() / 4
    return total


def test_it_is_the_variance_over_the_sweep_averaged_over_pixels_slots_and_scenes(network, slots):
    torch.testing.assert_close(activeness(network, slots, VALUES, SIZE), loop(network, slots))


def test_a_dimension_that_the_decoder_ignores_is_not_active(network, slots):
    with torch.no_grad():
        network.decoder.layers[0].weight[:, 3] = 0
    values = activeness(network, slots, VALUES, SIZE)
    assert values[3] < 1e-12
    assert (values[torch.arange(DIM) != 3] > 1e-6).all()


def test_figure_sorts_the_bars():
    axes = activeness_figure(torch.tensor([0.1, 0.3, 0.2])).axes[0]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.3, 0.2, 0.1])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "0"]
