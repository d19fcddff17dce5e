"""Tiny models, images and noise for the tests of the model."""

import zlib

import torch

from emorl.model import EfficientMORL
from emorl.testing import tensors


def enliven(module):
    """Fill with weights large enough that every part of the model matters, in float64."""
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_((parameter if parameter.ndim == 1 else 0) + spread * torch.randn_like(parameter))
    return module


def tiny_model(seed=0, **arguments):
    """Build an enlivened EfficientMORL of K 3, D 8, F 8, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return enliven(EfficientMORL(**{"num_slots": 3, "slot_dim": 8, "feature_dim": 8} | arguments)).eval()


def images(batch=2, height=12, width=12, seed=1):
    """Return random images in [0, 1], float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)


def named_noise(seed=0):
    """Return noise that is a function of the name and the shape alone."""

    def draw(name, like):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)

    return draw


class Recorder:
    """Noise that keeps what another noise drew, by name, in the order of the calls."""

    def __init__(self, noise):
        self.noise = noise
        self.draws = {}

    def __call__(self, name, like):
        assert name not in self.draws, f"{name} is drawn twice"
        self.draws[name] = self.noise(name, like)
        return self.draws[name]

    def replay(self, name, like):
        return self.draws[name]


def assert_same(ours, theirs, **tolerance):
    """Compare two nested results tensor by tensor."""
    for a, b in zip(tensors(ours), tensors(theirs), strict=True):
        torch.testing.assert_close(a, b, **tolerance)
