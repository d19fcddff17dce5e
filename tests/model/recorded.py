"""Compares recorded programs of a small model with the model.

``python recorded.py WAY DRAWS [WAY DRAWS ...]`` does it without pytest, whose checks of shapes dynamo cannot trace.
"""

import copy
import sys
import warnings

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, export
from torch.fx.experimental.proxy_tensor import make_fx

import tiny


class Reconstruct(nn.Module):
    """One method as a module, which most ways want."""

    def __init__(self, model, draws=1):
        super().__init__()
        self.model = model
        self.draws = draws

    def forward(self, images):
        """Return plain tensors."""
        return tuple(self.model.reconstruct(images, draws=self.draws))


def exported(program, images, strict):
    """Return the exported program, which takes any batch."""
    return export(program, (images,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=strict).module()


WAYS = {
    "export": lambda program, images: exported(program, images, strict=False),
    "strict export": lambda program, images: exported(program, images, strict=True),
    "jit": lambda program, images: torch.jit.trace(program, (images,)),
    "compile": lambda program, _: torch.compile(program, backend="eager", fullgraph=True),
    "make_fx": lambda program, images: make_fx(program, tracing_mode="symbolic", _allow_non_fake_inputs=True)(images),
}


def shapes(found):
    """Return the shapes of some tensors."""
    return [tuple(tensor.shape) for tensor in found]


def compare_numbers_of_slots():
    """Export small models of one slot, and of several that work on groups of images."""
    images = torch.rand(3, 3, 12, 12)
    for num_slots, decode_chunk in ((1, None), (4, 2)):
        program = Reconstruct(tiny.network(num_slots=num_slots, decode_chunk=decode_chunk).eval())
        recorded = exported(program, images[:2], strict=False)
        with torch.no_grad():
            compare(recorded(images), program(images))


def compare(found, expected):
    """Compare tuples of tensors."""
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def small(draws=1):
    """Return the program of a model of two layers, three images, and what it gives for one, two and three of them."""
    program = Reconstruct(tiny.lively(tiny.network(num_layers=2)).eval(), draws)
    images = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return program, images, {batch: program(images[:batch]) for batch in (1, 2, 3)}


def compare_way(way, draws):
    """Record two images, and compare the program on other batches."""
    program, images, expected = small(draws)
    recorded = WAYS[way](program, images[:2])  # with gradients enabled, as a user may well leave them
    for batch in (2, 3, 1, 3):
        with torch.no_grad():
            compare(recorded(images[:batch]), expected[batch])


def compare_shapes():
    """Run the model on tensors without data."""
    program, images, expected = small()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad():
        with mode:
            assert shapes(program(mode.from_tensor(images))) == shapes(expected[3])
        assert shapes(copy.deepcopy(program).to("meta")(images.to("meta"))) == shapes(expected[3])


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # torch's own, of deprecated ways and of shapes compared while they are traced
    for way, draws in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        compare_way(way, int(draws))
