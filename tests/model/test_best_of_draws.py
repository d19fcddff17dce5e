"""Several draws of an image, of which the model keeps the one with the lowest bound."""

import gc
import re
import weakref
from functools import partial

import pytest
import torch

import tiny
from emorl.model import ImageNoise, PosteriorMeans
from emorl.model.draws import best_of, bound
from emorl.testing import tensors

IMAGES = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
EACH = pytest.mark.parametrize("name", tiny.FAMILY)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def inferences(model, draws, images=IMAGES, steps=1, first=0):
    index = torch.arange(len(images)) + first
    return [model(images, steps, None, ImageNoise(index, seed)) for seed in range(draws)]


@EACH
@torch.no_grad()
def test_every_stage_of_every_image_is_that_of_its_lowest_bound(name):
    found = inferences(tiny.lively(tiny.FAMILY[name]()).eval(), 4)
    best = best_of(4, found.__getitem__, IMAGES)
    chosen = set()
    for number, stage in enumerate(best.stages):
        bounds = torch.stack([bound(one.stages[number], IMAGES) for one in found])
        assert torch.equal(bound(stage, IMAGES), bounds.amin(0))
        for image, draw in enumerate(bounds.argmin(0).tolist()):
            expected = found[draw].stages[number]
            for part in ("slots", "posterior", "components", "nll", "kl"):
                pairs = zip(tensors(getattr(stage, part)), tensors(getattr(expected, part)), strict=True)
                assert all(torch.equal(ours[image], theirs[image]) for ours, theirs in pairs)
            chosen.add(draw)
    assert len(chosen) > 1  # or the test would say nothing
    assert best.loss.isnan()


@torch.no_grad()
def test_a_draw_that_is_not_finite_never_wins():
    first, second = inferences(tiny.FAMILY["efficient_morl"]().eval(), 2)
    broken = [stage._replace(nll=stage.nll.clone().fill_(torch.nan)) for stage in first.stages]
    for draws in ([first._replace(stages=broken), second], [second, first._replace(stages=broken)]):
        best = best_of(2, draws.__getitem__, IMAGES)
        assert all(torch.equal(ours.nll, theirs.nll) for ours, theirs in zip(best.stages, second.stages, strict=True))


@EACH
@torch.no_grad()
def test_layers_are_those_of_the_last_stage_and_terms_of_the_first(name):
    found = inferences(tiny.lively(tiny.FAMILY[name]()).eval(), 4)
    best = best_of(4, found.__getitem__, IMAGES)
    for stage, part in ((-1, "layers"), (0, "terms")):
        draws = torch.stack([bound(one.stages[stage], IMAGES) for one in found]).argmin(0).tolist()
        for image, draw in enumerate(draws):
            ours, theirs = ([each[image] for each in tensors(getattr(one, part))] for one in (best, found[draw]))
            assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


@EACH
@torch.no_grad()
def test_a_stage_is_what_as_few_steps_give(name):
    model = tiny.lively(tiny.FAMILY[name]()).eval()
    more, less = (best_of(3, inferences(model, 3, steps=steps).__getitem__, IMAGES) for steps in (2, 1))
    for stage, expected in zip(more.stages, less.stages, strict=False):
        if stage.step == expected.step:
            torch.testing.assert_close(stage.slots, expected.slots)


@EACH
def test_encode_keeps_the_best_of_its_draws_whatever_the_batch(name):
    model = tiny.lively(tiny.FAMILY[name]()).eval()
    steps = max(1, model.min_steps)
    with torch.inference_mode():
        whole, alone = model.encode(IMAGES, steps, draws=3), model.encode(IMAGES[3:4], steps, draws=3)
        torch.testing.assert_close(whole.slots[3:4], alone.slots)
        found = [model(IMAGES, steps, None, PosteriorMeans(seed)) for seed in range(3)]
        bounds = torch.stack([bound(one.stages[-1], IMAGES) for one in found])
        for image, draw in enumerate(bounds.argmin(0).tolist()):
            stage = found[draw].stages[-1]
            mean = stage.slots if stage.posterior is None else stage.posterior.mean
            torch.testing.assert_close(whole.slots[image], mean[image])
        again = model.reconstruct(IMAGES, steps, draws=3)
        torch.testing.assert_close(again.slots, whole.slots)


