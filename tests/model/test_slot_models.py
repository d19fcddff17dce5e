"""The contract of slot models, tested for every model."""

from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
import torch

import tiny
from emorl.model import (
    IODINE,
    BigDecoder,
    BottomUpPrior,
    Decoder,
    EfficientMORL,
    FourierPosition,
    Geco,
    ImageNoise,
    IodineDecoder,
    IodinePixelDecoder,
    IodineRefinement,
    LinearCoordinates,
    LogisticPixels,
    MixtureLikelihood,
    PlainGRU,
    SlotAttention,
    SmallDecoder,
)
from emorl.testing import check_slot_model

pytestmark = pytest.mark.usefixtures("unchecked")  # shapes are part of the contract, and a fifth of the time

SIZES = {"num_slots": 3, "slot_dim": 8, "feature_dim": 8}
MODELS = {
    **tiny.FAMILY,
    "efficient_morl_other_parts": partial(
        EfficientMORL,
        **SIZES,
        num_layers=2,
        cell=PlainGRU,
        prior=BottomUpPrior,
        decoder=IodineDecoder,
        likelihood=MixtureLikelihood,
        geco=Geco(-1.0, warm_start=1),
    ),
    "slot_attention_strides": partial(
        SlotAttention, **SIZES, encoder_stride=2, decoder=partial(SmallDecoder, position=FourierPosition, stride=4)
    ),
    "slot_attention_big": partial(SlotAttention, **SIZES, decoder=BigDecoder),
    "iodine_release": partial(
        IODINE,
        num_slots=3,
        slot_dim=8,
        decoder=partial(IodinePixelDecoder, channels=4, kernel=3, constants=True),
        refinement=partial(IodineRefinement, channels=4, kernel=3, coordinates=LinearCoordinates, constants=True),
        likelihood=LogisticPixels,
        prior_variance=0.7,
    ),
}


