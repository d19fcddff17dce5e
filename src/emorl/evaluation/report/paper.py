"""The paper's scores, for comparison with those of a model."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """Foreground ARI x 100 on a data set (table 1 of the paper).

    >>> published("clevr", "standard", objects=6).scores["IODINE"]
    (98.8, 0.0)
    """

    title: str  # the paper's name of the data set
    steps: int  # I at test of EfficientMORL
    scores: dict[str, tuple[float, float]]  # mean and standard deviation over five seeds


_TETROMINOES = Published(
    "Tetrominoes", 3, {"EfficientMORL": (98.2, 1.8), "Slot Attention": (99.5, 0.2), "IODINE": (99.2, 0.4)}
)
_MULTI_DSPRITES = Published(
    "Multi-dSprites",
    1,
    {"EfficientMORL": (91.2, 0.4), "Slot Attention": (91.3, 0.3), "IODINE": (76.7, 5.6), "MONet": (90.4, 0.8)},
)
_CLEVR6 = Published(
    "CLEVR6",
    1,
    {"EfficientMORL": (96.2, 1.6), "Slot Attention": (98.8, 0.3), "IODINE": (98.8, 0.0), "MONet": (96.2, 0.6)},
)


def published(dataset: str, variant: str, objects: int) -> Published | None:
    """Return the paper's scores on a data set, or None if it reports none.

    Args:
        dataset: name in the manifest.
        variant: variant in the manifest.
        objects: maximum number of objects in the manifest; CLEVR6 is CLEVR with at most six.

    >>> published("clevr", "standard", objects=10) is None
    True
    """
    return {
        ("clevr", "standard"): _CLEVR6 if objects <= 6 else None,
        ("tetrominoes", "standard"): _TETROMINOES,
        ("multi_dsprites", "colored_on_grayscale"): _MULTI_DSPRITES,
    }.get((dataset, variant))