@EACH
def test_with_gradients_the_graph_is_that_of_the_best_draw(name):
    model = tiny.lively(tiny.FAMILY[name]()).eval()
    steps = max(1, model.min_steps)
    with torch.no_grad():
        expected = model.encode(IMAGES, steps, draws=6)
        draws = [model(IMAGES, steps, None, PosteriorMeans(seed)) for seed in range(6)]
        best = torch.stack([bound(one.stages[-1], IMAGES) for one in draws]).argmin(0).tolist()
    found, held = held_by_graph(lambda: model.encode(IMAGES, steps, draws=6))
    for ours, theirs in zip(tensors(found), tensors(expected), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert held == held_by_graph(lambda: model.encode(IMAGES, steps, draws=2))[1] > 0

    found.slots.sum().backward()
    gradients = {part: value.grad.clone() for part, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    for seed in set(best):
        slots = model.infer(IMAGES, steps, model.num_slots, PosteriorMeans(seed)).slots
        slots[torch.tensor(best) == seed].sum().backward()
    assert gradients
    for part, value in gradients.items():
        torch.testing.assert_close(value, model.get_parameter(part).grad, rtol=1e-3, atol=1e-5)


class Held:
    """A tensor that a graph holds for the backward pass."""

    def __init__(self, tensor):
        self.tensor = tensor.detach()  # an output would hold its own graph


def held_by_graph(call):
    """Return the result of a call, and the number of values that its graph holds when the call has returned."""
    references = []

    def pack(tensor):
        held = Held(tensor)
        references.append(weakref.ref(held))
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        result = call()
    gc.collect()
    return result, sum(held.tensor.numel() for each in references if (held := each()) is not None)


@EACH
def test_one_draw_is_that_of_before(name):
    model = tiny.lively(tiny.FAMILY[name]()).eval()
    with torch.inference_mode():
        assert torch.equal(model.encode(IMAGES, draws=1).slots, model.encode(IMAGES).slots)
        (only,) = inferences(model, 1)
        assert best_of(1, lambda _: only, IMAGES) is only


@pytest.mark.parametrize("name", ["draws", "steps", "num_slots"])
@pytest.mark.parametrize("number", [1.5, 2.0, "2", True])
def test_numbers_of_a_call_are_whole(name, number, unchecked):
    told = re.escape(f"Expected {name} to be a whole number, such as 1, got {number!r}.")
    with pytest.raises(ValueError, match=f"^{told}$"):
        tiny.FAMILY["slot_attention"]().reconstruct(IMAGES, **{name: number})


@pytest.mark.parametrize("draws", [0, -1])
def test_fewer_draws_than_one_are_refused(draws):
    model = tiny.network()
    for call in (model.encode, model.reconstruct):
        with pytest.raises(ValueError, match=f"Expected 1 or more draws, got {draws}"):
            call(IMAGES, draws=draws)
    with pytest.raises(ValueError, match="Expected 1 or more draws"):
        tiny.module(test_draws=draws)


@EACH
@torch.no_grad()
def test_tests_and_predictions_take_the_best_of_their_draws(name):
    module = partial(tiny.module, network=tiny.lively(tiny.FAMILY[name]()).eval(), test_refinement_steps=1)
    batch = {"image": IMAGES, "index": torch.arange(5), "key": list("abcde")}
    one, several = module().eval(), module(test_draws=4).eval()
    for seed in (0, 2):
        found = [one.test_inference(batch, 1, seed=4 * seed + number) for number in range(4)]
        expected, ours = best_of(4, found.__getitem__, IMAGES), several.test_inference(batch, 1, seed=seed)
        assert all(
            torch.equal(*pair)
            for pair in zip(tensors(ours.stages), tensors(expected.stages), strict=True)
            if not pair[0].isnan().any()
        )
    predicted = several.predict_step(batch, 0)
    torch.testing.assert_close(predicted.slots, several.network.encode(IMAGES, 1, draws=4).slots)
