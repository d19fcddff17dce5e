"""EfficientMORL as a whole: permutations of slots, gradients, any image size and K."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tiny_morl import assert_same, images, named_noise, tiny_model

from emorl.model import (
    BigDecoder,
    BottomUpPrior,
    EfficientMORL,
    GaussianLikelihood,
    Geco,
    IodineDecoder,
    MixtureLikelihood,
    PlainGRU,
    ReversedPlusPlusPrior,
    ReversedPrior,
    SmallDecoder,
)
from emorl.testing import tensors

PRIORS = (ReversedPlusPlusPrior, ReversedPrior, BottomUpPrior)
VARIANTS = [
    {},
    {"likelihood": MixtureLikelihood},
    {"prior": ReversedPrior},
    {"prior": BottomUpPrior, "likelihood": MixtureLikelihood},
    {"cell": PlainGRU},
    {"num_layers": 1},
    {"decoder": IodineDecoder},
    {"decoder": IodineDecoder, "likelihood": MixtureLikelihood, "prior": ReversedPrior},
    {"decoder": BigDecoder},
    {"decoder": BigDecoder, "likelihood": MixtureLikelihood, "prior": BottomUpPrior},
]


def name_of(variant):
    return "-".join(getattr(part, "__name__", str(part)) for part in variant.values()) or "default"


def permute_slots(value, order, num_slots):
    """Permute the second dimension of every tensor that has slots there."""
    return [t[:, order] if t.ndim > 1 and t.shape[1] == num_slots else t for t in tensors(value)]


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_permuting_the_noise_permutes_the_slots_and_keeps_the_loss(variant, steps):
    model = tiny_model(num_slots=4, **variant)  # K = 4, since an image has three channels
    image, noise, order = images(1, 16, 16), named_noise(), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        original = model(image, steps, noise=noise)
        permuted = model(image, steps, noise=lambda name, like: noise(name, like)[:, order])
    assert not torch.allclose(original.stages[-1].slots, permuted.stages[-1].slots)
    for ours, theirs in zip(tensors(permuted), permute_slots(original, order, 4), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(permuted.loss, original.loss, rtol=1e-10, atol=0)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("variant", [v for v in VARIANTS if "num_layers" not in v], ids=name_of)
def test_every_parameter_learns(variant, steps):
    model = tiny_model(num_layers=2, **variant)
    model(images(1, 16, 16), steps, noise=named_noise()).loss.backward()
    unmoved = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-9}
    excused = {"bottom_up.attend.norm.bias"}  # adds the same logit to every slot
    excused |= {"refinement.recurrence.weight_hh"} if steps == 1 else set()  # h_0 = 0
    assert unmoved <= excused
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_zero_steps_touch_no_parameter_of_the_refinement():
    model = tiny_model()
    model(images(), 0, noise=named_noise()).loss.backward()
    untouched = {name for name, p in model.named_parameters() if p.grad is None}
    assert untouched == {f"refinement.{name}" for name, _ in model.refinement.named_parameters()}


def test_one_layer_leaves_the_prior_network_out():
    model = tiny_model(num_layers=1)
    model(images(), 1, noise=named_noise()).loss.backward()
    untouched = {name for name, p in model.named_parameters() if p.grad is None}
    assert untouched == {f"prior.{name}" for name, _ in model.prior.named_parameters()}


@pytest.mark.parametrize("decoder", [SmallDecoder, IodineDecoder])
@pytest.mark.parametrize(("batch", "num_slots", "height", "width"), [(1, 1, 7, 7), (3, 5, 5, 11), (2, None, 12, 9)])
def test_batch_slots_and_size_are_free(decoder, batch, num_slots, height, width):
    model = tiny_model(decoder=decoder)
    inference = model(images(batch, height, width), 1, num_slots, named_noise())
    slots = num_slots or 3
    assert len(inference.stages) == 2
    assert len(inference.layers) == len(inference.terms) == 3
    assert all(layer.attention.shape == (batch, slots, height, width) for layer in inference.layers)
    for stage in inference.stages:
        assert stage.slots.shape == stage.posterior.mean.shape == stage.posterior.rho.shape == (batch, slots, 8)
        assert stage.components.rgb.shape == (batch, slots, 3, height, width)
        assert stage.components.masks.shape == (batch, slots, 1, height, width)
        assert stage.components.reconstruction.shape == (batch, 3, height, width)
        assert stage.nll.shape == stage.kl.shape == (batch,)
        torch.testing.assert_close(stage.components.masks.sum(1), torch.ones(batch, 1, height, width).double())


def test_attention_sums_to_one_over_slots():
    for _, attention in tiny_model()(images(), noise=named_noise()).layers:
        torch.testing.assert_close(attention.sum(1), torch.ones(2, 12, 12).double() + 3e-8, rtol=0, atol=1e-12)


def test_big_decoder_renders_multiples_of_sixteen_alone():
    model = tiny_model(decoder=BigDecoder)
    assert model(images(1, 16, 32), 1, noise=named_noise()).stages[1].components.rgb.shape == (1, 3, 3, 16, 32)
    for height, width in ((16, 24), (24, 16), (35, 35)):
        with pytest.raises(ValueError, match=f"multiples of 16, got {height}x{width}: resize the images, or choose"):
            model(images(1, height, width))


def test_an_image_is_read_without_its_neighbors():
    model, image, noise = tiny_model(), images(3), named_noise()
    alone = model(image[1:2], noise=lambda name, like: noise(name, like.expand(3, -1, -1))[1:2])
    together = model(image, noise=noise)
    torch.testing.assert_close(alone.stages[0].nll[0], together.stages[0].nll[1])
    torch.testing.assert_close(alone.stages[0].kl[0], together.stages[0].kl[1])


def test_the_loss_takes_batch_means():
    model = tiny_model(kl_weight=0.5)
    for stage in model(images(3), 1, noise=named_noise()).stages:
        torch.testing.assert_close(stage.loss, stage.nll.sum() / 3 + 0.5 * stage.kl.sum() / 3)


def test_stage_zero_is_the_last_layer_and_its_kl_the_sum_of_the_terms():
    inference = tiny_model()(images(), noise=named_noise())
    assert inference.layers[-1].slots is inference.stages[0].slots
    torch.testing.assert_close(inference.stages[0].kl, sum(inference.terms.values()))


def test_noise_enters_by_its_documented_names():
    model, image, noise = tiny_model(), images(), named_noise()
    inference = model(image, 2, noise=noise)
    for i, name in enumerate(("z3", "refine1", "refine2")):
        stage = inference.stages[i]
        scale = (F.softplus(stage.posterior.rho) + 1e-5).sqrt()
        torch.testing.assert_close(stage.slots, stage.posterior.mean + scale * noise(name, stage.slots))


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_draws_every_name_once(prior, steps):
    names = []

    def noise(name, like):
        names.append(name)
        return torch.zeros_like(like)

    tiny_model(prior=prior)(images(), steps, noise=noise)
    fresh = {"prior_z1", "prior_z2"} if prior is BottomUpPrior else {"prior_z2", "prior_z3"}
    assert len(names) == len(set(names))
    assert set(names) == {"z0", "z1", "z2", "z3"} | fresh | {f"refine{i + 1}" for i in range(steps)}


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_working_in_chunks_changes_nothing(chunk):
    image, noise = images(3), named_noise()
    whole, parts = tiny_model(), tiny_model(decode_chunk=chunk)
    expected, inference = whole(image, 2, noise=noise), parts(image, 2, noise=noise)
    assert_same(inference, expected, rtol=1e-9, atol=1e-9)
    assert_same(gradients(parts, inference.loss), gradients(whole, expected.loss), rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        assert_same(parts(image, 2, noise=noise), expected, rtol=1e-9, atol=1e-9)


def test_geco_holds_all_stages_to_the_same_multiplier():
    geco = Geco(target=-1.0, warm_start=0)
    geco.average.fill_(3.0)
    inference = tiny_model(geco=geco)(images(), 2, noise=named_noise())
    for stage in inference.stages:
        torch.testing.assert_close(stage.loss, stage.kl.mean() - F.softplus(geco.zeta) * 3)


class Plain:
    """Sections 1 and 5 to 8 of the model written once more, for reversed++ and the Gaussian likelihood."""

    def __init__(self, model, image, noise, differentiate_g=False):
        self.model, self.image, self.noise, self.differentiate_g = model, image, noise, differentiate_g
        self.p = dict(model.named_parameters())

    @staticmethod
    def sigma(rho):
        return torch.sqrt(torch.log(1 + torch.exp(torch.minimum(rho, torch.tensor(80.0)))) + 1e-5)

    @staticmethod
    def kl(q, p):
        (mean_q, scale_q), (mean_p, scale_p) = q, p
        ratio = (scale_q**2 + (mean_q - mean_p) ** 2) / (2 * scale_p**2)
        return (torch.log(scale_p / scale_q) + ratio - 0.5).sum((1, 2)).mean()

    def linear(self, name, value):
        return value @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def conditional(self, name, posterior):
        mean, rho = posterior
        hidden = F.elu(self.linear("prior.conditional.hidden", mean + self.sigma(rho) * self.noise(name, mean)))
        return self.linear("prior.conditional.mean", hidden), self.sigma(self.linear("prior.conditional.rho", hidden))

    def gru(self, value, state):
        inputs, states = (
            (x @ self.p[f"refinement.recurrence.weight_{s}"].T + self.p[f"refinement.recurrence.bias_{s}"]).chunk(3, -1)
            for x, s in ((value, "ih"), (state, "hh"))
        )
        reset, update = torch.sigmoid(inputs[0] + states[0]), torch.sigmoid(inputs[1] + states[1])
        return (1 - update) * torch.tanh(inputs[2] + reset * states[2]) + update * state

    def nll(self, name, mean, rho):
        slots = mean + self.sigma(rho) * self.noise(name, mean)
        rgb, log_masks = self.model.decoder(slots, tuple(self.image.shape[2:]))
        error = self.image - (torch.exp(log_masks) * rgb).sum(1)
        return (math.log(0.3) + error**2 / (2 * 0.3**2)).sum((1, 2, 3)).mean()

    def gradient(self, loss, posterior):
        g = torch.autograd.grad(loss, posterior, retain_graph=True, create_graph=self.differentiate_g)
        g = g if self.differentiate_g else [half.detach() for half in g]
        return [(x - x.mean(-1, True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5) for x in g]

    def loss(self, steps):
        posteriors = [tuple(q) for q in self.model.bottom_up_pass(self.image, 3, self.noise).posteriors]
        scaled = [(mean, self.sigma(rho)) for mean, rho in posteriors]
        prior = torch.zeros(1, 1, 1).double(), torch.ones(1, 1, 1).double()
        kl = self.kl(scaled[2], prior)
        for layer in (1, 0):
            prior = self.conditional(f"prior_z{layer + 2}", posteriors[layer + 1])
            kl = kl + self.kl(scaled[layer], prior)
        mean, rho = posteriors[2]
        loss = self.nll("z3", mean, rho) + kl
        total, state = (steps + 3) / (steps + 1) * loss, torch.zeros_like(mean)
        for i in range(1, steps + 1):
            inputs = torch.cat((mean, rho, *self.gradient(loss, (mean, rho))), -1)
            hidden = F.elu(self.linear("refinement.encoding.0", inputs))
            state = self.gru(self.linear("refinement.encoding.2", hidden), state)
            mean = mean + self.linear("refinement.mean", state)
            rho = rho + self.linear("refinement.rho", state)
            loss = self.nll(f"refine{i}", mean, rho) + self.kl((mean, self.sigma(rho)), prior)
            total = total + (steps + 3 - i) / (steps + 1) * loss
        return total


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)


def test_g_is_data_in_the_gradient_of_the_loss():
    model, image, noise = tiny_model(), images(), named_noise()
    loss = model(image, 2, noise=noise).loss
    expected = Plain(model, image, noise).loss(2)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    ours, theirs = gradients(model, loss), gradients(model, expected)
    assert_same(ours, theirs, rtol=1e-8, atol=1e-10)
    through_g = gradients(model, Plain(model, image, noise, differentiate_g=True).loss(2))
    assert not all(torch.allclose(a, b, rtol=1e-3) for a, b in zip(ours, through_g, strict=True))


def test_the_default_model_has_the_released_number_of_parameters():
    def count(model):
        return sum(p.numel() for p in model.parameters() if p.requires_grad)

    assert count(EfficientMORL()) == 467_236
    assert count(EfficientMORL(num_slots=6, slot_dim=64, decoder=IodineDecoder, geco=Geco(-2.2))) == 666_500


def test_likelihood_scale_is_taken_from_its_builder():
    model = tiny_model(likelihood=partial(MixtureLikelihood, scale=0.25))
    assert model.likelihood.scale == 0.25


def test_the_parts_of_a_stage_make_a_loss_of_ones_own():
    model = tiny_model()
    stage, other = (model(images(), noise=named_noise()).stages[0] for _ in range(2))
    torch.testing.assert_close(stage.mean_nll, stage.nll.mean())
    assert_same(gradients(model, stage.mean_nll + stage.kl.mean()), gradients(model, other.loss))


class LearnedScale(GaussianLikelihood):
    """A likelihood with a parameter."""

    def __init__(self):
        super().__init__(0.3)
        self.sharpness = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, components, image):
        return super().forward(components, image) * self.sharpness


def test_the_parameters_of_a_likelihood_are_trained():
    model = tiny_model(likelihood=LearnedScale)
    stage = model(images(), noise=named_noise()).stages[0]
    sharpness = model.likelihood.sharpness
    (gradient,) = torch.autograd.grad(stage.mean_nll, sharpness)
    torch.testing.assert_close(gradient, stage.nll.mean() / sharpness.detach())
