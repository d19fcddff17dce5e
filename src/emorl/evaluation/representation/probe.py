"""Property probes: predictors from an object's code to its factors, scored on held-out objects.

A discrete factor is classified and scored by accuracy, a continuous one regressed and scored by R^2: 1 is perfect, 0 is
the score of predicting the mean, and worse predictions are negative.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from sklearn.base import clone  # type: ignore[import-untyped]
from sklearn.compose import TransformedTargetRegressor  # type: ignore[import-untyped]
from sklearn.dummy import DummyClassifier, DummyRegressor  # type: ignore[import-untyped]
from sklearn.ensemble import (  # type: ignore[import-untyped]
    GradientBoostingClassifier,
    GradientBoostingRegressor,
)
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression, Ridge  # type: ignore[import-untyped]
from sklearn.metrics import accuracy_score, r2_score  # type: ignore[import-untyped]
from sklearn.neural_network import MLPClassifier, MLPRegressor  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.data.records import Factor
from emorl.evaluation.representation.matching import Codes
from emorl.figures import Figure

Predictor = Literal["baseline", "linear", "mlp", "trees"]
PROBES: tuple[Predictor, ...] = ("baseline", "linear", "mlp")
MEASURES = {"discrete": "accuracy", "continuous": "R2"}

_SCORES = {"discrete": accuracy_score, "continuous": r2_score}

# One hidden layer of 100 units; strong weight decay, since there are often only a few hundred objects.
_MLP: dict[str, Any] = {"alpha": 1.0, "learning_rate_init": 3e-3, "max_iter": 500, "random_state": 0}
_PREDICTORS: dict[Predictor, dict[str, Any]] = {
    "baseline": {"discrete": DummyClassifier(strategy="most_frequent"), "continuous": DummyRegressor(strategy="mean")},
    "linear": {
        "discrete": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "continuous": make_pipeline(StandardScaler(), Ridge()),
    },
    "mlp": {
        "discrete": make_pipeline(StandardScaler(), MLPClassifier(**_MLP)),
        "continuous": make_pipeline(
            StandardScaler(), TransformedTargetRegressor(MLPRegressor(**_MLP), transformer=StandardScaler())
        ),
    },
    "trees": {  # 100 stages of depth 3, scikit-learn's defaults
        "discrete": GradientBoostingClassifier(random_state=0),
        "continuous": GradientBoostingRegressor(random_state=0),
    },
}


def train(predictor: Predictor, factors: Sequence[Factor], codes: Codes) -> list[Any]:
    """Fit a predictor to each factor, and return scikit-learn's estimators.

    Args:
        predictor: ``baseline``, the most frequent class or the mean; ``linear``, logistic or ridge regression; ``mlp``,
            one hidden layer; ``trees``, gradient boosting.
        factors: the factors, one for each column of the values.
        codes: the objects; every factor must vary among them.

    >>> code = np.random.default_rng(0).normal(size=(50, 3))
    >>> len(train("linear", [Factor("x", "continuous")], Codes(code, code[:, :1])))
    1
    """
    estimators = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the fixed number of iterations suffices for a probe
        for factor, value in zip(
            tqdm(factors, desc=predictor, unit="factor", disable=None), codes.value.T, strict=True
        ):
            estimators.append(clone(_PREDICTORS[predictor][factor.kind]).fit(codes.code, value))
    return estimators


def score(estimators: Sequence[Any], factors: Sequence[Factor], codes: Codes) -> Float64[np.ndarray, " factors"]:
    """Return the accuracy, 0 to 1, of each discrete factor and R^2, at most 1, of each continuous one.

    Args:
        estimators: what `train` returned.
        factors: the factors, one for each column of the values.
        codes: objects, at least two, of other scenes than the fitted ones.

    >>> code = np.random.default_rng(0).normal(size=(50, 3))
    >>> codes, factors = Codes(code, code[:, :1]), [Factor("x", "continuous")]
    >>> score(train("linear", factors, codes), factors, codes).round(2)
    array([1.])
    """
    columns = zip(estimators, factors, codes.value.T, strict=True)
    return np.array(
        [_SCORES[factor.kind](value, estimator.predict(codes.code)) for estimator, factor, value in columns]
    )


def probe(
    predictor: Predictor, factors: Sequence[Factor], fitted: Codes, scored: Codes
) -> Float64[np.ndarray, " factors"]:
    """Fit a predictor to each factor and score it on held-out objects; see `train` and `score`.

    Returns:
        R^2 of each continuous factor, accuracy of each categorical one.

    >>> code = np.random.default_rng(0).normal(size=(50, 3))
    >>> codes = Codes(code, code[:, :1])
    >>> probe("baseline", [Factor("x", "continuous")], codes, codes).round(2)
    array([0.])
    """
    return score(train(predictor, factors, fitted), factors, scored)


def probe_table(
    factors: Sequence[Factor], scores: Mapping[Predictor, Float64[np.ndarray, " factors"]]
) -> list[dict[str, object]]:
    """Return a row for each factor: its measure, and the score of every predictor.

    >>> probe_table([Factor("x", "continuous")], {"linear": np.array([0.9])})
    [{'factor': 'x', 'kind': 'continuous', 'measure': 'R2', 'linear': 0.9}]
    """
    return [
        {"factor": factor.name, "kind": factor.kind, "measure": MEASURES[factor.kind]}
        | {name: float(values[column]) for name, values in scores.items()}
        for column, factor in enumerate(factors)
    ]


def probe_figure(factors: Sequence[Factor], scores: Mapping[Predictor, Float64[np.ndarray, " factors"]]) -> Figure:
    """Draw a bar for each factor and predictor; a negative R^2 is drawn as 0.

    Returns:
        The figure.

    >>> probe_figure([Factor("x", "continuous")], {"linear": np.array([0.9])}).axes[0].get_ylabel()
    'score'
    """
    figure = Figure(figsize=(2 + 0.7 * len(factors), 3), layout="constrained")
    axes, width = figure.add_subplot(), 0.8 / len(scores)
    for number, (name, values) in enumerate(scores.items()):
        axes.bar(np.arange(len(factors)) + number * width, np.maximum(values, 0), width, label=name)
    names = [f"{factor.name}\n{MEASURES[factor.kind]}" for factor in factors]
    axes.set_xticks(np.arange(len(factors)) + 0.4 - width / 2, names)
    axes.set(ylim=(0, 1), ylabel="score")
    axes.legend()
    return figure
