"""IODINE: its engine compared with the plain training step, its gradients and its options."""

import copy
import json
import weakref
from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from jsonargparse import ArgumentParser
from tiny_morl import assert_same, images, named_noise

from benchmarks.cases import IODINE_CASES
from benchmarks.plain_iodine import plain_iodine_loss
from emorl.model import (
    IODINE,
    BatchMeanGradient,
    CosineCoordinates,
    FourierPosition,
    IodinePixelDecoder,
    IodineRefinement,
    LinearCoordinates,
    LogisticPixels,
    OwnGradient,
    PosteriorMeans,
    SoftplusGaussian,
    step_weight,
)
from emorl.model.describe import describe
from emorl.testing import tensors


def build(kernel=3, constants=False, lstm=6, coordinates=LinearCoordinates, position=None, **arguments):
    torch.manual_seed(0)
    decoder = partial(IodinePixelDecoder, channels=6, kernel=kernel, layers=2, constants=constants, position=position)
    refinement = partial(
        IodineRefinement,
        channels=5,
        kernel=kernel,
        convolutions=2,
        mlp=[8, 7],
        lstm=lstm,
        coordinates=coordinates,
        constants=constants,
    )
    return IODINE(3, slot_dim=4, decoder=decoder, refinement=refinement, **arguments).double()


release = partial(
    build, 4, True, None, CosineCoordinates, likelihood=LogisticPixels, prior_variance=0.7, gradient=BatchMeanGradient
)
extended = partial(build, kl_weight=0.1, position=FourierPosition)
MODELS = pytest.mark.parametrize("build", [build, release, extended], ids=["paper", "release", "extended"])


def gradients(model, loss):
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(found, expected, tolerance=1e-11):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= tolerance * gradient.norm(), name


@MODELS
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_equals_the_step_without_recomputation(build, steps):
    model, image = build(), images(height=9, width=10)
    expected = plain_iodine_loss(model, image, steps, named_noise())
    loss = model(image, steps, noise=named_noise()).loss
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert_same_gradients(gradients(model, loss), gradients(model, expected))


def test_gradients_scale_and_accumulate():
    model, batches = build(), [images(seed=1), images(seed=2)]
    expected = gradients(model, sum(0.3 * plain_iodine_loss(model, image, 3, named_noise()) for image in batches))
    model.zero_grad()
    for image in batches:
        (0.3 * model(image, 3, noise=named_noise()).loss).backward()
    assert_same_gradients({name: p.grad for name, p in model.named_parameters()}, expected)


@pytest.mark.parametrize("frozen", ["decoder", "refinement", "initial"])
def test_frozen_parts_get_no_gradient_and_the_rest_keep_theirs(frozen):
    model, image = build(), images()
    expected = gradients(model, plain_iodine_loss(model, image, 3, named_noise()))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    found = gradients(model, model(image, 3, noise=named_noise()).loss)
    assert_same_gradients(found, {name: g for name, g in expected.items() if not name.startswith(frozen)})


def test_a_second_backward_pass_has_the_same_gradients():
    model = build()
    loss = model(images(), 3, noise=named_noise()).loss
    model.zero_grad()
    loss.backward(retain_graph=True)
    assert_same_gradients(
        gradients(model, loss), gradients(model, plain_iodine_loss(model, images(), 3, named_noise()))
    )


@MODELS
def test_every_parameter_gets_a_gradient(build):
    model = build()
    found = gradients(model, model(images(), 2).loss)
    assert [name for name, p in model.named_parameters() if name not in found or not found[name].any()] == []


def test_one_step_leaves_out_what_the_lstm_remembers():
    model = build()
    found = gradients(model, model(images(), 1).loss)
    assert [name for name, gradient in found.items() if not gradient.any()] == ["refinement.lstm.weight_hidden"]


