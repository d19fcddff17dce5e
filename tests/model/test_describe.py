"""Descriptions of models, from which they are rebuilt."""

import copy
import io
import json
import pickle
from functools import partial

import pytest
import torch
from jsonargparse import ArgumentParser
from tiny_morl import assert_same, images, named_noise

from emorl.model import (
    BottomUpPrior,
    EfficientMORL,
    FourierPosition,
    GaussianLikelihood,
    Geco,
    IodineDecoder,
    MixtureLikelihood,
    PlainGRU,
    SlotAttention,
)
from emorl.model.describe import describe


def default():
    return EfficientMORL()


def other_parts():
    return EfficientMORL(
        5,  # by position
        slot_dim=8,
        num_layers=2,
        feature_dim=8,
        position=partial(FourierPosition, frequencies=2),
        cell=PlainGRU,
        prior=BottomUpPrior,
        decoder=partial(IodineDecoder, position=FourierPosition),
        likelihood=partial(MixtureLikelihood, scale=0.2),
        geco=Geco(target=-1.2, alpha=0.9),
        kl_weight=0.5,
    )


def baseline():
    return SlotAttention(num_slots=2, slot_dim=8, feature_dim=8, position=FourierPosition, decoder=IodineDecoder)


class Extended(EfficientMORL):
    """A model with an additional argument before those that it passes on."""

    def __init__(self, extra: int = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.extra = extra


def extended():
    return Extended(3, num_slots=5, slot_dim=8, feature_dim=8, likelihood=partial(MixtureLikelihood, scale=0.2))


BUILDERS = [default, other_parts, baseline, extended]
MODELS = pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)


def rebuild(model):
    """Build again from a description that has been through a file."""
    description = json.loads(json.dumps(describe(model)))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=type(model))
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    return instantiate(parser.parse_object({"network": description})).network


def assert_twins(model, twin):
    """Check that two models are the same function of weights, images and noise."""
    assert type(twin) is type(model)
    twin.load_state_dict(model.state_dict())
    model, twin = model.double(), twin.double()
    with torch.no_grad():
        expected, result = (m(images(), noise=named_noise()) for m in (model, twin))
    assert_same(result, expected, rtol=0, atol=0)
    assert twin.num_slots == model.num_slots


@MODELS
def test_a_configuration_rebuilds_the_model(build):
    model = build()
    twin = rebuild(model)
    assert [(n, p.shape) for n, p in twin.state_dict().items()] == [(n, p.shape) for n, p in model.state_dict().items()]
    assert_twins(model, twin)


def test_a_configuration_keeps_the_objective():
    twin = rebuild(other_parts())
    assert (twin.objective.kl_weight, twin.objective.geco.target, twin.objective.geco.alpha) == (0.5, -1.2, 0.9)
    assert twin.likelihood.scale == 0.2
    assert rebuild(default()).objective.geco is None


@MODELS
def test_a_rebuilt_model_can_be_described_again(build):
    once = rebuild(build())
    assert_twins(once, rebuild(once))


def test_describes_what_was_asked_for():
    assert describe(default()) == {"class_path": "emorl.model.EfficientMORL", "init_args": {}}
    arguments = describe(other_parts())["init_args"]
    assert arguments["num_slots"] == 5
    assert arguments["cell"] == {"class_path": "emorl.model.PlainGRU", "init_args": {}}
    assert arguments["geco"] == {"class_path": "emorl.model.Geco", "init_args": {"target": -1.2, "alpha": 0.9}}
    assert arguments["decoder"]["init_args"]["position"]["class_path"] == "emorl.model.FourierPosition"


def test_describes_a_builder_with_arguments_by_position():
    model = EfficientMORL(likelihood=partial(GaussianLikelihood, 0.2))
    assert rebuild(model).likelihood.scale == model.likelihood.scale == 0.2


@MODELS
def test_a_deep_copy_is_a_model_of_its_own(build):
    model = build()
    twin = copy.deepcopy(model)
    assert describe(twin) == describe(model)
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert not torch.equal(next(twin.parameters()), next(model.parameters()))
    assert_twins(model, twin)


def test_a_deep_copy_has_its_own_geco():
    model = other_parts()
    twin = copy.deepcopy(model)
    twin.objective.geco.zeta.fill_(3.0)
    assert model.objective.geco.zeta.item() == pytest.approx(0.55)


@MODELS
def test_survives_pickling(build):
    model = build()
    twin = pickle.loads(pickle.dumps(model))
    assert describe(twin) == describe(model)
    assert_twins(model, twin)


def test_survives_torch_save():
    model, file = other_parts(), io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    twin = torch.load(file, weights_only=False)
    assert describe(twin) == describe(model)
    assert_twins(model, twin)


def test_the_description_is_not_part_of_the_weights():
    assert not any("_arguments" in name for name in other_parts().state_dict())


def decoder(slot_dim):
    return IodineDecoder(slot_dim, FourierPosition)


@pytest.mark.parametrize("part", [decoder, partial(decoder), lambda slot_dim: decoder(slot_dim)])
def test_what_a_function_builds_is_refused(part):
    with pytest.raises(TypeError, match=r"Expected a class or a functools\.partial of one, got .*decoder|lambda"):
        describe(EfficientMORL(decoder=part))


def test_a_module_that_cannot_be_described_is_told_in_one_line():
    with pytest.raises(TypeError, match=r"^Expected [^\n]*, got an object of Sequential, [^\n]*$"):
        describe(torch.nn.Sequential(torch.nn.Linear(8, 8)))
