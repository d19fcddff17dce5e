"""Label maps for tests of segmentation scores: random ones, and ones with missing or tied labels."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

HALVES = [[1, 1, 2, 2], [1, 1, 2, 2]]
ONES = [[1, 1, 1, 1], [1, 1, 1, 1]]
SINGLES = [[1, 2, 3, 4], [5, 6, 7, 8]]
ONE_PIXEL = [[0, 0, 0, 0], [0, 0, 3, 0]]
TWO_PIXELS = [[0, 0, 0, 0], [0, 3, 4, 0]]
EMPTY = [[0, 0, 0, 0], [0, 0, 0, 0]]
CORNER = [[0, 0, 0, 0], [0, 0, 0, 1]]
TIED = [[1, 2, 1, 2], [1, 2, 1, 2]]
DEGENERATE = (HALVES, ONES, SINGLES, ONE_PIXEL, TWO_PIXELS, EMPTY, CORNER, TIED)


@st.composite
def segmentations(draw, most=5):
    """Draw predicted and true label maps (B, H, W), with at most so many labels besides 0, some of them large."""
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=6))
    labels = [0, *draw(st.lists(st.integers(0, 2**62), min_size=1, max_size=most))]
    maps = arrays(np.int64, shape, elements=st.sampled_from(labels))
    return torch.from_numpy(draw(maps)), torch.from_numpy(draw(maps))


def whole_images(size=96):
    """Return predicted and true label maps that agree wholly, nearly, partly and not at all."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(0, 7, (4, size, size), generator=generator)
    noise = torch.rand(true.shape, generator=generator) < torch.tensor([0.0, 1e-4, 0.3, 1.0])[:, None, None]
    return torch.where(noise, torch.randint(0, 9, true.shape, generator=generator), 6 - true), true