@MODELS
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_refines_without_leaving_a_graph(build, mode):
    model = build().eval()
    expected = model(images(), 3, noise=named_noise())
    with mode():
        found = model(images(), 3, noise=named_noise())
        encoded = model.encode(images())
    stages = zip(found.stages, expected.stages, strict=True)
    assert_same(
        [(f.slots, f.nll, f.loss, f.components) for f, _ in stages],
        [(e.slots, e.nll, e.loss, e.components) for e in expected.stages],
        rtol=1e-12,
        atol=1e-12,
    )
    assert not any(t.requires_grad for stage in found.stages for t in (*tensors(stage.components), *stage.posterior))
    assert not any(t.requires_grad for t in encoded[:2])


@MODELS
def test_slots_of_an_image_do_not_depend_on_its_batch_in_evaluation(build):
    model, image = build(), images(4)
    model(image, 1)  # a training step of four images
    model.eval()
    together = model.encode(image)
    alone = [model.encode(one) for one in image.split(1)]
    torch.testing.assert_close(together.slots, torch.cat([one.slots for one in alone]), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(together.scale, torch.cat([one.scale for one in alone]), rtol=1e-10, atol=1e-12)


def test_the_batch_mean_gradient_depends_on_the_batch_in_training():
    own, mean = OwnGradient(), BatchMeanGradient()
    assert (own(4), mean(4), mean(2)) == (1, 0.25, 0.5)
    assert mean.eval()(8) == 0.5  # as in the last training step
    assert BatchMeanGradient().eval()(8) == 1 / 8
    assert float(BatchMeanGradient().double()(3)) == 1 / 3  # which float32 rounds


def test_slots_are_exchangeable():
    model, order = build().eval(), torch.tensor([2, 0, 1])
    noise = named_noise()
    expected = model(images(), 3, noise=noise).stages[-1]
    found = model(images(), 3, noise=lambda name, like: noise(name, like)[:, order]).stages[-1]
    torch.testing.assert_close(found.slots, expected.slots[:, order], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.components.rgb, expected.components.rgb[:, order], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.kl, expected.kl)


@pytest.mark.parametrize(
    ("batch", "num_slots", "size", "steps"), [(1, 1, (7, 8), 1), (3, 5, (2, 1), 2), (2, 2, (12, 9), 6)]
)
def test_takes_any_batch_size_image_size_slots_and_steps(batch, num_slots, size, steps):
    inference = build()(images(batch, *size), steps, num_slots)
    assert [stage.step for stage in inference.stages] == list(range(steps + 1))
    assert inference.stages[-1].components.rgb.shape == (batch, num_slots, 3, *size)
    assert inference.loss.isfinite()


@pytest.mark.parametrize("kl_weight", [1.0, 0.1])
def test_scores_and_weights_of_the_stages(kl_weight):
    inference = build(kl_weight=kl_weight)(images(), 3, noise=named_noise())
    stages = inference.stages
    assert [step_weight(t, 3) for t in range(4)] == [0, 1 / 3, 2 / 3, 1]
    for stage in stages:
        torch.testing.assert_close(stage.loss, (stage.nll + kl_weight * stage.kl).mean())
        assert not stage.nll.requires_grad
    torch.testing.assert_close(inference.loss, stages[1].loss / 3 + 2 * stages[2].loss / 3 + stages[3].loss)


def test_the_posterior_has_no_constant_in_its_scale():
    rho = torch.tensor([[[-30.0, 0.0, 3.0]]], dtype=torch.float64)
    posterior, ones = SoftplusGaussian(rho, rho), torch.ones_like(rho)
    expected = rho.exp().log1p().sqrt()
    torch.testing.assert_close(posterior.std, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(posterior.distribution.stddev, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(posterior.sample(ones), rho + expected, rtol=1e-12, atol=0)
    model = build().eval()
    encoded = model.encode(images(), 1)
    posterior = model.refine(images(), 1, 3, PosteriorMeans())[1]
    torch.testing.assert_close(encoded.scale, F.softplus(posterior.rho).sqrt())
    lowest = SoftplusGaussian(*(torch.full((1, 1, 1), -1e4).requires_grad_() for _ in range(2)))
    lowest.std.sum().backward()
    assert lowest.rho.grad.isfinite().all()


def test_kl_is_that_of_the_prior():
    stage = build(prior_variance=0.5)(images(), 1, noise=named_noise()).stages[0]
    mean, variance = stage.posterior.mean, F.softplus(stage.posterior.rho)
    expected = 0.5 * (variance / 0.5 + mean**2 / 0.5 - 1 - (variance / 0.5).log())
    torch.testing.assert_close(stage.kl, expected.sum((1, 2)))


def test_encode_draws_as_often_as_it_refines(monkeypatch):
    model, drawn = build().eval(), []
    draw = model.decoder.draw
    monkeypatch.setattr(model.decoder, "draw", lambda *arguments: drawn.append(1) or draw(*arguments))
    with torch.inference_mode():
        model.encode(images(), 4)
    assert len(drawn) == 4


def held(loss):
    """Count the numbers that a graph holds, by what is still alive once it has been built."""
    saved = []

    def pack(tensor):
        saved.append(weakref.ref(tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total = loss()
    alive = [tensor for reference in saved if (tensor := reference()) is not None]
    assert total.requires_grad
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().size() for t in alive}.values())


def test_a_step_adds_far_less_to_what_the_graph_holds_than_a_drawing():
    model, image = build(), images(height=16, width=16)
    step = (held(lambda: model(image, 6).loss) - held(lambda: model(image, 2).loss)) / 4
    plain = (held(lambda: plain_iodine_loss(model, image, 6)) - held(lambda: plain_iodine_loss(model, image, 2))) / 4
    assert 0 < step < plain / 8


def test_bf16_is_close_to_float32():
    model, image = build().float(), images(height=16, width=16).float()
    expected = model(image, 3, noise=named_noise())
    direction = torch.cat([g.flatten() for g in gradients(model, expected.loss).values()])
    with torch.autocast("cpu", torch.bfloat16):
        inference = model(image, 3, noise=named_noise())
    found = torch.cat([g.flatten() for g in gradients(model, inference.loss).values()])
    torch.testing.assert_close(inference.loss, expected.loss, rtol=2e-2, atol=0)
    assert torch.cosine_similarity(found, direction, dim=0) > 0.99
    stage = inference.stages[-1]
    floats = (stage.slots, stage.nll, stage.kl, *stage.components, *stage.posterior)
    assert {t.dtype for t in floats} == {torch.float32}


def test_encodes_in_bf16_alone():
    model = build().float().eval()
    expected = model.encode(images().float(), 1).slots
    found = model.bfloat16().encode(images().float(), 1).slots
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("case", "size"), [("clevr6", 1_177_168), ("multi_dsprites", 339_152), ("tetrominoes", 199_568)]
)
def test_has_as_many_parameters_as_the_release(case, size):
    arguments = IODINE_CASES[case].build.keywords
    parts = {name: partial(arguments.get(name, kind), constants=True) for name, kind in PARTS.items()}
    assert sum(p.numel() for p in IODINE(**arguments | parts).parameters()) == size


PARTS = {"decoder": IodinePixelDecoder, "refinement": IodineRefinement}


@MODELS
def test_a_configuration_rebuilds_the_model(build):
    model = build()
    description = json.loads(json.dumps(describe(model)))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=IODINE)
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    twin = instantiate(parser.parse_object({"network": description})).network.double()
    assert describe(twin)["class_path"] == "emorl.model.IODINE"
    twin.load_state_dict(model.state_dict())
    expected, found = (each(images(), 2, noise=named_noise()).loss for each in (model, twin))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    copied = copy.deepcopy(twin)(images(), 2, noise=named_noise()).loss
    torch.testing.assert_close(copied, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("steps", "num_slots", "message"), [(0, 3, "1 or more steps"), (1, 0, "num_slots of 1")])
def test_rejects_no_steps_and_no_slots(steps, num_slots, message):
    with pytest.raises(ValueError, match=message):
        build()(images(), steps, num_slots)