SIDES = {  # of images
    "efficient_morl_other_parts": 8,  # its decoder renders 10 more pixels in each axis
    "slot_attention_big": 16,  # its decoder renders multiples
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_keeps_the_contract(name):
    check_slot_model(MODELS[name], SIDES.get(name, 12))


@pytest.mark.parametrize(("num_slots", "slot_dim"), [(1, 8), (2, 4), (3, 8)])
def test_the_example_keeps_the_contract_at_any_size(num_slots, slot_dim, monkeypatch):
    """Its centers are drawn together: at (3, 8), the sizes of docs/models.md, to 5e-4."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    from own_model import SoftKMeans

    check_slot_model(lambda: SoftKMeans(num_slots=num_slots, slot_dim=slot_dim))


class Numbered(SlotAttention):
    """Slots that know their number."""

    def initial(self, batch, num_slots, noise):
        return super().initial(batch, num_slots, noise) + torch.arange(num_slots).view(-1, 1)


class Crowded(SlotAttention):
    """An image's slots depend on its batch."""

    def initial(self, batch, num_slots, noise):
        return super().initial(batch, num_slots, noise) * batch


class Restless(SlotAttention):
    """Random numbers that noise does not know of."""

    def initial(self, batch, num_slots, noise):
        return super().initial(batch, num_slots, noise) + torch.randn(())


class Idle(SlotAttention):
    """A parameter without a use."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.idle = torch.nn.Parameter(torch.zeros(2))


class Alike(SlotAttention):
    """Slots that start from a draw with another name."""

    def initial(self, batch, num_slots, noise):
        return super().initial(batch, num_slots, lambda _, like: noise("z1", like))


class Scalar(SlotAttention):
    """A term that is no number of each image."""

    term_names = ("term",)

    def forward(self, *args, **kwargs):
        inference = super().forward(*args, **kwargs)
        return inference._replace(terms={"term": inference.loss})


class Bright(SlotAttention):
    """Attention that does not sum to one over slots."""

    def iterate(self, *args):
        return [layer._replace(attention=3 * layer.attention) for layer in super().iterate(*args)]


class Zero(SlotAttention):
    """Slots at no steps, of which an inference has no stage."""

    min_steps = 0

    def iterate(self, image, steps, num_slots, noise):
        return super().iterate(image, max(steps, 1), num_slots, noise)


class Single(SlotAttention):
    """A start in single precision."""

    def initial(self, *args):
        return super().initial(*args).float()


class Double(SlotAttention):
    """A start in double precision."""

    def initial(self, *args):
        return super().initial(*args).double()


class Rescaled(EfficientMORL):
    """A loss of another mean than that of the images."""

    def stage(self, *args):
        stage = super().stage(*args)
        return stage._replace(nll=2 * stage.nll)


class Summed(SlotAttention):
    """A loss that is the sum over images."""

    def forward(self, image, *args, **kwargs):
        inference = super().forward(image, *args, **kwargs)
        return inference._replace(loss=len(image) * inference.loss)


class Underflowing(SlotAttention):
    """A logarithm of a number that float32 does not have."""

    def forward(self, *args, **kwargs):
        inference = super().forward(*args, **kwargs)
        return inference._replace(loss=inference.loss + (0 * inference.loss + 1e-60).log())


class Keeping(SlotAttention):
    """A model that keeps the last slots."""

    def forward(self, *args, **kwargs):
        inference = super().forward(*args, **kwargs)
        self.last = inference.stages[-1:]
        return inference


class Late(EfficientMORL):
    """Layers that end before the slots of the first stage."""

    def forward(self, *args, **kwargs):
        inference = super().forward(*args, **kwargs)
        return inference._replace(layers=inference.layers[:-1])


class Cyclic(SlotAttention):
    """Slots that depend on their neighbors in the order of draws."""

    def initial(self, *args):
        z = super().initial(*args)
        return z + 0.5 * z.roll(1, 1) * z.roll(2, 1).sigmoid()


class Centered(SlotAttention):
    """Draws that depend on those of the batch."""

    def initial(self, *args):
        z = super().initial(*args)
        return z - 0.5 * z.mean(0)


class Flipped(SlotAttention):
    """Masks of other slots."""

    def forward(self, *args, **kwargs):
        inference = super().forward(*args, **kwargs)
        last = inference.stages[-1]
        other = last.components._replace(log_masks=last.components.log_masks.flip(1))
        return inference._replace(stages=(*inference.stages[:-1], last._replace(components=other)))


class Deaf(SlotAttention):
    """The same number of slots from encode, whatever it is asked for."""

    def infer(self, image, steps, num_slots, noise):
        return super().infer(image, steps, self.num_slots, noise)


class Useless(SlotAttention):
    """A parameter that is multiplied by zero."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.idle = torch.nn.Parameter(torch.ones(2))

    def forward(self, *args, **kwargs):
        inference = super().forward(*args, **kwargs)
        return inference._replace(loss=inference.loss + 0 * self.idle.sum())


class Detached(SlotAttention):
    """A loss from which nothing is learned."""

    def forward(self, *args, **kwargs):
        inference = super().forward(*args, **kwargs)
        nothing = 0 * sum(parameter.sum() for parameter in self.parameters())
        return inference._replace(loss=inference.loss.detach() + nothing)


class Recolored(SlotAttention):
    """Colors of other slots."""

    def forward(self, *args, **kwargs):
        inference = super().forward(*args, **kwargs)
        last = inference.stages[-1]
        other = last.components._replace(rgb=last.components.rgb.flip(1))
        return inference._replace(stages=[*inference.stages[:-1], last._replace(components=other)])


class Distracted(SlotAttention):
    """Attention of other slots."""

    def iterate(self, *args):
        return [layer._replace(attention=layer.attention.flip(1)) for layer in super().iterate(*args)]


class Astray(SlotAttention):
    """Attention of other slots from encode."""

    def infer(self, *args):
        found = super().infer(*args)
        return found._replace(attention=found.attention.flip(1))


class Stuck(SlotAttention):
    """The same number of iterations, whatever it is called with."""

    def iterate(self, image, steps, num_slots, noise):
        return super().iterate(image, 3, num_slots, noise)


class Hasty(SlotAttention):
    """The same number of iterations from encode, whatever it is asked for."""

    def infer(self, image, steps, num_slots, noise):
        return super().infer(image, 3, num_slots, noise)


class Unrefined(EfficientMORL):
    """No refinement from encode, whatever it is asked for."""

    def infer(self, image, steps, num_slots, noise):
        return super().infer(image, 0, num_slots, noise)


class Wide(EfficientMORL):
    """Standard deviations from encode that depend on the batch."""

    def infer(self, *args):
        found = super().infer(*args)
        return found._replace(scale=len(found.scale) * found.scale)


class Averaged(EfficientMORL):
    """The nll of the batch instead of that of each image."""

    def stage(self, *args):
        stage = super().stage(*args)
        return stage._replace(nll=stage.nll.mean().expand_as(stage.nll))


class Swapped(EfficientMORL):
    """The KL of other images."""

    def stage(self, *args):
        stage = super().stage(*args)
        return stage._replace(kl=stage.kl.flip(0))


class Maker(Protocol):
    """Builds a decoder."""

    def __call__(self, slot_dim: int) -> Decoder: ...


class Obscure(SlotAttention):
    """An annotation that Lightning understands, but `emorl.model.build` does not."""

    def __init__(self, *, decoder: Maker, **sizes):
        super().__init__(decoder=decoder, **sizes)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (Cyclic, "slots to be the same for permuted draws"),
        (Centered, "depend only on the image and its noise"),
        (Flipped, "log_masks to be the same for permuted draws"),
        (Deaf, "4 slots from encode"),
        (Numbered, "slots to be the same for permuted draws"),
        (Crowded, "depend only on the image"),
        (Restless, "the same result twice, got another one. Draw random numbers from noise"),
        (Idle, "gradient of every parameter"),
        (Alike, "slots that differ by the draw named 'z0'"),
        (Scalar, "terms one an image"),
        (Bright, "attention that sums to one"),
        (Single, "in float64: Any batch"),
        (Double, "in float32: A training step"),
        (Rescaled, "mean_nll, the mean of nll"),
        (Zero, "a first stage of no steps"),
        (Late, "a last layer with the slots of the stage of no steps"),
        (Useless, r"training to change every parameter, got the same \['idle'\]. Their gradients are zero"),
        (Detached, "training to change every parameter"),
        (Recolored, "rgb to be the same for permuted draws"),
        (Distracted, r"layers\[0\].attention to be the same for permuted draws"),
        (Astray, "encoding.attention to agree with forward, got other values"),
        (Stuck, "other slots after 3 steps than after 1, got the same. Take as many steps"),
        (Hasty, "encoding.slots to agree with forward, steps = 1"),
        (Unrefined, "encoding.slots to agree with forward, steps = 3"),
        (Wide, "encoding.scale to agree with forward"),
        (Averaged, r"stages\[0\].nll to depend only on the image"),
        (Summed, r"a loss that is the mean over images, "),
        (Underflowing, r"finite gradients in float32, got a loss of -inf"),
        (Keeping, r"a model that keeps no tensor with a graph, got \['last'\]"),
        (
            partial(Obscure, decoder=SmallDecoder),
            "rebuilds the model, for a checkpoint and .*decoder of Obscure: .*missing",
        ),
        (Swapped, r"stages\[0\].kl to depend only on the image"),
    ],
)
def test_a_model_that_breaks_the_contract_is_told_how(broken, told):
    with pytest.raises(AssertionError, match=told):
        check_slot_model(partial(broken, **SIZES), 8)


