"""Time of a training step of the fast recipes, relative to each other, and steps per hour."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks.device import name_of, where
from benchmarks.measure import interleaved
from emorl.callbacks.curriculum import stretched
from emorl.cli import build
from emorl.module import SlotModule

CONFIGS = Path(__file__).parents[1] / "configs"
MODELS = "efficient_morl", "slot_attention", "iodine"
REFERENCE = MODELS[0]


class RecipeStep:
    """The training step of a recipe with a fixed I, on random images, without reading data."""

    def __init__(self, module: SlotModule, steps: int, batch: int, bf16: bool) -> None:
        self.module, self.steps, self.bf16 = module, steps, bf16
        self.image = torch.randint(256, (batch, 3, module.image_size, module.image_size), dtype=torch.uint8)
        self.optimizer = module.optimizer(module.network.parameters())

    def __call__(self) -> None:
        """Take the step: loss, gradients, clipping, optimizer."""
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = self.module.network(self.image / 255, self.steps).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.network.parameters(), 5.0)
        self.optimizer.step()


def recipes(data: str, rounds: int = 5) -> dict[str, Any]:
    """Measure a step of each ``configs/MODEL/DATA-fast.yaml``, relative to EfficientMORL's; smaller is better.

    The seconds of a step are a mean over the run, in which each I of the curriculum is weighted by its number of steps.

    Args:
        data: tetrominoes, multi-dsprites or clevr6.
        rounds: how often each step takes its turn.
    """
    calls, shares = {}, {}
    for model, recipe in ((model, CONFIGS / model / f"{data}-fast.yaml") for model in MODELS):
        for steps, share, call in _phases(recipe):
            calls[f"{model}, {steps}"] = call
            shares.setdefault(model, {})[f"{model}, {steps}"] = share
    measured = interleaved(calls, rounds)
    seconds = {model: sum(share * measured[name] for name, share in of.items()) for model, of in shares.items()}
    return {
        "data": data,
        "device": name_of("cpu"),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "ratio": {model: each / seconds[REFERENCE] for model, each in seconds.items()},
        "steps_in_an_hour": {model: round(3600 / each) for model, each in seconds.items()},
        "seconds_by_steps": measured,
    }


def table(result: dict[str, Any]) -> Table:
    """Return a row for each recipe."""
    shown = Table(title=f"a training step of {result['data']}-fast.yaml, ratios of one run\n{where(result)}")
    for column in ("recipe", "seconds", f"relative to {REFERENCE}", "steps in an hour"):
        shown.add_column(column)
    for model, seconds in result["seconds"].items():
        hour = result["steps_in_an_hour"][model]
        shown.add_row(model, f"{seconds:.3f}", f"{result['ratio'][model]:.2f} x", f"{hour:,}")
    return shown


def _phases(recipe: Path) -> Iterator[tuple[int, float, RecipeStep]]:
    """Yield each I of a recipe's curriculum, the fraction of steps with this I, and such a step."""
    cli = build(["fit", f"--config={CONFIGS / 'base.yaml'}", f"--config={recipe}"])
    end, phases = cli.trainer.max_steps, cli.config["fit"].curriculum.phases
    starts = stretched(phases, end) if phases else {0: cli.model.refinement_steps}
    step = partial(RecipeStep, cli.model, batch=cli.datamodule.batch_size, bf16=cli.trainer.precision == "bf16-mixed")
    for (start, steps), after in zip(starts.items(), [*list(starts)[1:], end], strict=True):
        yield steps, (after - start) / end, step(steps=steps)
