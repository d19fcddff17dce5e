"""The process behind `benchmarks.measure.Worker`: reads requests from standard input, answers each with a number."""

from __future__ import annotations

import sys
from typing import cast

from benchmarks.cases import Step, Variant
from benchmarks.measure import flops, peak_memory
from emorl.cpu import tune_cpu


def main(
    case: str, variant: str, batch: str, steps: str, decode_chunk: str = "0", model: str = "efficient_morl"
) -> None:
    """Answer until the input ends."""
    if variant != "plain":
        tune_cpu()
    Step(case, cast(Variant, variant), batch=1, steps=1, size=16, model=model)()  # so that all has been imported
    before = peak_memory()
    step = Step(case, cast(Variant, variant), int(batch), int(steps), int(decode_chunk) or None, model=model)
    answers = {"step": lambda: step() or 0, "memory": lambda: peak_memory() - before, "flops": lambda: flops(step)}
    for request in sys.stdin:
        print(answers[request.strip()](), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
