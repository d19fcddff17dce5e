"""Hierarchical priors: the prior that each posterior is compared with."""

import pytest
import torch
from tiny_morl import enliven, named_noise

from emorl.model import BottomUpPrior, Gaussian, ReversedPlusPlusPrior, ReversedPrior

PRIORS = (ReversedPrior, ReversedPlusPlusPrior, BottomUpPrior)


def kl(q, p):
    """KL between diagonal Gaussians given as (mean, scale), by the textbook formula."""
    (mean_q, scale_q), (mean_p, scale_p) = q, p
    ratio = (scale_q**2 + (mean_q - mean_p) ** 2) / scale_p**2
    return 0.5 * (ratio - 1 - torch.log(scale_q**2 / scale_p**2)).sum((1, 2))


def scaled(mean, rho):
    return mean, torch.sqrt(torch.log(1 + torch.exp(rho)) + 1e-5)


STANDARD = torch.zeros(()), torch.ones(())


class Setting:
    """A prior, posteriors of L layers, and the names of the draws it asked for."""

    def __init__(self, prior, layers):
        torch.manual_seed(0)
        self.prior = enliven(prior(5))
        self.posteriors = [Gaussian(*torch.randn(2, 2, 3, 5, dtype=torch.float64)) for _ in range(layers)]
        self.noise, self.names = named_noise(), []
        self.terms = self.prior(self.posteriors, self.draw)

    def draw(self, name, like):
        self.names.append(name)
        return self.noise(name, like)

    def q(self, layer):
        return scaled(*self.posteriors[layer - 1])

    def given(self, layer):
        """The conditional given a sample of z^layer, written out."""
        mean, scale = self.q(layer)
        p = dict(self.prior.conditional.named_parameters())
        z = mean + scale * self.noise(f"prior_z{layer}", mean)
        hidden = z @ p["hidden.weight"].T + p["hidden.bias"]
        hidden = torch.where(hidden > 0, hidden, hidden.exp() - 1)
        return scaled(*(hidden @ p[f"{head}.weight"].T + p[f"{head}.bias"] for head in ("mean", "rho")))

    def assert_terms(self, *expected):
        torch.testing.assert_close(self.terms.kl, list(expected))

    def assert_refined(self, mean, scale):
        torch.testing.assert_close(self.terms.refined.mean, mean.expand(2, 3, 5).double())
        torch.testing.assert_close(self.terms.refined.stddev, scale.expand(2, 3, 5).double())


@pytest.mark.parametrize("prior", [ReversedPrior, ReversedPlusPlusPrior])
def test_reversed_priors_go_top_down(prior):
    s = Setting(prior, 3)
    s.assert_terms(kl(s.q(1), s.given(2)), kl(s.q(2), s.given(3)), kl(s.q(3), STANDARD))
    assert s.names == ["prior_z3", "prior_z2"]


def test_bottom_up_prior_goes_bottom_up():
    s = Setting(BottomUpPrior, 3)
    s.assert_terms(kl(s.q(1), STANDARD), kl(s.q(2), s.given(1)), kl(s.q(3), s.given(2)))
    assert s.names == ["prior_z1", "prior_z2"]


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("prior", [ReversedPrior, BottomUpPrior])
def test_refinement_is_held_to_the_standard_normal(prior, layers):
    Setting(prior, layers).assert_refined(*STANDARD)


@pytest.mark.parametrize("layers", [2, 3])
def test_reversed_plus_plus_holds_refinement_to_the_lowest_conditional(layers):
    s = Setting(ReversedPlusPlusPrior, layers)
    s.assert_refined(*s.given(2))
    assert s.names[-1] == "prior_z2"


def test_gradients_flow_through_the_refined_prior():
    s = Setting(ReversedPlusPlusPrior, 3)
    leaf = Gaussian(*(half.requires_grad_() for half in s.posteriors[1]))
    refined = s.prior(s.posteriors, s.noise).refined
    (refined.mean.sum() + refined.stddev.sum()).backward()
    assert all(half.grad.abs().max() > 0 for half in leaf)
    assert all(p.grad.abs().max() > 0 for p in s.prior.parameters())


@pytest.mark.parametrize("prior", PRIORS)
def test_one_layer_has_one_term_and_draws_nothing(prior):
    s = Setting(prior, 1)
    s.assert_terms(kl(s.q(1), STANDARD))
    s.assert_refined(*STANDARD)
    assert s.names == []


@pytest.mark.parametrize("prior", PRIORS)
def test_conditional_takes_a_hidden_layer_of_128(prior):
    shapes = {name: tuple(p.shape) for name, p in prior(5).named_parameters() if name.endswith("weight")}
    assert shapes == {
        "conditional.hidden.weight": (128, 5),
        "conditional.mean.weight": (5, 128),
        "conditional.rho.weight": (5, 128),
    }
