"""The process of `benchmarks.measure.Worker`: reads requests from stdin, and answers each with a number."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.cases import Step
from benchmarks.measure import flops, peak_memory
from emorl.cpu import tune_cpu


def main(arguments: str) -> None:
    """Answer until the input ends; the arguments are those of `Step`, as JSON."""
    given: dict[str, Any] = json.loads(arguments)
    if given["variant"] != "plain":
        tune_cpu()
    Step(**(given | {"batch": 1, "steps": 1, "size": 16}))()  # imports everything
    before = peak_memory()
    known = answers(Step(**given), before)
    for request in sys.stdin:
        print(known[request.strip()](), flush=True)


def answers(step: Step, before: int) -> dict[str, Callable[[], int]]:
    """Return the requests and their functions; ``before`` is the memory before the first step, in bytes."""
    return {
        "step": lambda: step() or 0,
        "gradients": lambda: step.gradients() or 0,
        "forward": lambda: step.forward() or 0,
        "memory": lambda: peak_memory() - before,
        "flops": lambda: flops(step),
        "forward_flops": lambda: flops(step.forward),
        "parameters": lambda: sum(parameter.numel() for parameter in step.model.parameters()),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