def test_a_part_that_is_not_trained_needs_no_gradient():
    def frozen():
        model = SlotAttention(**SIZES)
        model.encoder.requires_grad_(False)
        return model

    check_slot_model(frozen)


class Gated(SlotAttention):
    """Iterations that have no effect before the first step of training."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.gate = torch.nn.Parameter(torch.zeros(()))

    def iterate(self, image, steps, num_slots, noise):
        start = noise("z0", image.new_zeros(len(image), num_slots, self.slot_dim))
        layers = super().iterate(image, steps, num_slots, lambda *_: start)
        return [layer._replace(slots=start + self.gate * layer.slots) for layer in layers]


class Once(SlotAttention):
    """A model without steps."""

    default_steps = training_steps = 1

    def iterate(self, image, steps, num_slots, noise):
        return super().iterate(image, 1, num_slots, noise)


class Contrasted(SlotAttention):
    """A term that compares the images of a batch."""

    term_names = ("contrast",)

    def forward(self, *args, **kwargs):
        inference = super().forward(*args, **kwargs)
        mean = inference.stages[-1].slots.mean(1)
        contrast = (mean @ mean.mT).logsumexp(1)
        return inference._replace(terms={"contrast": contrast}, loss=inference.loss + contrast.mean())


@pytest.mark.parametrize("num_slots", [1, 2])
@pytest.mark.parametrize("unusual", [SlotAttention, Gated, Once, Contrasted])
def test_unusual_models_keep_the_contract(unusual, num_slots):
    check_slot_model(partial(unusual, num_slots=num_slots, slot_dim=8, feature_dim=8), 8)


def test_a_model_built_for_evaluation_keeps_the_contract():
    check_slot_model(lambda: EfficientMORL(**SIZES).eval(), 8)


@pytest.mark.parametrize("name", ["efficient_morl", "slot_attention"])
def test_the_loss_has_the_gradient_of_an_image(name):
    """Against a difference; without refinement, because what it reads of the loss's gradient is data."""
    model = tiny.lively(tiny.FAMILY[name]()).double().eval()
    images, steps = torch.rand(2, 3, 12, 12, dtype=torch.float64), model.min_steps
    noise, way = ImageNoise(torch.arange(2)), torch.randn_like(images)

    def loss(share):
        return model(images + share * way, steps, noise=noise).loss

    share = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(loss(share), share)
    with torch.no_grad():
        difference = (loss(1e-6) - loss(-1e-6)) / 2e-6
    torch.testing.assert_close(found, difference, rtol=1e-5, atol=0)


