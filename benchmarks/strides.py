"""The speedup of coarser grids in encoder and decoder."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.cases import Step
from benchmarks.measure import interleaved
from emorl.model import SmallDecoder

STRIDES = (1, 1), (2, 1), (1, 4), (2, 2), (2, 4)
"""Strides of encoder and decoder; the first are the authors', the last those of the fast recipes."""


def strides(case: str, batch: int = 16, steps: int = 1, rounds: int = 5) -> dict[str, Any]:
    """Measure a training step in bf16 with `SmallDecoder`; ratios are relative to strides 1, larger is better."""
    calls = {
        f"{encoder}, {decoder}": Step(
            case,
            "engine_bf16",
            batch,
            steps,
            encoder_stride=encoder,
            decoder=partial(SmallDecoder, stride=decoder),
        )
        for encoder, decoder in STRIDES
    }
    seconds = interleaved(calls, rounds)
    ratio = {name: seconds["1, 1"] / value for name, value in seconds.items()}
    return {"case": case, "batch": batch, "refinement_steps": steps, "seconds": seconds, "time_ratio": ratio}
