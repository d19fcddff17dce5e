"""What can be read off a slot: predictors from an object's code to its factors, scored on objects not fitted to.

A discrete factor is classified and scored by accuracy; of a continuous one, R^2 says which share of its variance is
predicted: 1 at best, 0 for the mean, negative if worse than that.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure
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

Predictor = Literal["baseline", "linear", "mlp", "trees"]
PROBES: tuple[Predictor, ...] = ("baseline", "linear", "mlp")
MEASURES = {"discrete": "accuracy", "continuous": "R2"}

_SCORES = {"discrete": accuracy_score, "continuous": r2_score}

# One hidden layer of 100; strong weight decay, since there are often no more than a few hundred objects.
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
    "trees": {  # 100 stages of depth 3, as scikit-learn has them
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
        codes: the objects. Every factor has more than one value among them.
    """
    estimators = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed budget makes as good a probe
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
        codes: objects, at least two, of other scenes than those that were fitted to.
    """
    columns = zip(estimators, factors, codes.value.T, strict=True)
    return np.array(
        [_SCORES[factor.kind](value, estimator.predict(codes.code)) for estimator, factor, value in columns]
    )


def probe(
    predictor: Predictor, factors: Sequence[Factor], fitted: Codes, scored: Codes
) -> Float64[np.ndarray, " factors"]:
    """Fit a predictor to each factor and score it on other objects; see `train` and `score`."""
    return score(train(predictor, factors, fitted), factors, scored)


def probe_table(
    factors: Sequence[Factor], scores: Mapping[Predictor, Float64[np.ndarray, " factors"]]
) -> list[dict[str, object]]:
    """Return a row for each factor: how it is measured, and the score of every predictor."""
    return [
        {"factor": factor.name, "kind": factor.kind, "measure": MEASURES[factor.kind]}
        | {name: float(values[column]) for name, values in scores.items()}
        for column, factor in enumerate(factors)
    ]


def probe_figure(factors: Sequence[Factor], scores: Mapping[Predictor, Float64[np.ndarray, " factors"]]) -> Figure:
    """Draw a bar for each factor and predictor; an R^2 below 0 is drawn as 0."""
    figure = Figure(figsize=(2 + 0.7 * len(factors), 3), layout="constrained")
    axes, width = figure.add_subplot(), 0.8 / len(scores)
    for number, (name, values) in enumerate(scores.items()):
        axes.bar(np.arange(len(factors)) + number * width, np.maximum(values, 0), width, label=name)
    names = [f"{factor.name}\n{MEASURES[factor.kind]}" for factor in factors]
    axes.set_xticks(np.arange(len(factors)) + 0.4 - width / 2, names)
    axes.set(ylim=(0, 1), ylabel="score")
    axes.legend()
    return figure
