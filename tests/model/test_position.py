"""Position codes."""

import math

import pytest
import torch
from tiny_morl import images, named_noise, tiny_model

from emorl.model import FourierPosition, RampPosition
from emorl.model.position import PositionEmbedding

LIKE = torch.zeros((), dtype=torch.float64)


def test_ramps_are_one_minus_r_r_c_one_minus_c():
    code = RampPosition()(3, 5, LIKE)
    assert RampPosition().channels == 4
    for i, r in enumerate((0.0, 0.5, 1.0)):
        for j, c in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
            assert code[i, j].tolist() == [1 - r, r, c, 1 - c]


def test_fourier_appends_sines_and_cosines_octave_by_octave():
    code = FourierPosition()(4, 3, LIKE)
    assert code.shape == (4, 3, 20)
    assert FourierPosition().channels == 20
    for i, j in ((0, 0), (1, 0), (2, 1), (3, 2)):
        r, c = i / 3, j / 2
        expected = [1 - r, r, c, 1 - c]
        for k in (1, 2, 4, 8):
            rows, columns = math.pi * k * r, math.pi * k * c
            expected += [math.sin(rows), math.cos(rows), math.sin(columns), math.cos(columns)]
        assert code[i, j].tolist() == pytest.approx(expected, abs=1e-12)


def test_fourier_octaves_can_be_chosen():
    assert FourierPosition(2)(4, 3, LIKE).shape == (4, 3, 12)
    assert torch.equal(FourierPosition(2)(4, 3, LIKE), FourierPosition(4)(4, 3, LIKE)[..., :12])


@pytest.mark.parametrize("position", [RampPosition, FourierPosition])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_code_takes_the_type_of_what_it_is_added_to(position, dtype):
    assert position()(1, 1, torch.zeros((), dtype=dtype)).dtype == dtype
    assert PositionEmbedding(6, position).to(dtype)(3, 4).dtype == dtype


@pytest.mark.parametrize("position", [RampPosition, FourierPosition])
def test_embedding_is_a_linear_map_of_the_code(position):
    embedding = PositionEmbedding(6, position).double()
    expected = position()(3, 4, LIKE) @ embedding.projection.weight.T + embedding.projection.bias
    torch.testing.assert_close(embedding(3, 4), expected)


@pytest.mark.parametrize("position", [RampPosition, FourierPosition])
def test_codes_hold_no_state(position):
    assert not position().state_dict()


def test_position_of_the_encoder_is_not_that_of_the_decoder():
    model = tiny_model(position=FourierPosition)
    assert model.encoder.position.projection.weight.shape == (8, 20)
    assert model.decoder.position.projection.weight.shape == (8, 4)


def test_the_encoder_knows_where_things_are():
    model, image = tiny_model(), images(1)
    blank = torch.full_like(image, 0.5)
    with torch.no_grad():
        features = model.encoder(2 * blank - 1).view(12, 12, -1)  # row-major pixels
        expected = model.encoder.mlp(
            model.encoder.convolutions(2 * blank - 1)[0, :, 5, 7] + model.encoder.position(12, 12)[5, 7]
        )
    torch.testing.assert_close(features[5, 7], expected)
    assert not torch.allclose(features[5, 7], features[7, 5])


def test_the_model_sees_images_between_minus_one_and_one():
    model, seen = tiny_model(), []
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(images(1), noise=named_noise())
    torch.testing.assert_close(seen[0], 2 * images(1) - 1)
