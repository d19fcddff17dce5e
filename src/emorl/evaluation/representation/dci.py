r"""Disentanglement, completeness and informativeness of object codes (DCI).

Eastwood and Williams, "A framework for the quantitative evaluation of disentangled representations", ICLR 2018. For
each of F factors, gradient-boosted trees are fitted to the D latent dimensions. Their feature importances, which are
scikit-learn's normalized decrease of impurity, form the D x F matrix $R$, whose columns sum to one:

$$ D_i = 1 - H_F(P_{i\cdot}), \quad P_{ij} = R_{ij} / \sum_k R_{ik}, \quad
   D = \sum_i \rho_i D_i, \quad \rho_i = \sum_j R_{ij} / \sum_{kj} R_{kj} $$
$$ C_j = 1 - H_D(\tilde P_{\cdot j}), \quad \tilde P_{ij} = R_{ij} / \sum_k R_{kj}, \quad C = \frac{1}{F} \sum_j C_j $$

with $H_n$ the entropy to the base n: a dimension is disentangled if it predicts only one factor, a factor is complete
if only one dimension predicts it. Informativeness is how well the trees predict the factors of held-out objects:
accuracy for a discrete factor, R^2 for a continuous one, and their mean, in which a negative R^2 counts as 0. An
uninformative code scores the accuracy of the most frequent class, and an R^2 of 0 or, since trees overfit, slightly
less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.special import entr  # type: ignore[import-untyped]

from emorl.data.records import Factor
from emorl.evaluation.representation.matching import Codes
from emorl.evaluation.representation.probe import MEASURES, score, train
from emorl.figures import Figure

_TINY = float(np.finfo(float).tiny)


class DCI(NamedTuple):
    """Importances and informativeness, and the scores computed from them.

    >>> result = DCI(importance=np.eye(3)[:, :2], informativeness=np.ones(2))
    >>> result.disentanglement, result.completeness.tolist()
    (1.0, [1.0, 1.0])
    """

    importance: Float64[np.ndarray, "dim factors"]  # R: columns sum to one, or are zero if no tree has a split
    informativeness: Float64[np.ndarray, " factors"]

    @property
    def dimension_disentanglement(self) -> Float64[np.ndarray, " dim"]:
        """D_i, 0 to 1; 0 for a dimension without importance for any factor."""
        return _concentration(self.importance)

    @property
    def weight(self) -> Float64[np.ndarray, " dim"]:
        """rho_i, which sum to one."""
        weight: Float64[np.ndarray, " dim"] = self.importance.sum(axis=1) / max(self.importance.sum(), _TINY)
        return weight

    @property
    def disentanglement(self) -> float:
        """D, 0 to 1; NaN for a single factor, for which it is undefined."""
        if self.importance.shape[1] == 1:
            return float("nan")
        return float(self.weight @ self.dimension_disentanglement)

    @property
    def completeness(self) -> Float64[np.ndarray, " factors"]:
        """C_j, 0 to 1; 0 for a factor that no dimension predicts."""
        return _concentration(self.importance.T)


def dci(factors: Sequence[Factor], fitted: Codes, scored: Codes) -> DCI:
    """Fit trees to each factor, see the module's docstring, and score them on held-out objects.

    Args:
        factors: the factors, one for each column of the values.
        fitted: objects to fit to; every factor must vary among them.
        scored: objects to score on, at least two, of different scenes.

    Returns:
        Scores, and the importance of each dimension for each factor.

    >>> code = np.random.default_rng(0).normal(size=(60, 3))
    >>> codes = Codes(code, code[:, :1])  # the factor is the first dimension
    >>> result = dci([Factor("x", "continuous")], codes, codes)
    >>> int(result.importance.argmax()), bool(result.informativeness[0] > 0.9)
    (0, True)
    """
    estimators = train("trees", factors, fitted)
    importance = np.stack([estimator.feature_importances_ for estimator in estimators], axis=1)
    importance = np.maximum(importance, 0)  # rounding makes some slightly negative
    return DCI(importance, score(estimators, factors, scored))


def scores_table(
    factors: Sequence[Factor], result: DCI, baseline: Float64[np.ndarray, " factors"]
) -> list[dict[str, object]]:
    """Return a row for each factor, and a last one with disentanglement and the means of the other scores.

    >>> rows = scores_table([Factor("x", "continuous")], DCI(np.ones((1, 1)), np.array([0.9])), np.array([-0.1]))
    >>> [row["informativeness"] for row in rows]
    [0.9, 0.9]
    """
    rows: list[dict[str, object]] = [
        {
            "factor": factor.name,
            "kind": factor.kind,
            "measure": MEASURES[factor.kind],
            "disentanglement": None,
            "completeness": float(result.completeness[column]),
            "informativeness": float(result.informativeness[column]),
            "baseline": float(baseline[column]),
        }
        for column, factor in enumerate(factors)
    ]
    total = {
        "factor": "all",
        "disentanglement": result.disentanglement,
        "completeness": float(result.completeness.mean()),
        "informativeness": float(np.maximum(result.informativeness, 0).mean()),
        "baseline": float(np.maximum(baseline, 0).mean()),
    }
    return [*rows, total]


def importance_table(factors: Sequence[Factor], result: DCI) -> list[dict[str, object]]:
    """Return a row for each latent dimension: D_i, rho_i and its row of R.

    >>> importance_table([Factor("x", "continuous")], DCI(np.ones((1, 1)), np.ones(1)))
    [{'dimension': 0, 'disentanglement': 1.0, 'weight': 1.0, 'x': 1.0}]
    """
    columns = ("dimension", "disentanglement", "weight", *(factor.name for factor in factors))
    rows = zip(result.dimension_disentanglement, result.weight, *result.importance.T, strict=True)
    return [dict(zip(columns, (i, *map(float, row)), strict=True)) for i, row in enumerate(rows)]


def importance_figure(factors: Sequence[Factor], result: DCI) -> Figure:
    """Draw R: a row for each factor, a column for each latent dimension.

    Returns:
        The figure.

    >>> figure = importance_figure([Factor("x", "continuous")], DCI(np.ones((1, 1)), np.ones(1)))
    >>> figure.axes[0].get_xlabel()
    'latent dimension'
    """
    figure = Figure(figsize=(2 + 0.16 * len(result.importance), 1.2 + 0.25 * len(factors)), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.imshow(result.importance.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(factors)), [factor.name for factor in factors])
    axes.set_xticks(range(len(result.importance)))
    axes.tick_params(axis="x", labelsize=7, rotation=90)
    axes.set(xlabel="latent dimension")
    figure.colorbar(drawn, label="importance")
    return figure


def _concentration(shares: Float64[np.ndarray, "rows columns"]) -> Float64[np.ndarray, " rows"]:
    """Return 1 - H of each row, where the entropy's base is the number of columns; 1 for a single column."""
    total = shares.sum(axis=1)
    entropy = entr(shares / np.where(total > 0, total, 1)[:, None]).sum(axis=1) / np.log(max(shares.shape[1], 2))
    concentration: Float64[np.ndarray, " rows"] = np.where(total > 0, 1 - entropy, 0.0)
    return concentration
