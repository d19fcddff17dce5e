r"""Disentanglement, completeness and informativeness of object codes (DCI).

Eastwood and Williams, "A framework for the quantitative evaluation of disentangled representations", ICLR 2018. For
each of F factors, gradient-boosted trees are fitted from the D latent dimensions. Their importances, the shares of the
decrease of impurity that scikit-learn reports, make the matrix $R$ of D rows and F columns, whose columns sum to one:

$$ D_i = 1 - H_F(P_{i\cdot}), \quad P_{ij} = R_{ij} / \sum_k R_{ik}, \quad
   D = \sum_i \rho_i D_i, \quad \rho_i = \sum_j R_{ij} / \sum_{kj} R_{kj} $$
$$ C_j = 1 - H_D(\tilde P_{\cdot j}), \quad \tilde P_{ij} = R_{ij} / \sum_k R_{kj}, \quad C = \frac{1}{F} \sum_j C_j $$

with $H_n$ the entropy to the base n: a dimension is disentangled if it serves one factor, a factor is complete if one
dimension serves it. Informativeness is how well the trees predict the factors of objects that they have not seen:
accuracy for a discrete factor, R^2 for a continuous one, and their mean, in which an R^2 below 0 counts as 0. A code
that knows nothing scores the accuracy of the most frequent class, and 0 or, since trees also fit to chance, a little
less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure
from scipy.special import entr  # type: ignore[import-untyped]

from emorl.data.records import Factor
from emorl.evaluation.representation.matching import Codes
from emorl.evaluation.representation.probe import MEASURES, score, train

_TINY = float(np.finfo(float).tiny)


class DCI(NamedTuple):
    """The three scores and what they are made of."""

    importance: Float64[np.ndarray, "dim factors"]  # R: columns sum to one, or are zero if the trees found nothing
    informativeness: Float64[np.ndarray, " factors"]

    @property
    def dimension_disentanglement(self) -> Float64[np.ndarray, " dim"]:
        """D_i, 0 to 1; 0 for a dimension that serves no factor."""
        return _concentration(self.importance)

    @property
    def weight(self) -> Float64[np.ndarray, " dim"]:
        """rho_i: they sum to one."""
        weight: Float64[np.ndarray, " dim"] = self.importance.sum(axis=1) / max(self.importance.sum(), _TINY)
        return weight

    @property
    def disentanglement(self) -> float:
        """D, 0 to 1; NaN for a single factor, from which no dimension can be told to serve another one."""
        if self.importance.shape[1] == 1:
            return float("nan")
        return float(self.weight @ self.dimension_disentanglement)

    @property
    def completeness(self) -> Float64[np.ndarray, " factors"]:
        """C_j, 0 to 1; 0 for a factor that no dimension serves."""
        return _concentration(self.importance.T)


def dci(factors: Sequence[Factor], fitted: Codes, scored: Codes) -> DCI:
    """Fit trees to each factor, see the module, and score them on other objects.

    Args:
        factors: the factors, one for each column of the values.
        fitted: objects to fit to. Every factor has more than one value among them.
        scored: objects to score on, at least two, of other scenes.
    """
    estimators = train("trees", factors, fitted)
    importance = np.stack([estimator.feature_importances_ for estimator in estimators], axis=1)
    importance = np.maximum(importance, 0)  # rounding leaves some at -1e-18
    return DCI(importance, score(estimators, factors, scored))


def scores_table(
    factors: Sequence[Factor], result: DCI, baseline: Float64[np.ndarray, " factors"]
) -> list[dict[str, object]]:
    """Return a row for each factor and a last one for all: disentanglement, and the means of the others."""
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
    """Return a row for each latent dimension: D_i, rho_i and its row of R."""
    columns = ("dimension", "disentanglement", "weight", *(factor.name for factor in factors))
    rows = zip(result.dimension_disentanglement, result.weight, *result.importance.T, strict=True)
    return [dict(zip(columns, (i, *map(float, row)), strict=True)) for i, row in enumerate(rows)]


def importance_figure(factors: Sequence[Factor], result: DCI) -> Figure:
    """Draw R: a row for each factor, a column for each latent dimension."""
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
    """Return 1 - H of each row, the entropy's base being the number of columns; a single column is no spread."""
    total = shares.sum(axis=1)
    entropy = entr(shares / np.where(total > 0, total, 1)[:, None]).sum(axis=1) / np.log(max(shares.shape[1], 2))
    concentration: Float64[np.ndarray, " rows"] = np.where(total > 0, 1 - entropy, 0.0)
    return concentration
