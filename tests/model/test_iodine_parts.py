"""Parts of IODINE, against loops and autograd."""

from math import ceil, cos, pi

import pytest
import torch
from torch import nn

from emorl.model import (
    CosineCoordinates,
    Drawing,
    GaussianPixels,
    IodineInitialization,
    IodineLSTM,
    IodinePixelDecoder,
    LinearCoordinates,
    LogisticPixels,
)
from emorl.model.iodine.convolution import SameConv2d, same_padding
from emorl.model.iodine.drawing_pass import drawing_pass
from emorl.model.iodine.inputs import JointLayerNorm, counterfactual, leave_one_out, mask_posterior
from emorl.model.iodine.refinement import State

LIKELIHOODS = pytest.mark.parametrize("likelihood", [GaussianPixels(), LogisticPixels()], ids=["gaussian", "logistic"])


@pytest.fixture(autouse=True)
def _double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def scene(batch=2, slots=3, height=3, width=4):
    return Drawing(torch.rand(batch, slots, 3, height, width), torch.randn(batch, slots, 1, height, width)), torch.rand(
        batch, 3, height, width
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [(6, 7), (1, 2), (9, 4)])
def test_same_convolution_against_loops(size, kernel, stride):
    layer, image = SameConv2d(2, 3, kernel, stride), torch.randn(1, 2, *size)
    before = [max((ceil(n / stride) - 1) * stride + kernel - n, 0) // 2 for n in size]
    found = layer(image)
    assert found.shape[2:] == tuple(ceil(n / stride) for n in size)
    for row in range(found.shape[2]):
        for column in range(found.shape[3]):
            value = layer.bias.clone()
            for i in range(kernel):
                for j in range(kernel):
                    y, x = row * stride + i - before[0], column * stride + j - before[1]
                    if 0 <= y < size[0] and 0 <= x < size[1]:
                        value = value + layer.weight[:, :, i, j] @ image[0, :, y, x]
            torch.testing.assert_close(found[0, :, row, column], value)


def test_an_odd_zero_comes_after():
    assert same_padding(16, kernel=3, stride=2) == (0, 1)
    assert same_padding(15, kernel=3, stride=2) == (1, 1)
    assert same_padding(16, kernel=5, stride=2) == (1, 2)
    assert same_padding(16, kernel=4, stride=1) == (1, 2)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("kernel", [3, 4, 5])
@pytest.mark.parametrize("size", [(8, 9), (5, 4), (2, 3), (1, 7)])
def test_decoder_convolves_tiled_slots_beside_row_and_column(size, kernel, constants):
    decoder, slots = IodinePixelDecoder(4, 6, kernel, layers=2, constants=constants), torch.randn(2, 3, 4)
    for i, slot in enumerate(slots.flatten(0, 1)):
        canvas = torch.empty(4 + constants + 2, *size)
        canvas[:4] = slot[:, None, None]
        if constants:
            canvas[4] = 5
        canvas[-2] = torch.linspace(-1, 1, size[0])[:, None]
        canvas[-1] = torch.linspace(-1, 1, size[1])
        first, second, last = decoder.layers
        output = last(nn.functional.elu(second(nn.functional.elu(first(canvas[None])))))[0]
        found = decoder.draw(slots, size)
        torch.testing.assert_close(found.logits.flatten(0, 1)[i], output[:1])
        torch.testing.assert_close(found.colors.flatten(0, 1)[i], output[1:])
    components = decoder(slots, size)
    torch.testing.assert_close(components.rgb, found.colors)
    torch.testing.assert_close(components.masks, found.logits.softmax(dim=1))


@LIKELIHOODS
def test_a_pixel_is_one_mixture_for_its_three_channels(likelihood):
    (colors, logits), image = drawing, image = scene()
    masks = logits.softmax(dim=1)
    nll = torch.zeros(2)
    for b in range(2):
        for row in range(3):
            for column in range(4):
                prob = 0.0
                for k in range(3):
                    density = masks[b, k, 0, row, column]
                    for c in range(3):
                        x, mean = image[b, c, row, column], colors[b, k, c, row, column]
                        density = density * pixel_density(likelihood, x, mean)
                    prob = prob + density
                nll[b] -= torch.log(prob)
    torch.testing.assert_close(likelihood.explain(drawing, image).nll, nll)
    torch.testing.assert_close(likelihood(drawing.components, image), nll)


def pixel_density(likelihood, x, mean):
    if isinstance(likelihood, GaussianPixels):
        return torch.distributions.Normal(mean, likelihood.scale).log_prob(x).exp()
    e = torch.exp(-(x - mean) / likelihood.scale)
    return e / (likelihood.scale * (1 + e) ** 2)


@LIKELIHOODS
def test_the_gradient_is_autograds(likelihood):
    drawing, image = scene()
    leaf = Drawing(*(part.requires_grad_() for part in drawing))
    explained = likelihood.explain(leaf, image)
    expected = torch.autograd.grad(explained.nll.sum(), leaf, retain_graph=True)
    for found, part in zip(likelihood.gradient(leaf, explained, image), expected, strict=True):
        torch.testing.assert_close(found, part)


@LIKELIHOODS
def test_a_drawing_pass_has_the_gradient_of_an_image(likelihood):
    decoder = IodinePixelDecoder(8, channels=4, kernel=3)
    slots, image = torch.randn(2, 3, 8), torch.rand(2, 3, 6, 6, requires_grad=True)
    nll = likelihood.explain(decoder.draw(slots, (6, 6)), image).nll
    expected = torch.autograd.grad(nll.square().sum(), image)
    found = torch.autograd.grad(drawing_pass(decoder, likelihood, slots, image).nll.square().sum(), image)
    torch.testing.assert_close(found, expected)


@LIKELIHOODS
def test_the_floor_is_the_density_at_its_mean(likelihood):
    same = torch.rand(1, 1, 3, 2, 2)
    torch.testing.assert_close(-likelihood.log_density(same, same), torch.full_like(same, likelihood.floor))


@LIKELIHOODS
def test_counterfactual_leaves_one_slot_out(likelihood):
    drawing, image = scene()
    explained = likelihood.explain(drawing, image)
    found = counterfactual(explained)
    for k in range(3):
        others = [j for j in range(3) if j != k]
        fewer = Drawing(drawing.colors[:, others], drawing.logits[:, others])  # its softmax is over the others
        expected = explained.log_prob[:, 0] - likelihood.explain(fewer, image).log_prob[:, 0]
        torch.testing.assert_close(found[:, k], expected)


def test_leave_one_out_is_exact_where_one_term_dominates():
    values = torch.tensor([[900.0, -3.0, -2.0]])
    others = torch.tensor([-3.0, -2.0]).logsumexp(0)
    torch.testing.assert_close(
        leave_one_out(values), torch.stack([others, torch.tensor(900.0), torch.tensor(900.0)])[None]
    )


def test_a_single_slot_is_compared_with_nothing():
    drawing, image = scene(slots=1)
    assert not counterfactual(GaussianPixels().explain(drawing, image)).any()


def test_mask_posterior_is_of_densities_alone():
    log_density = torch.randn(2, 3, 1, 3, 4, requires_grad=True)
    density = log_density.exp()
    found = mask_posterior(log_density)
    for k in range(3):
        torch.testing.assert_close(found[:, k], density[:, k] / (density[:, 0] + density[:, 1] + density[:, 2] + 1e-6))
    assert torch.autograd.grad(found[:, 0].sum(), log_density)[0].any()
    assert not mask_posterior(torch.full((1, 2, 1, 1, 1), -80.0)).gt(1e-6).any()


def test_joint_layer_norm_is_over_all_numbers_of_a_slot():
    norm, image = JointLayerNorm(3), torch.randn(2, 4, 3, 5, 6, requires_grad=True)
    nn.init.normal_(norm.gain)
    nn.init.normal_(norm.bias)
    found = norm(image)
    for b in range(2):
        for k in range(4):
            x = image[b, k].detach()
            normal = (x - x.mean()) / (((x - x.mean()) ** 2).mean() + 1e-5).sqrt()
            for c in range(3):
                torch.testing.assert_close(found[b, k, c], norm.gain[c] * normal[c] + norm.bias[c])
    found.sum().backward()
    assert image.grad is None  # stopped
    assert norm.gain.grad.all()
    assert norm.bias.grad.all()


def test_lstm_adds_one_to_the_forget_gate():
    lstm, reference = IodineLSTM(5, 4), nn.LSTMCell(5, 4)
    with torch.no_grad():
        reference.weight_ih.copy_(lstm.weight_input)
        reference.weight_hh.copy_(lstm.weight_hidden)
        reference.bias_ih.copy_(lstm.bias)
        reference.bias_hh.zero_()
        reference.bias_hh[4:8] = 1  # input, forget, new, output
    inputs, hidden, cell = torch.randn(2, 3, 5), torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    expected = reference(inputs.flatten(0, 1), (hidden.flatten(0, 1), cell.flatten(0, 1)))
    for found, part in zip(lstm(inputs, State(hidden, cell)), expected, strict=True):
        torch.testing.assert_close(found.flatten(0, 1), part)


def test_coordinates():
    like = torch.zeros(())
    linear, cosine = LinearCoordinates()(3, 5, like), CosineCoordinates()(3, 5, like)
    assert linear[:, 0, 4].tolist() == [1, -1]  # column, row
    frequencies = [(f, g) for f in range(3) for g in range(3)][1:]
    for row in range(3):
        for column in range(5):
            x, y = pi * column / 4, pi * row / 2
            expected = torch.tensor([cos(f * x) * cos(g * y) for f, g in frequencies])
            torch.testing.assert_close(cosine[:, row, column], expected)


def test_initialization_has_unit_scale_and_is_cut_off():
    model = nn.Sequential(nn.Linear(400, 300), nn.Conv2d(64, 64, 5))
    IodineInitialization()(model)
    for layer, fan_in in zip(model, (400, 1600), strict=True):
        assert layer.weight.abs().max() <= 2 / fan_in**0.5
        assert layer.weight.std().item() == pytest.approx(0.88 / fan_in**0.5, rel=0.02)  # of a normal cut off at 2
        assert not layer.bias.any()
    assert IodineLSTM(20, 40).bias.std().item() == pytest.approx(0.88 / 60**0.5, rel=0.2)