def test_a_decoder_may_have_a_part_that_it_does_not_use():
    for build in (tiny.FAMILY["efficient_morl"], tiny.FAMILY["iodine"]):
        model = build()
        model.decoder.idle = torch.nn.Linear(2, 2)
        model(torch.rand(2, 3, 12, 12), model.training_steps).loss.backward()


@pytest.mark.parametrize("num_slots", [2, 3])
@pytest.mark.parametrize("width", [4, 8])
def test_few_slots_that_know_their_number_are_told(num_slots, width):
    with pytest.raises(AssertionError, match="slots to be the same for permuted draws"):
        check_slot_model(partial(Numbered, num_slots=num_slots, slot_dim=width, feature_dim=4), 8)


def test_the_check_draws_random_numbers_of_its_own():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check_slot_model(partial(SlotAttention, **SIZES), 8)
    assert torch.rand(1) == expected


def test_a_size_too_small_for_two_is_refused():
    with pytest.raises(ValueError, match="Expected size of 5 or more, got 4"):
        check_slot_model(partial(SlotAttention, **SIZES), 4)


def test_what_is_no_slot_model_is_told():
    with pytest.raises(AssertionError, match="a function that builds a SlotModel, got Linear"):
        check_slot_model(lambda: torch.nn.Linear(2, 2))


def test_a_size_that_the_decoder_cannot_render_is_refused_before_anything_is_inferred():
    model = SlotAttention(**SIZES, decoder=BigDecoder)
    with pytest.raises(ValueError, match="multiples of 16, got 12x12"):
        model.encode(torch.zeros(1, 3, 12, 12))
