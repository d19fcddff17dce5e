"""Turn a finished run into weights that come with the package: ``python tools/ship.py RUN NAME DATA TESTED_ON``.

RUN is the folder of an ``emorl fit`` with the ``metrics.json`` of its ``emorl test``. Writes to ``src/emorl/weights``
the weights (``NAME.safetensors``), their card (``NAME.json``) and the curve of training (``NAME.png``), and to
``docs/images/NAME.png`` what they make of four test scenes.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import torch
import yaml
from jsonargparse import auto_cli

from emorl.data.manifest import Manifest
from emorl.evaluation.inputs import load_scenes
from emorl.evaluation.outputs import write_figure
from emorl.evaluation.report_run import read_history
from emorl.evaluation.training_figure import training_figure
from emorl.pretrained import WEIGHTS, load_module, load_pretrained, save_pretrained
from emorl.viz import decomposition, save_png

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def ship(run: Path, name: str, data: str, tested_on: str) -> None:
    """Write weights, card and pictures.

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
    decomposed(name, data)


def decomposed(name: str, data: str) -> None:
    """Draw the first four test scenes as shipped weights see them, a pixel as 3 x 3."""
    model = load_pretrained(name)
    scenes = load_scenes(data, load_module(name), count=4)
    with torch.inference_mode():
        found = model.reconstruct(scenes.image)
        components = model.decode(found.slots).components
    picture = decomposition(scenes.image / 255, found.reconstruction, found.masks, components)
    save_png(picture.repeat_interleave(3, -1).repeat_interleave(3, -2), IMAGES / f"{name}.png")


if __name__ == "__main__":
    auto_cli(ship)
