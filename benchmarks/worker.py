"""The process of `benchmarks.measure.Worker`: reads requests from stdin, and answers each with a number."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.cases import Step
from benchmarks.device import finished, peak_memory, start_memory
from benchmarks.measure import flops
from emorl.cpu import tune_cpu


def main(arguments: str) -> None:
    """Answer until the input ends; the arguments are those of `Step`, as JSON."""
    given: dict[str, Any] = json.loads(arguments)
    device = given.get("device", "cpu")
    if given["variant"] != "plain" and device == "cpu":
        tune_cpu()
    Step(**(given | {"batch": 1, "steps": 1, "size": 16}))()  # imports everything
    before = start_memory(device)
    known = answers(Step(**given), before)
    for request in sys.stdin:
        print(known[request.strip()]() or 0, flush=True)


def answers(step: Step, before: int) -> dict[str, Callable[[], int | None]]:
    """Return the requests and their functions; ``before`` is the memory before the first step, in bytes."""
    return {
        "step": finished(step, step.device),
        "gradients": finished(step.gradients, step.device),
        "forward": finished(step.forward, step.device),
        "memory": lambda: peak_memory(step.device) - before,
        "flops": lambda: flops(step),
        "forward_flops": lambda: flops(step.forward),
        "parameters": lambda: sum(parameter.numel() for parameter in step.model.parameters()),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
