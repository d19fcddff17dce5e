"""Probes that predict factors from slots."""

import numpy as np
import pytest
from codes import BASELINE, FACTORS, perfect, rotated, unrelated

from emorl.data.records import Factor
from emorl.evaluation.representation.matching import Codes
from emorl.evaluation.representation.probe import PROBES, probe, probe_table, train


@pytest.mark.parametrize("predictor", ["linear", "mlp"])
@pytest.mark.parametrize("code", [perfect, rotated])
def test_probes_predict_factors_of_a_rotated_code(predictor, code):
    assert probe(predictor, FACTORS[:2], *_columns(code(), [0, 1])) == pytest.approx([1, 1], abs=0.06)


def test_only_the_mlp_predicts_nonlinear_factors():
    """The label is which two of the quadrants the first two dimensions are in (exclusive or)."""
    halves = [Codes(half.code, _xor(half.code)) for half in unrelated(800)]
    factor = (Factor("same", "discrete", ("no", "yes")),)
    assert probe("linear", factor, *halves)[0] < 0.65
    assert probe("mlp", factor, *halves)[0] > 0.85


@pytest.mark.parametrize("predictor", ["linear", "mlp"])
def test_an_uninformative_code_does_not_beat_the_baseline(predictor):
    assert (probe(predictor, FACTORS, *unrelated()) < np.array(BASELINE) + 0.1).all()


def test_the_baseline_is_the_mean_and_the_most_frequent_class():
    assert probe("baseline", FACTORS, *perfect()) == pytest.approx(BASELINE, abs=0.1)
    values = np.array([[1.0, 2.0], [1.0, 4.0], [0.0, 6.0]])
    both = Codes(np.zeros((3, 1)), values)
    factors = (Factor("shape", "discrete", ("a", "b")), Factor("x", "continuous"))
    assert probe("baseline", factors, both, both) == pytest.approx([2 / 3, 0])


def test_scores_are_of_the_objects_that_were_not_fitted_to():
    """The codes of the scored objects are exchanged, so that a good fit scores badly."""
    fitted, scored = perfect()
    wrong = Codes(scored.code[::-1], scored.value)
    assert (probe("linear", FACTORS[:2], *_columns((fitted, wrong), [0, 1])) < 0).all()


def test_fits_are_independent():
    """Predictors are reused, but each fit starts from scratch."""
    fitted, scored = perfect(100)
    first, *_ = train("mlp", FACTORS, fitted)
    before = first.predict(scored.code)
    train("mlp", FACTORS, unrelated(100).fitted)
    np.testing.assert_array_equal(first.predict(scored.code), before)


def test_table():
    scores = {name: np.array([0.1, 0.2, 0.3, 0.4]) + n for n, name in enumerate(PROBES)}
    rows = probe_table(FACTORS, scores)
    assert rows[1] == {"factor": "y", "kind": "continuous", "measure": "R2", "baseline": 0.2, "linear": 1.2, "mlp": 2.2}
    assert [row["measure"] for row in rows] == ["R2", "R2", "accuracy", "accuracy"]


def _columns(halves, columns):
    return [Codes(half.code, half.value[:, columns]) for half in halves]


def _xor(code):
    return (code[:, 0] * code[:, 1] > 0).astype(float)[:, None]
