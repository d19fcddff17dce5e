"""Decoders: positions, strides, gradients, reconstruction."""

from functools import partial

import pytest
import torch
from tiny_morl import enliven

from emorl.model import BigDecoder, FourierPosition, IodineDecoder, RampPosition, SmallDecoder
from emorl.testing import tensors

MARGIN = {SmallDecoder: 6, IodineDecoder: 10}
STRIDED = partial(SmallDecoder, stride=3)


def tiled(decoder, slots, size):
    """Section 4 of the design: tile every slot over the grid, add the position embedding, apply the layers."""
    if isinstance(decoder, BigDecoder):
        grid = [side // 16 for side in size]
    else:
        grid = [-(-side // getattr(decoder, "stride", 1)) + MARGIN[type(decoder)] for side in size]
    position = decoder.position(*grid)
    canvas = torch.stack([slot.expand(*grid, -1) + position for slot in slots.flatten(0, 1)])
    output = decoder.layers(canvas.permute(0, 3, 1, 2)).unflatten(0, slots.shape[:2])[..., : size[0], : size[1]]
    return output[:, :, :3].sigmoid(), output[:, :, 3:].log_softmax(dim=1)


CASES = [(decoder, size) for decoder in MARGIN for size in ((1, 1), (3, 7), (12, 9), (16, 16))]
CASES += [(BigDecoder, (16, 16)), (BigDecoder, (32, 16)), (STRIDED, (1, 4)), (STRIDED, (12, 7))]


@pytest.mark.parametrize("position", [RampPosition, FourierPosition])
@pytest.mark.parametrize(("decoder", "size"), CASES)
def test_decodes_the_tiled_slot_at_every_position(decoder, size, position):
    torch.manual_seed(0)
    decoder = enliven(decoder(8, position))
    slots = torch.randn(2, 3, 8, dtype=torch.float64)
    ours, expected = decoder(slots, size), tiled(decoder, slots, size)
    torch.testing.assert_close(tuple(ours), expected)
    parameters = list(decoder.parameters())
    weights = [torch.randn_like(t) for t in expected]
    gradients = (
        torch.autograd.grad(sum((w * t).sum() for w, t in zip(weights, tensors(part), strict=True)), parameters)
        for part in (ours, expected)
    )
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("decoder", [SmallDecoder, IodineDecoder])
def test_reconstruction_is_the_masked_mean(decoder):
    components = enliven(decoder(8))(torch.randn(1, 2, 8, dtype=torch.float64), (5, 4))
    expected = sum(components.masks[:, k] * components.rgb[:, k] for k in range(2))
    torch.testing.assert_close(components.reconstruction, expected)
    assert components.rgb.min() >= 0
    assert components.rgb.max() <= 1


def test_a_strided_decoder_gives_the_pixels_of_a_position_at_once():
    decoder = enliven(SmallDecoder(8, stride=2))
    *hidden, last, _ = decoder.layers
    slot = torch.randn(8, dtype=torch.float64)
    positions = decoder.position(2 + 6, 3 + 6)  # 2 rows and 3 columns of positions, the last of each cut in half
    features = last(torch.nn.Sequential(*hidden)((slot + positions).permute(2, 0, 1)[None]))
    logits = features[0].view(4, 2, 2, 2, 3)  # channel, row and column in a position's block, row and column of it
    components = decoder(slot.view(1, 1, 8), (3, 5))
    for row in range(3):
        for column in range(5):
            color = logits[:3, row % 2, column % 2, row // 2, column // 2].sigmoid()
            torch.testing.assert_close(components.rgb[0, 0, :, row, column], color)


@pytest.mark.parametrize("decoder", [SmallDecoder, IodineDecoder, STRIDED, BigDecoder])
def test_jacobians_and_penalties_on_gradients(decoder):
    """As studies of disentanglement take them."""
    torch.manual_seed(0)
    decoder, slots = enliven(decoder(4)), torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)

    def color(slots):
        return decoder(slots, (16, 16)).rgb.mean(dim=(-2, -1))

    plain = torch.autograd.functional.jacobian(color, slots)
    torch.testing.assert_close(torch.func.jacrev(color)(slots), plain)
    (gradient,) = torch.autograd.grad(color(slots).sum(), slots, create_graph=True)
    (penalty,) = torch.autograd.grad(gradient.square().sum(), slots)
    with torch.no_grad():
        shifted = slots + 1e-6 * torch.eye(8, dtype=torch.float64).view(8, 1, 2, 4)
    expected = []
    for moved in shifted.requires_grad_():
        (other,) = torch.autograd.grad(color(moved).sum(), moved)
        expected.append((other.square().sum() - gradient.square().sum()) / 1e-6)
    torch.testing.assert_close(penalty.flatten(), torch.stack(expected).detach(), rtol=1e-3, atol=1e-5)
