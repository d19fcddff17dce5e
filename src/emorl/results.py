"""Scores of a test for display and for files: labels, columns by I, JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emorl.metrics import Summary  # its import takes seconds

LABELS = {
    "fg_ari": "FG-ARI",
    "ari": "ARI with background",
    "fg_miou": "mIoU",
    "miou": "mIoU with background",
    "fg_mbo": "mBO",
    "fg_covering": "covering (by area)",
    "active_slots": "active slots",
    "mse": "MSE",
    "squared_error": "squared error (sum)",
    "nll": "NLL (nats per image)",
    "log_likelihood": "log-likelihood",
    "kl": "KL (nats per image)",
}
FOREGROUND = ("fg_ari", "fg_miou", "fg_mbo", "fg_covering")
NEED_TRUTH = (*FOREGROUND, "ari", "miou")  # scores that compare with the true segmentation
WITHOUT_TRUTH = (
    "no scene has a labeled object, so scores that need true masks are omitted: FG-ARI, ARI, mIoU, mBO and covering."
)


def label(name: str) -> str:
    """Return the label of a score by its logged name without the split; names of other values are not changed.

    >>> label("fg_ari"), label("kl_layers/1"), label("attention/fg_ari"), label("fg_ari_change"), label("K")
    ('FG-ARI', 'KL, layer 1', "attention's FG-ARI", 'FG-ARI change', 'K')
    """
    if name.startswith("attention/"):
        return f"attention's {label(name.removeprefix('attention/'))}"
    if name.startswith("kl_layers/"):
        return name.replace("kl_layers/", "KL, layer ")
    longest = max((score for score in LABELS if f"{name}_".startswith(f"{score}_")), key=len, default="")
    return LABELS[longest] + name.removeprefix(longest).replace("_", " ") if longest else name


def rounded(value: float, digits: int = 4) -> str:
    """Return a number as text with ``digits`` significant digits, from 1 on without an exponent.

    >>> rounded(0.123456), rounded(123456.7), rounded(3.3333e-8)
    ('0.1235', '123457', '3.333e-08')
    """
    text = f"{value:.{digits}g}"
    return text if abs(value) < 1 or "e" not in text else f"{value:.0f}"


def with_error(mean: float, error: float | None) -> str:
    """Return a mean with its standard error or deviation, both rounded to two significant digits of the error.

    An undefined error, such as of a single image, is omitted.

    >>> with_error(0.98765, 0.0123), with_error(10021.0, 9312.0), with_error(7.276, 4.7), with_error(0.5, math.nan)
    ('0.988 ± 0.012', '10000 ± 9300', '7.3 ± 4.7', '0.5')
    >>> with_error(4.692e-5, 1.23e-6)
    '4.69e-05 ± 0.12e-05'
    """
    if error is None or math.isnan(error):
        return rounded(mean)
    if not (math.isfinite(mean) and math.isfinite(error) and error > 0):
        return f"{rounded(mean)} ± {rounded(error, 2)}"
    places = 1 - math.floor(math.log10(float(f"{error:.1e}")))  # digits after the decimal point
    if places < 0:
        return f"{round(mean, places):.0f} ± {round(error, places):.0f}"
    exponent = math.floor(math.log10(max(abs(mean), error)))
    if exponent >= -4:
        return f"{mean:.{places}f} ± {error:.{places}f}"
    power, digits = f"e{exponent:+03d}", places + exponent
    return f"{mean / 10**exponent:.{digits}f}{power} ± {error / 10**exponent:.{digits}f}{power}"


def needs_truth(name: str) -> bool:
    """Return whether a score compares with the true segmentation.

    >>> needs_truth("val/zero_step/fg_ari"), needs_truth("val/mse")
    (True, False)
    """
    return name.rpartition("/")[2] in NEED_TRUTH


def to_columns(summary: dict[str, dict[str, Summary]], steps: int) -> dict[int, dict[str, Summary]]:
    """Return the scores by I, with attention and terms at I = 0 if there are slots at I = 0.

    Args:
        summary: the result of `Scores.summary`.
        steps: I of the last stage.

    >>> import torch
    >>> from emorl.metrics import Summary
    >>> score = Summary(torch.tensor(0.5), torch.tensor(0.1), torch.tensor(2))
    >>> sorted(to_columns({"last": {"mse": score}, "zero_step": {"mse": score}, "terms": {"kl": score}}, steps=3))
    [0, 3]
    """
    extra = summary["terms"] | {f"attention/{name}": score for name, score in summary.get("attention", {}).items()}
    if "zero_step" not in summary:
        return {steps: summary["last"] | extra}
    zero_step = {0: summary["zero_step"] | extra}
    return zero_step | {steps: summary["last"]} if steps else zero_step


def to_json(columns: dict[int, dict[str, Summary]]) -> dict[str, Any]:
    """Return the scores by refinement steps and name, as JSON values; an undefined number is null.

    >>> import torch
    >>> from emorl.metrics import Summary
    >>> to_json({3: {"mse": Summary(torch.tensor(0.5), torch.tensor(math.nan), torch.tensor(1))}})
    {'I=3': {'mse': {'mean': 0.5, 'standard_error': None, 'images': 1}}}
    """
    return {
        f"I={steps}": {name: {key: _number(value) for key, value in s._asdict().items()} for name, s in scores.items()}
        for steps, scores in columns.items()
    }


def stage_label(key: str) -> str:
    """Return a key of ``metrics.json`` for display: ``I = 0`` for ``I=0``.

    >>> stage_label("I=0")
    'I = 0'
    """
    return key.replace("=", " = ")


def _number(value: Any) -> float | int | None:
    number = value.item()
    return None if isinstance(number, float) and not math.isfinite(number) else number
