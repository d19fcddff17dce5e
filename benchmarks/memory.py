"""Peak memory against I and against the batch size, with and without ``decode_chunk``, as numbers and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.measure import step_memory
from emorl.figures import Figure


def memory(case: str) -> dict[str, Any]:
    """Measure in new processes."""

    def gib(variant: str, batch: int, steps: int, decode_chunk: int | None = None) -> float:
        return step_memory(case=case, variant=variant, batch=batch, steps=steps, decode_chunk=decode_chunk) / 2**30

    variants = {"plain": "plain", "engine": "engine_float32"}
    against_steps = {name: {steps: gib(each, 4, steps) for steps in (0, 1, 3)} for name, each in variants.items()}
    against_batch = {
        "plain": {batch: gib("plain", batch, 3) for batch in (2, 4, 8)},
        "engine": {batch: gib("engine_float32", batch, 3) for batch in (2, 4, 8, 16, 32)},
        "engine, decode_chunk 4": {batch: gib("engine_float32", batch, 3, 4) for batch in (2, 4, 8, 16, 32)},
    }
    return {"case": case, "unit": "GiB", "against_refinement_steps": against_steps, "against_batch": against_batch}


def plot(result: dict[str, Any], figure: Path) -> None:
    """Draw both curves side by side."""
    canvas = Figure(figsize=(9, 3.5), layout="constrained")
    axes = canvas.subplots(1, 2, sharey=True)
    panels = (("against_refinement_steps", "refinement steps I (batch 4)"), ("against_batch", "batch (I = 3)"))
    for axis, (key, label) in zip(axes, panels, strict=True):
        for name, points in result[key].items():
            axis.plot(list(points), list(points.values()), marker="o", label=name)
        axis.set(xlabel=label, xticks=list(points))
        axis.legend()
    axes[0].set(ylabel="peak memory (GiB)", ylim=(0, None))  # of both panels, which share the axis
    canvas.suptitle(f"Peak memory of a training step, {result['case']}")
    canvas.savefig(figure, dpi=120)
