"""Disentanglement, completeness and informativeness, on codes with known values."""

import numpy as np
import pytest
from codes import BASELINE, DIM, FACTORS, perfect, rotated, unrelated

from emorl.evaluation.representation.dci import DCI, dci, importance_figure, importance_table, scores_table


@pytest.fixture(scope="module")
def results():
    return {code.__name__: dci(FACTORS, *code()) for code in (perfect, rotated, unrelated)}


def of(importance):
    importance = np.array(importance, dtype=float)
    return DCI(importance, np.zeros(importance.shape[1]))


def test_a_perfect_code(results):
    result = results["perfect"]
    assert result.disentanglement > 0.97
    assert (result.completeness > 0.97).all()
    assert (result.informativeness > 0.97).all()
    assert result.importance.argmax(axis=0).tolist() == [0, 1, 2, 3]


def test_a_rotated_code_is_as_informative_but_neither_disentangled_nor_complete(results):
    """Each of four dimensions predicts two of four factors; each factor is predicted by two of six dimensions."""
    result = results["rotated"]
    assert result.disentanglement == pytest.approx(1 - np.log(2) / np.log(4), abs=0.15)
    assert result.completeness == pytest.approx(1 - np.log(2) / np.log(6), abs=0.15)
    assert (result.informativeness > 0.9).all()


def test_an_uninformative_code(results):
    result = results["unrelated"]
    assert result.disentanglement < 0.1
    assert result.completeness.mean() < 0.1
    assert (result.informativeness < np.array(BASELINE) + 0.1).all()
    assert (result.informativeness > -0.5).all()


def test_importances_sum_to_one_for_every_factor(results):
    for result in results.values():
        assert result.importance.shape == (DIM, len(FACTORS))
        assert result.importance.sum(axis=0) == pytest.approx(1)
        assert result.importance.min() >= 0
        assert result.weight.sum() == pytest.approx(1)


def test_disentanglement_and_completeness_by_hand():
    """P = [[2/3, 1/3], [0, 1]] with the weights 3/4 and 1/4; the columns are (1, 0, 0) and (1/2, 1/2, 0)."""
    result = of([[1, 0.5], [0, 0.5], [0, 0]])
    entropy = -(2 / 3) * np.log2(2 / 3) - (1 / 3) * np.log2(1 / 3)
    assert result.dimension_disentanglement == pytest.approx([1 - entropy, 1, 0])
    assert result.weight == pytest.approx([0.75, 0.25, 0])
    assert result.disentanglement == pytest.approx(0.75 * (1 - entropy) + 0.25)
    assert result.completeness == pytest.approx([1, 1 - np.log(2) / np.log(3)])


def test_extremes():
    one_to_one, spread = of(np.eye(5)[:, :3]), of(np.full((5, 3), 0.2))
    assert (one_to_one.disentanglement, one_to_one.completeness.tolist()) == (1, [1, 1, 1])
    assert spread.disentanglement == pytest.approx(0, abs=1e-12)
    assert spread.completeness == pytest.approx(0, abs=1e-12)
    shared = of([[1, 1, 1], [0, 0, 0]])  # one dimension predicts all factors
    assert shared.disentanglement == pytest.approx(0, abs=1e-12)
    assert shared.completeness.tolist() == [1, 1, 1]


def test_a_single_factor_and_trees_without_splits():
    assert np.isnan(of([[0.5], [0.5]]).disentanglement)
    nothing = of(np.zeros((2, 2)))
    assert (nothing.disentanglement, nothing.completeness.tolist()) == (0, [0, 0])


def test_no_factor_outweighs_the_others_in_the_mean():
    table = scores_table(FACTORS, DCI(np.eye(4), np.array([-1800.0, 1, 1, 1])), np.array([-0.1, 0, 0.5, 0.5]))
    assert table[0]["informativeness"] == -1800
    assert (table[-1]["informativeness"], table[-1]["baseline"]) == (0.75, 0.25)


def test_tables(results):
    result = results["perfect"]
    rows = scores_table(FACTORS, result, np.array(BASELINE))
    assert [row["factor"] for row in rows] == ["x", "y", "shape", "color", "all"]
    assert rows[-1]["disentanglement"] == result.disentanglement
    assert rows[-1]["informativeness"] == pytest.approx(np.mean([row["informativeness"] for row in rows[:-1]]))
    first = importance_table(FACTORS, result)[0]
    assert list(first) == ["dimension", "disentanglement", "weight", "x", "y", "shape", "color"]
    assert (first["dimension"], first["x"]) == (0, result.importance[0, 0])


def test_figure(results):
    axes = importance_figure(FACTORS, results["perfect"]).axes[0]
    assert axes.images[0].get_array().shape == (len(FACTORS), DIM)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y", "shape", "color"]
