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
from matplotlib.figure import Figure

from emorl.data.manifest import Manifest
from emorl.evaluation.outputs import write_figure
from emorl.evaluation.report_run import read_history
from emorl.pretrained import WEIGHTS, save_pretrained

FG_ARI, MSE = "val/zero_step/fg_ari", "val/zero_step/mse"


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
    minutes = dict(history["time/minutes"])
    manifest = Manifest.load(data)
    card = {
        "name": name,
        "trained_on": f"{manifest.dataset}, {manifest.variant}, generated",
        "manifest_checksum": manifest.checksum,
        "seed": config["seed_everything"],
        "steps": history[FG_ARI][-1][0] + 1,
        "minutes": round(max(minutes.values())),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "versions": json.loads((run / "versions.json").read_text()),
        "tested_on": tested_on,
        "scores": json.loads((run / "metrics.json").read_text()),
        "trainer": config["trainer"],
        "data": config["data"],
    }
    folder = Path(str(WEIGHTS))
    save_pretrained(run / "checkpoints" / "last.ckpt", name, folder, card)
    curves = {column: [(minutes[step], value) for step, value in history[column]] for column in (FG_ARI, MSE)}
    write_figure(figure(curves), folder, name)


def figure(curves: dict[str, list[tuple[float, float]]]) -> Figure:
    """Draw FG-ARI and MSE against minutes."""
    drawn = Figure(figsize=(6, 3.5), layout="constrained")
    axes = drawn.add_subplot(xlabel="minutes of training", ylabel="FG-ARI at I = 0, validation (blue)", ylim=(0, 1))
    axes.plot(*zip(*curves[FG_ARI], strict=True), color="tab:blue")
    other = axes.twinx()
    other.semilogy(*zip(*curves[MSE], strict=True), color="tab:orange")
    other.set_ylabel("MSE at I = 0, validation (orange)")
    return drawn


if __name__ == "__main__":
    auto_cli(ship)
