"""The image encoder: strides, receptive fields, position codes."""

import pytest
import torch

import tiny
from emorl.model import EfficientMORL
from emorl.model.encoder import ImageEncoder


@pytest.mark.parametrize(("size", "positions"), [(12, 6), (35, 18)])
def test_a_stride_of_two_leaves_a_quarter_of_the_positions(size, positions):
    features = ImageEncoder(8, stride=2)(torch.rand(2, 3, size, size))
    assert features.shape == (2, positions**2, 8)


@pytest.mark.parametrize(("pixel", "first", "last"), [(20, 3, 17), (21, 4, 17)])
def test_a_stride_of_two_doubles_what_a_position_sees(pixel, first, last):
    torch.manual_seed(0)
    encoder = ImageEncoder(8, stride=2)
    image = torch.zeros(1, 3, 40, 40)
    touched = image.clone()
    touched[..., pixel] = 1
    changed = (encoder(touched) - encoder(image)).abs().sum(-1).view(20, 20)
    columns = changed[10].nonzero()
    assert (columns.min(), columns.max()) == (first, last)  # position i is at pixel 2 i and sees 14 or 15 on each side


def test_every_pixel_has_the_value_of_its_position():
    encoder = ImageEncoder(8, stride=2)
    values = torch.arange(6.0).view(1, 1, 6)  # a grid of 2 x 3
    assert encoder.to_pixels(values, 3, 5).view(3, 5).tolist() == [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]


@pytest.mark.parametrize("chunk", [None, 1])
def test_attention_covers_the_pixels_whatever_the_stride(chunk):
    model = tiny.network(encoder_stride=2, decode_chunk=chunk)
    inference = model(torch.rand(2, 3, 15, 15), steps=1)
    for _, attention in inference.layers:
        assert attention.shape == (2, 4, 15, 15)
        torch.testing.assert_close(attention.sum(1), torch.ones(2, 15, 15))


def test_the_released_encoder_looks_at_every_pixel():
    assert EfficientMORL().encoder.stride == 1
