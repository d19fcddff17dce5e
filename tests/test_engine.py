"""The engine computes exactly the loss and the gradients of the plain training step."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from benchmarks.plain import plain_loss
from emorl import model as m
from emorl.model import decode_pass

DECODERS = {"small": (m.SmallDecoder, 11), "iodine": (m.IodineDecoder, 11), "big": (m.BigDecoder, 16)}
LIKELIHOODS = {"gaussian": m.GaussianLikelihood, "mixture": m.MixtureLikelihood}
PRIORS = {"reversed": m.ReversedPrior, "reversed++": m.ReversedPlusPlusPrior, "bottom_up": m.BottomUpPrior}


def build(decoder: str = "small", **arguments: object) -> tuple[m.EfficientMORL, Tensor]:
    torch.manual_seed(0)
    kind, size = DECODERS[decoder]
    model = m.EfficientMORL(
        num_slots=3,
        slot_dim=4,
        feature_dim=8,
        decoder=kind,
        initialization=m.BalancedInitialization,
        **arguments,  # type: ignore[arg-type]
    )
    return model.double(), torch.rand(5, 3, size, size, dtype=torch.float64)


def gradients(model: m.EfficientMORL) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def assert_exact(model: m.EfficientMORL, image: Tensor, steps: int, tolerance: float = 1e-9) -> None:
    noise = m.ImageNoise(torch.arange(len(image)))
    expected = plain_loss(model, image, steps, noise)
    expected.backward()
    expected_gradients = gradients(model)
    loss = model(image, steps, noise=noise).loss
    loss.backward()
    found = gradients(model)
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=0)
    assert_same_gradients(found, expected_gradients, tolerance)


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    total = torch.stack([g.norm() for g in expected.values()]).norm()
    for name, gradient in expected.items():
        allowed = max(tolerance * gradient.norm(), 1e-3 * tolerance * total)  # norm_slots.bias: zero but for rounding
        assert (found[name] - gradient).norm() <= allowed, name


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_engine_equals_plain_for_every_decoder_and_likelihood(decoder: str, likelihood: str, steps: int) -> None:
    assert_exact(*build(decoder, likelihood=LIKELIHOODS[likelihood]), steps)


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("prior", PRIORS)
def test_engine_equals_plain_for_every_prior(prior: str, steps: int) -> None:
    assert_exact(*build(prior=PRIORS[prior]), steps)


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("warm_start", [0, 1000])
def test_engine_equals_plain_with_geco(warm_start: int, steps: int) -> None:
    model, image = build(geco=m.Geco(-1.1, warm_start=warm_start))
    assert model.objective.geco is not None
    model.objective.geco.zeta.fill_(0.9)
    assert_exact(model, image, steps)


@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_engine_does_not_depend_on_the_decode_chunk(chunk: int) -> None:
    assert_exact(*build("iodine", decode_chunk=chunk), steps=2)


def test_by_default_groups_are_even_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = build()  # 3 slots of 11 x 11 pixels
    monkeypatch.setattr(decode_pass, "SLOT_PIXELS", 4 * 3 * 11**2)
    sizes: list[int] = []
    model.decoder.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    assert_exact(model, image, steps=0)
    assert sizes == [3, 2]


def test_a_small_chunk_bounds_what_the_encoder_keeps() -> None:
    kept = {}
    for chunk in (None, 1):
        model, image = build(decode_chunk=chunk)
        kept[chunk] = 0

        def pack(tensor: Tensor, chunk: int | None = chunk) -> Tensor:
            kept[chunk] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.bottom_up_pass(image, 3, m.gaussian_noise)
    assert kept[1] < kept[None] / 4


@pytest.mark.parametrize("part", ["encoder", "bottom_up", "decoder", "refinement"])
def test_checkpointed_parts_have_the_same_gradients(part: str) -> None:
    model, image = build("iodine")
    checkpointed, _ = build("iodine")
    setattr(checkpointed, part, checkpoint_wrapper(getattr(checkpointed, part)))
    noise = m.ImageNoise(torch.arange(len(image)))
    for each in (model, checkpointed):
        each(image, 2, noise=noise).loss.backward()
    found = {name.replace("_checkpoint_wrapped_module.", ""): g for name, g in gradients(checkpointed).items()}
    assert_same_gradients(found, gradients(model))


def test_engine_equals_plain_in_float32() -> None:
    model, image = build("iodine", likelihood=m.MixtureLikelihood)
    assert_exact(model.float(), image.float(), steps=1, tolerance=1e-4)


def test_gradients_accumulate_over_batches() -> None:
    model, image = build()
    noise = m.ImageNoise(torch.arange(len(image)))
    for part in (image, image.flip(0)):
        (0.5 * plain_loss(model, part, 1, noise)).backward()
    expected = gradients(model)
    for part in (image, image.flip(0)):
        (0.5 * model(part, 1, noise=noise).loss).backward()
    assert_same_gradients(gradients(model), expected)


def test_frozen_decoder_gets_no_gradient_and_the_rest_keeps_its_own() -> None:
    model, image = build()
    model.decoder.requires_grad_(False)
    assert_exact(model, image, steps=1)


def test_no_graph_of_the_decoder_is_kept() -> None:
    model, image = build()
    inference = model(image, 1)
    assert not inference.stages[0].components.rgb.requires_grad
    assert not inference.stages[1].nll.requires_grad


def test_likelihood_and_kl_stay_float32_under_autocast() -> None:
    model, image = build("iodine", likelihood=m.MixtureLikelihood)
    with torch.autocast("cpu", torch.bfloat16):
        stage = model.float()(image.float(), 1).stages[-1]
    assert {stage.components.rgb.dtype, stage.components.log_masks.dtype, stage.nll.dtype, stage.kl.dtype} == {
        torch.float32
    }


def test_bf16_points_in_the_direction_of_float32() -> None:
    model, image = build("iodine", likelihood=partial(m.MixtureLikelihood, scale=0.3))
    noise = m.ImageNoise(torch.arange(len(image)))
    model, image = model.float(), image.float()
    model(image, 1, noise=noise).loss.backward()
    expected = torch.cat([g.flatten() for g in gradients(model).values()])
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(image, 1, noise=noise).loss
    loss.backward()
    found = torch.cat([g.flatten() for g in gradients(model).values()])
    assert torch.cosine_similarity(found, expected, dim=0) > 0.99
