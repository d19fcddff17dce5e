"""Shapes alone, without values: on ``meta`` and under FakeTensorMode every model infers and trains."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import tiny
from emorl.model import Geco, ImageNoise, gaussian_noise

CASES = [  # kind of model, steps, noise
    ("efficient_morl", 0, ImageNoise(torch.arange(3))),
    ("efficient_morl", 2, gaussian_noise),
    ("slot_attention", 2, gaussian_noise),
    ("iodine", 2, ImageNoise(torch.arange(3))),
]


def check(network, steps, image, noise):
    """Train and infer, and compare all shapes with those of the arguments."""
    batch, _, height, width = image.shape
    inference = network(image, steps, noise=noise)
    inference.loss.backward()
    network.end_step()
    assert all(p.grad.shape == p.shape for p in network.parameters() if p.grad is not None)
    assert sum(p.grad is not None for p in network.parameters()) > 10
    network.eval()
    with torch.inference_mode():
        inferred = network(image, steps, noise=noise)
    for stage in (*inference.stages, *inferred.stages):
        assert stage.slots.shape == (batch, 4, 8)
        assert stage.components.masks.shape == (batch, 4, 1, height, width)
        assert stage.components.reconstruction.shape == image.shape
    found = network.reconstruct((255 * image).byte(), steps, num_slots=5)
    assert found.masks.shape == (batch, 5, 1, height, width)
    assert {found.slots.device, inference.loss.device} == {image.device}


def build(name):
    return tiny.FAMILY[name](**{"geco": Geco(-1.0, warm_start=0)} if name == "efficient_morl" else {})


@pytest.mark.parametrize(("name", "steps", "noise"), CASES)
def test_on_meta(name, steps, noise):
    check(build(name).to("meta"), steps, torch.rand(3, 3, 12, 15, device="meta"), noise)


@pytest.mark.parametrize("name", tiny.FAMILY)
def test_without_values_from_the_start(name):
    with FakeTensorMode():
        assert tiny.FAMILY[name]().encode(torch.rand(2, 3, 16, 16)).slots.shape[0] == 2


@pytest.mark.skipif(torch.__version__ < "2.8", reason="torch 2.7 does not convert modules to fake tensors")
@pytest.mark.parametrize(("name", "steps", "noise"), CASES)
def test_without_values(name, steps, noise):
    mode, network = FakeTensorMode(), build(name)
    network._apply(mode.from_tensor)
    with mode:
        check(network, steps, torch.rand(3, 3, 12, 15), noise)
