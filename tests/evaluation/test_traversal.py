"""Latent traversals, and their figures and animations."""

import pytest
import torch
from PIL import Image

import tiny
from emorl.errors import DataError
from emorl.evaluation.representation.traversal import (
    animation,
    sweep,
    sweep_values,
    traversal,
    traversal_figure,
    write_gif,
)
from emorl.viz import to_uint8

SIZE = (14, 12)
SLOT, DIMS = 2, [5, 0]


@pytest.fixture
def network():
    return tiny.lively(tiny.network())


@pytest.fixture
def slots():
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


VALUES = torch.tensor([[-2.0, 0.0, 2.0], [-1.0, 0.5, 3.0]])


def decode(network, slots):
    with torch.no_grad():
        return network.decoder(slots[None], SIZE).reconstruction[0]


def test_a_sweep_equals_decoding_each_scene(network, slots):
    pictures = sweep(network, slots, SLOT, DIMS, VALUES, SIZE)
    assert pictures.shape == (2, 3, 3, *SIZE)
    for row, dim in enumerate(DIMS):
        for step in range(3):
            varied = slots.clone()
            varied[SLOT, dim] = VALUES[row, step]
            torch.testing.assert_close(pictures[row, step], decode(network, varied))


def test_the_value_of_the_slot_gives_the_unchanged_scene(network, slots):
    pictures = sweep(network, slots, SLOT, [5], slots[SLOT, 5].view(1, 1), SIZE)
    torch.testing.assert_close(pictures[0, 0], decode(network, slots))


def test_sweeps_change_no_slots(network, slots):
    before = slots.clone()
    sweep(network, slots, SLOT, DIMS, VALUES, SIZE)
    assert torch.equal(slots, before)


def test_a_traversal_is_the_sweep_in_8_bits_enlarged(network, slots):
    frames = traversal(network, slots, SLOT, DIMS, VALUES, SIZE)
    assert frames.shape == (2, 3, 3, 9 * 14, 9 * 12)  # 9 * 14 = 126 pixels
    assert torch.equal(frames[..., 4::9, 4::9], to_uint8(sweep(network, slots, SLOT, DIMS, VALUES, SIZE)))


def test_values_span_the_range_of_each_dimension():
    slots = torch.tensor([[[0.0, 5.0], [1.0, 5.0]], [[-1.0, 5.0], [0.0, 5.0]]])
    assert sweep_values(slots, 5).tolist() == [[-1, -0.5, 0, 0.5, 1], [5, 5, 5, 5, 5]]


def test_the_animation_plays_forth_and_back():
    frames = torch.arange(4, dtype=torch.uint8).view(1, 1, 4, 1, 1, 1).expand(2, 3, 4, 3, 5, 6)
    pictures = animation(frames)
    assert pictures.shape == (6, 3, 2 * 7 + 2, 3 * 8 + 2)
    assert pictures[:, 0, 3, 3].tolist() == [0, 1, 2, 3, 2, 1]


def test_figure_names_slots_and_dimensions():
    frames = torch.zeros(2, 2, 3, 3, 5, 6, dtype=torch.uint8)
    axes = traversal_figure(frames, DIMS).axes[0]
    names = ["slot 1, $z_{5}$", "slot 1, $z_{0}$", "slot 2, $z_{5}$", "slot 2, $z_{0}$"]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert axes.images[0].get_array().shape == (4 * 7 + 2, 3 * 8 + 2, 3)


def test_gif(tmp_path):
    frames = torch.zeros(3, 3, 8, 10, dtype=torch.uint8)
    frames[1, 0], frames[2, 2] = 255, 255
    path = write_gif(frames, tmp_path / "new", "moving")
    assert [file.name for file in path.parent.iterdir()] == ["moving.gif"]
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (3, (10, 8), 0)
        for number, color in enumerate([(0, 0, 0), (255, 0, 0), (0, 0, 255)]):
            gif.seek(number)
            assert gif.convert("RGB").getpixel((4, 4)) == color


def test_a_gif_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_gif(torch.zeros(2, 3, 8, 10, dtype=torch.uint8), tmp_path / "file", "moving")
