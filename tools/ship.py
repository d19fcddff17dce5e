"""Turn a finished run into weights that come with the package: ``python tools/ship.py RUN NAME DATA TESTED_ON``.

RUN is the folder of an ``emorl fit`` with the ``metrics.json`` of its ``emorl test``. Writes to ``src/emorl/weights``
the weights (``NAME.safetensors``), their card (``NAME.json``) and the curve of training (``NAME.png``).
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import yaml
from jsonargparse import auto_cli

from emorl.data.manifest import Manifest
from emorl.evaluation.outputs import write_figure
from emorl.evaluation.report_run import read_history
from emorl.evaluation.training_figure import training_figure
from emorl.pretrained import WEIGHTS, save_pretrained


def ship(run: Path, name: str, data: str, tested_on: str) -> None:
    """Write weights, card and curve.

    Args:
        run: Folder of the run.
        name: Name of the weights.
        data: Folder of the shards that the run was trained on.
        tested_on: What metrics.json was measured on, in a few words.
    """
    config = yaml.safe_load((run / "config.yaml").read_text())
    history = read_history(run / "metrics.csv")
    manifest = Manifest.load(data)
    card = {
        "name": name,
        "trained_on": f"{manifest.dataset}, {manifest.variant}, generated",
        "manifest_checksum": manifest.checksum,
        "seed": config["seed_everything"],
        "steps": config["trainer"]["max_steps"],
        "minutes": round(history["time/minutes"][-1][1]),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "versions": json.loads((run / "versions.json").read_text()),
        "tested_on": tested_on,
        "scores": json.loads((run / "metrics.json").read_text()),
        "trainer": config["trainer"],
        "data": config["data"],
    }
    folder = Path(str(WEIGHTS))
    save_pretrained(run / "checkpoints" / "last.ckpt", name, folder, card)
    write_figure(training_figure({name: [run / "metrics.csv"]}), folder, name)


if __name__ == "__main__":
    auto_cli(ship)
