"""Posteriors, likelihoods and KL terms as densities."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal, kl_divergence

from emorl.model import Components, Gaussian, GaussianLikelihood, MixtureLikelihood, scale, slot_kl

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)  # what the likelihoods leave out


@pytest.fixture
def posterior():
    generator = torch.Generator().manual_seed(0)
    return Gaussian(*torch.randn(2, 2, 3, 5, generator=generator, dtype=torch.float64))


@pytest.fixture
def components():
    generator = torch.Generator().manual_seed(1)
    draws = torch.randn(2, 3, 4, 5, 7, generator=generator, dtype=torch.float64)
    return Components(draws[:, :, :3].sigmoid(), (2 * draws[:, :, 3:]).log_softmax(dim=1))


@pytest.fixture
def image():
    return torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("rho", [-50.0, -3.0, 0.0, 0.5413, 7.0, 79.0])
def test_scale_squared_is_softplus_and_a_little(rho):
    expected = math.sqrt(math.log1p(math.exp(rho)) + 1e-5)
    torch.testing.assert_close(scale(torch.tensor(rho, dtype=torch.float64)).item(), expected, rtol=1e-12, atol=0)


def test_scale_is_capped_at_rho_80():
    assert scale(torch.tensor([80.0, 81.0, 1e30])).tolist() == [pytest.approx(math.sqrt(80 + 1e-5))] * 3


def test_scale_has_a_gradient_however_narrow():
    rho = torch.tensor([-200.0, -20.0, 0.0], requires_grad=True)
    scale(rho).sum().backward()
    assert rho.grad.isfinite().all()
    assert scale(rho).min() >= 0.999 * math.sqrt(1e-5)


def test_posterior_is_the_diagonal_gaussian_it_samples(posterior):
    epsilon = torch.randn(100_000, 2, 3, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    samples = posterior.mean + scale(posterior.rho) * epsilon
    assert torch.equal(posterior.sample(epsilon[0]), samples[0])
    expected = Normal(posterior.mean, torch.sqrt(torch.log1p(posterior.rho.exp()) + 1e-5))
    torch.testing.assert_close(posterior.distribution.log_prob(samples), expected.log_prob(samples))
    entropy = -posterior.distribution.log_prob(samples).mean(0)
    torch.testing.assert_close(entropy, expected.entropy(), rtol=0, atol=0.02)


def test_posterior_density_integrates_to_one(posterior):
    x = torch.linspace(-30, 30, 20_001, dtype=torch.float64)
    density = posterior.distribution.log_prob(x.view(-1, 1, 1, 1)).exp()
    torch.testing.assert_close(torch.trapezoid(density, x, dim=0), torch.ones(2, 3, 5).double())


def test_slot_kl_sums_over_slots_and_dimensions(posterior):
    q, p = posterior.distribution, Normal(posterior.rho, 0.5 + posterior.mean.abs())
    expected = [sum(kl_divergence(q, p)[image].flatten().tolist()) for image in range(2)]
    assert slot_kl(q, p).tolist() == pytest.approx(expected)
    torch.testing.assert_close(slot_kl(q, q), torch.zeros(2).double())


def test_slot_kl_is_the_expected_log_ratio(posterior):
    q, p = posterior.distribution, Normal(torch.zeros_like(posterior.mean), torch.ones_like(posterior.mean))
    x = torch.linspace(-30, 30, 20_001, dtype=torch.float64).view(-1, 1, 1, 1)
    integrand = q.log_prob(x).exp() * (q.log_prob(x) - p.log_prob(x))
    expected = torch.trapezoid(integrand, x, dim=0).sum((1, 2))
    torch.testing.assert_close(slot_kl(q, p), expected)


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_gaussian_likelihood_is_the_normal_without_its_constant(components, image, sigma):
    mean = sum(components.log_masks[:, k].exp() * components.rgb[:, k] for k in range(3))
    expected = -(Normal(mean, sigma).log_prob(image) + HALF_LOG_2_PI).sum((1, 2, 3))
    torch.testing.assert_close(GaussianLikelihood(sigma)(components, image), expected)


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_mixture_likelihood_is_a_mixture_for_every_channel(components, image, sigma):
    weights = Categorical(logits=components.log_masks.permute(0, 2, 3, 4, 1).expand(-1, 3, -1, -1, -1))
    mixture = MixtureSameFamily(weights, Normal(components.rgb.permute(0, 2, 3, 4, 1), sigma))
    expected = -(mixture.log_prob(image) + HALF_LOG_2_PI).sum((1, 2, 3))
    torch.testing.assert_close(MixtureLikelihood(sigma)(components, image), expected)


@pytest.mark.parametrize("likelihood", [GaussianLikelihood, MixtureLikelihood])
@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_pixel_density_integrates_to_one(likelihood, sigma):
    x = torch.linspace(-3, 4, 7_001, dtype=torch.float64)
    rgb = torch.tensor([0.1, 0.45, 0.9]).double().view(1, 3, 1, 1, 1).expand(len(x), 3, 3, 1, 1)
    log_masks = torch.tensor([0.2, 0.5, 0.3]).double().log().view(1, 3, 1, 1, 1).expand(len(x), 3, 1, 1, 1)
    gray = x.view(-1, 1, 1, 1).expand(-1, 3, 1, 1)  # three channels alike: a third of the nll is that of one
    nll = likelihood(sigma)(Components(rgb, log_masks), gray) / 3
    density = (-nll - HALF_LOG_2_PI).exp()
    torch.testing.assert_close(torch.trapezoid(density, x).item(), 1.0)


@pytest.mark.parametrize("likelihood", [GaussianLikelihood, MixtureLikelihood])
def test_a_perfect_reconstruction_reaches_the_floor(likelihood, components, image):
    perfect = Components(image.unsqueeze(1).expand(-1, 3, -1, -1, -1), components.log_masks)
    expected = torch.full((2,), 3 * 5 * 7 * math.log(0.3)).double()
    torch.testing.assert_close(likelihood(0.3)(perfect, image), expected)
    assert likelihood(0.3).floor == math.log(0.3)


def test_a_mixture_with_one_component_is_the_gaussian(components, image):
    one = Components(components.rgb[:, :1], torch.zeros_like(components.log_masks[:, :1]))
    torch.testing.assert_close(MixtureLikelihood(0.2)(one, image), GaussianLikelihood(0.2)(one, image))


def test_a_far_pixel_keeps_a_finite_mixture_gradient(components, image):
    rgb = components.rgb.float().requires_grad_()
    MixtureLikelihood(1e-2)(Components(rgb, components.log_masks.float()), image.float() + 100).sum().backward()
    assert rgb.grad.isfinite().all()


def test_default_scales():
    assert (GaussianLikelihood().scale, MixtureLikelihood().scale) == (0.3, 0.1)
