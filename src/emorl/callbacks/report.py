"""The report of ``emorl test``: a table and ``metrics.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from emorl.callbacks.folder import run_folder
from emorl.files import atomic
from emorl.metrics import Summary
from emorl.model import SlotModel
from emorl.module import SlotModule
from emorl.results import label, to_columns, to_json, with_error


class TestReport(Callback):
    """Prints mean, standard error and number of images of all scores, and writes them to ``metrics.json``.

    Scores are those at ``test_refinement_steps`` and, if the model has slots before the first step, at I = 0.

    Args:
        output_dir: folder of ``metrics.json``; by default the run's folder.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[TestReport("out")], logger=False, accelerator="cpu", max_steps=100)
    >>> any(isinstance(callback, TestReport) for callback in trainer.callbacks)
    True
    """

    __test__ = False  # for pytest, which would collect a class of this name

    def __init__(self, output_dir: str | None = None) -> None:
        self.output_dir = output_dir

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reduce the scores over processes, print them and write them."""
        module = cast(SlotModule, pl_module)
        summary = module.test_scores.summary()
        folder = Path(self.output_dir) if self.output_dir else run_folder(trainer)
        if not trainer.is_global_zero:
            return
        columns = to_columns(summary, module.test_refinement_steps)
        path = folder / "metrics.json"
        with atomic(path) as stream:
            stream.write((json.dumps(to_json(columns), indent=2) + "\n").encode())
        console = Console()
        console.print(to_table(columns, module.network))
        console.print(f"Wrote {path.resolve()}", soft_wrap=True)


def to_table(columns: dict[int, dict[str, Summary]], network: SlotModel) -> Table:
    """Return the scores of a model as a table with a column for each number of steps."""
    table = Table("metric", *(f"I = {steps}" for steps in columns), "images", title="mean ± standard error over images")
    first = next(iter(columns.values()))
    notes = ["mIoU, mBO and covering exclude the background unless it is named."] if "fg_miou" in first else []
    if any(name.startswith("kl_layers/") for name in network.term_names):
        notes.insert(0, "KL at I = 0 sums the terms of all layers; after refinement it is one term.")
    if network.nll_constant:
        constant = f"{network.nll_constant:.4g} nats per channel-pixel"
        notes.insert(0, f"NLL omits a constant of {constant}; the log-likelihood includes it.")
    table.caption = " ".join(notes) or None
    for name in first:
        cells = (_cell(scores[name]) if name in scores else "" for scores in columns.values())
        table.add_row(label(name), *cells, f"{int(first[name].images)}")
    return table


def _cell(score: Summary) -> str:
    return with_error(float(score.mean), float(score.standard_error))
