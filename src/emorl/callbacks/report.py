"""What ``emorl test`` leaves behind: a table and ``metrics.json``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from emorl.callbacks.folder import run_folder
from emorl.files import atomic
from emorl.metrics import Summary
from emorl.module import EfficientMORLModule

LABELS = {
    "fg_ari": "FG-ARI",
    "ari": "ARI with background",
    "fg_miou": "mIoU",
    "miou": "mIoU with background",
    "fg_mbo": "mBO (plain covering)",
    "fg_covering": "covering (by area)",
    "active_slots": "active slots",
    "mse": "MSE",
    "squared_error": "squared error (sum)",
    "nll": "NLL (nats per image)",
    "log_likelihood": "log-likelihood",
    "kl": "KL (nats per image)",
}


class TestReport(Callback):
    """Prints mean, standard error and number of images at I = 0 and at the I of testing, and writes ``metrics.json``.

    Args:
        output_dir: folder of ``metrics.json``; by default the run's folder.
    """

    __test__ = False  # pytest: the name alone does not make it a test

    def __init__(self, output_dir: str | None = None) -> None:
        self.output_dir = output_dir

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the scores of all processes and report them."""
        module = cast(EfficientMORLModule, pl_module)
        summary = module.test_scores.summary()
        folder = Path(self.output_dir) if self.output_dir else run_folder(trainer)
        if not trainer.is_global_zero:
            return
        columns = to_columns(summary, module.test_refinement_steps)
        path = folder / "metrics.json"
        with atomic(path) as stream:
            stream.write((json.dumps(to_json(columns), indent=2) + "\n").encode())
        console = Console()
        console.print(to_table(columns))
        console.print(f"Wrote {path.resolve()}", soft_wrap=True)


def to_columns(summary: dict[str, dict[str, Summary]], steps: int) -> dict[int, dict[str, Summary]]:
    """Return the scores by refinement steps; what belongs to the bottom-up pass alone stands at I = 0."""
    groups = [group for group in summary if group not in ("last", "zero_step")]
    extra = {f"{group}/{name}": score for group in groups for name, score in summary[group].items()}
    zero_step = {0: summary["zero_step"] | extra}
    return zero_step | {steps: summary["last"]} if steps else zero_step


def to_json(columns: dict[int, dict[str, Summary]]) -> dict[str, Any]:
    """Return the scores by refinement steps and name, as JSON values; an undefined number is null."""
    return {
        f"I={steps}": {name: {key: _number(value) for key, value in s._asdict().items()} for name, s in scores.items()}
        for steps, scores in columns.items()
    }


def to_table(columns: dict[int, dict[str, Summary]]) -> Table:
    """Return the scores as a table, one column for each number of refinement steps."""
    table = Table("metric", *(f"I = {steps}" for steps in columns), "images", title="mean ± standard error over images")
    table.caption = (
        "KL at I = 0 sums the terms of all layers; after refinement it is one term. NLL leaves out 0.5 log 2 pi per "
        "channel-pixel, log-likelihood has it. mIoU, mBO and covering leave out the background unless it is named."
    )
    for name in columns[0]:
        cells = (_cell(scores[name]) if name in scores else "" for scores in columns.values())
        table.add_row(LABELS.get(name, name), *cells, f"{int(columns[0][name].images)}")
    return table


def stage_label(key: str) -> str:
    """Return a key of ``metrics.json`` as text for people: ``I = 0`` for ``I=0``."""
    return key.replace("=", " = ")


def _cell(score: Summary) -> str:
    return f"{float(score.mean):.4g} ± {float(score.standard_error):.2g}"


def _number(value: Any) -> float | int | None:
    number = value.item()
    return None if isinstance(number, float) and not math.isfinite(number) else number
