"""Refinement, also without gradients and under inference mode."""

from functools import partial

import pytest
import torch
from tiny_morl import assert_same, images, named_noise, tiny_model

from emorl.model import (
    BottomUpPrior,
    Gaussian,
    GaussianLikelihood,
    Geco,
    MixtureLikelihood,
    Refinement,
    ReversedPrior,
)
from emorl.testing import tensors

WITHOUT_GRAPHS = (torch.no_grad, torch.inference_mode)
VARIANTS = [{"prior": BottomUpPrior}, {"prior": ReversedPrior, "likelihood": MixtureLikelihood}]
VARIANTS += [{"num_layers": layers} for layers in (1, 3)]


@pytest.mark.parametrize("without_graph", WITHOUT_GRAPHS)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_same_numbers_without_gradients(variant, without_graph):
    model, image, noise = tiny_model(**variant), images(), named_noise()
    for steps in (0, 2):
        expected = model(image, steps, noise=noise)
        with without_graph():
            inference = model(image, steps, noise=noise)
        assert_same(inference, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(inference.loss, expected.loss, rtol=1e-12, atol=0)


@pytest.mark.parametrize("without_graph", WITHOUT_GRAPHS)
def test_returns_no_graph_and_leaves_no_gradient(without_graph):
    model = tiny_model(geco=Geco(-1.0, warm_start=0))
    for steps in (0, 1, 3):
        with without_graph():
            inference = model(images(), steps, noise=named_noise())
            loss = inference.loss
        assert not any(t.requires_grad or t.grad_fn is not None for t in (loss, *tensors(inference)))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("without_graph", WITHOUT_GRAPHS)
def test_images_made_without_gradients_are_refined(without_graph):
    model = tiny_model()
    with without_graph():
        inference = model(images(), 2, noise=named_noise())
    assert_same(inference, model(images(), 2, noise=named_noise()), rtol=1e-12, atol=1e-12)


def test_a_frozen_model_is_refined_at_test_time():
    model = tiny_model().requires_grad_(False)
    with torch.no_grad():
        inference = model(images(), 2, noise=named_noise())
    assert_same(inference, tiny_model()(images(), 2, noise=named_noise()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("head", ["mean_mlp", "rho_mlp"])
def test_a_head_of_a_single_layer_is_trained_alone_as_with_the_others(head):
    gradients = []
    for alone in (False, True):
        model = tiny_model(num_layers=1)
        trained = getattr(model.bottom_up, head)
        if alone:
            model.requires_grad_(False)
            trained.requires_grad_()
        model(images(), 2, noise=named_noise()).loss.backward()
        gradients.append([parameter.grad for parameter in trained.parameters()])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


class Ledger:
    """Counts the bytes that autograd holds: now, and at most."""

    def __init__(self):
        self.held = self.most = 0

    def pack(self, tensor):
        return Held(self, tensor)

    def count(self, change):
        self.held += change
        self.most = max(self.most, self.held)


class Held:
    def __init__(self, ledger, tensor):
        self.ledger, self.tensor, self.size = ledger, tensor.detach(), tensor.nbytes  # an output would hold itself
        ledger.count(self.size)

    def __del__(self):
        self.ledger.count(-self.size)


def bytes_held(model, steps):
    """Return the most that a call holds, and what it still holds when it has returned."""
    ledger = Ledger()
    with torch.autograd.graph.saved_tensors_hooks(ledger.pack, lambda held: held.tensor):
        inference = model(images(), steps, noise=named_noise())
    return ledger.most, ledger.held, inference


def test_test_time_memory_does_not_grow_with_the_steps():
    model = tiny_model()
    with torch.no_grad():
        one, _, _ = bytes_held(model, 1)
        many, left, inference = bytes_held(model, 6)
    assert len(inference.stages) == 7
    assert one > 6 * 32 * 144 * 8  # the ledger does see the decoder's activations
    assert many < 1.3 * one
    assert left == 0


def test_a_stage_of_training_leaves_little_more_than_the_decoders_gradient_behind():
    model = tiny_model()
    gradient = sum(p.nbytes for p in model.decoder.parameters())
    one, three = (bytes_held(model, steps)[0] for steps in (1, 3))
    assert gradient < (three - one) / 2 < 1.5 * gradient


def test_training_keeps_the_graph_through_all_posteriors():
    model = tiny_model()
    inference = model(images(), 2, noise=named_noise())
    start = inference.stages[0].posterior
    gradient = torch.autograd.grad(inference.stages[2].loss, start)
    assert all(half.abs().max() > 0 for half in gradient)


def test_the_step_sees_the_normalized_gradient_alone():
    refinement = Refinement(8).double()
    mean, rho, g_mean, g_rho = torch.randn(4, 2, 3, 8, dtype=torch.float64)
    posterior = Gaussian(mean, rho)
    step = refinement(posterior, Gaussian(g_mean, g_rho), None)
    rescaled = refinement(posterior, Gaussian(1e3 * g_mean + 5, 1e3 * g_rho - 7), None)
    assert_same(step, rescaled, rtol=1e-4, atol=1e-4)
    turned = refinement(posterior, Gaussian(-g_mean, g_rho), None)
    assert not torch.allclose(step.state, turned.state, rtol=1e-2)


def test_a_silent_head_leaves_the_posterior_alone():
    refinement = Refinement(8)
    for head in (refinement.mean, refinement.rho):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    posterior, gradient = Gaussian(*torch.randn(2, 2, 3, 8)), Gaussian(*torch.randn(2, 2, 3, 8))
    refined, state = refinement(posterior, gradient, None)
    assert_same(refined, posterior, rtol=0, atol=0)
    assert state.shape == (6, 8)


class TwoProcesses:
    """Stands in for torch.distributed with two processes that hold the same values."""

    @staticmethod
    def is_available():
        return True

    is_initialized = is_available

    @staticmethod
    def get_world_size():
        return 2

    @staticmethod
    def all_reduce(value):
        value.mul_(2)


def test_training_on_two_processes_refines_as_on_one(monkeypatch):
    model, image, noise = tiny_model().train(), images(1), named_noise()
    together = model(image.expand(2, -1, -1, -1), 2, noise=lambda name, like: noise(name, like[:1]).expand_as(like))
    monkeypatch.setattr("emorl.distributed.dist", TwoProcesses)
    spread = model(image, 2, noise=noise)
    torch.testing.assert_close(
        spread.stages[2].posterior.mean, together.stages[2].posterior.mean[:1], rtol=1e-12, atol=0
    )
    assert model.gradient_batch == 2


def test_at_test_g_is_as_large_as_it_was_in_training():
    """A likelihood so wide makes gradients small beside LayerNorm's epsilon, so that their size matters."""
    model = tiny_model(likelihood=partial(GaussianLikelihood, 30.0), kl_weight=1e-3).train()
    image, noise = images(4), named_noise()
    trained = model(image, 2, noise=noise).stages[-1].posterior.mean
    model.eval()
    for count in (4, 2):
        tested = model(image[:count], 2, noise=lambda name, like: noise(name, like.new_empty(4, 3, 8))[: len(like)])
        torch.testing.assert_close(tested.stages[-1].posterior.mean, trained[:count], rtol=1e-10, atol=0)


def test_evaluation_does_not_know_how_many_processes_there_are(monkeypatch):
    model, image, noise = tiny_model(), images(1), named_noise()
    expected = model(image, 2, noise=noise)
    monkeypatch.setattr("emorl.distributed.dist", TwoProcesses)
    assert_same(model(image, 2, noise=noise), expected, rtol=0, atol=0)
