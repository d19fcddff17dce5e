"""Objects with known factors, and codes with known scores."""

from typing import NamedTuple

import numpy as np

from emorl.data.records import Factor
from emorl.evaluation.representation.matching import Codes

FACTORS = (
    Factor("x", "continuous"),
    Factor("y", "continuous"),
    Factor("shape", "discrete", ("square", "ellipse", "heart")),
    Factor("color", "discrete", ("red", "green")),
)
DIM = 6
BASELINE = (0, 0, 1 / 3, 1 / 2)  # R2 of the mean, accuracy of the most frequent class


class Halves(NamedTuple):
    fitted: Codes
    scored: Codes


def perfect(count=300):
    """Dimension j is factor j; the others are small noise."""
    generator, values = np.random.default_rng(0), _values(count)
    noise = generator.normal(scale=0.1, size=(count, DIM - len(FACTORS)))
    return _halves(np.concatenate(((values - values.mean(0)) / values.std(0), noise), axis=1), values)


def rotated(count=300):
    """The perfect code, its first two and its next two dimensions rotated by 45 degrees: each predicts two factors."""
    rotation = np.eye(DIM)
    rotation[:2, :2] = rotation[2:4, 2:4] = np.array([[1, -1], [1, 1]]) / 2**0.5
    return Halves(*(Codes(half.code @ rotation, half.value) for half in perfect(count)))


def unrelated(count=300):
    """A code that is independent of the object."""
    return _halves(np.random.default_rng(2).normal(size=(count, DIM)), _values(count))


def _values(count):
    generator = np.random.default_rng(3)
    classes = [generator.integers(0, len(factor.classes), count) for factor in FACTORS if factor.classes]
    return np.stack((*generator.random((2, count)), *classes), axis=1).astype(float)


def _halves(code, values):
    half = len(code) // 2
    return Halves(Codes(code[:half], values[:half]), Codes(code[half:], values[half:]))
