"""Convert a finished run to weights that ship with the package: ``python tools/ship.py RUN NAME DATA``.

RUN is the folder of an ``emorl fit``. Every ``RUN/tests/TEST`` is an output of ``emorl test --trainer.logger false
--ckpt_path RUN/checkpoints/last.ckpt --output_dir RUN/tests/TEST``, and every ``RUN/draws/TEST`` an output of
``emorl-evaluate draws``. Writes the weights (``NAME.safetensors``), their card (``NAME.json``) and the training curve
(``NAME.png``) to ``src/emorl/weights``, decompositions of four test scenes to ``docs/images/NAME.png``, and the picture
of the README anew. If a run started from shipped weights, its card and curve include their training.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import slots_figure
import torch
import yaml
from jsonargparse import auto_cli

from emorl.data.shards.manifest import Manifest
from emorl.errors import DataError
from emorl.evaluation.inputs import load_scenes
from emorl.evaluation.outputs import to_csv, write_figure
from emorl.evaluation.report.sections import TRAINING
from emorl.history import Curve, read_history, trainings
from emorl.pretrained import Pretrained, load_module
from emorl.stored import WEIGHTS, load_card, names, write_shipped
from emorl.study.curves import training_figure
from emorl.viz import decomposition, save_png

MINUTES = "time/minutes"
HISTORY = (
    MINUTES,
    "train/refinement_steps",
    *(name for _, columns, _ in TRAINING.values() for name in columns.values()),
)
ORIGIN = ("seed", "steps", "minutes", "started_from", "history", "versions", "trainer", "curriculum", "model")
FOLDERS = ("default_root_dir", "logger")  # settings that name folders of the machine that trained
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def ship(run: Path, name: str, data: str) -> None:
    """Write weights, card and pictures.

    Args:
        run: Folder of the run.
        name: Name of the weights, MODEL/DATA.
        data: Folder of the shards that the run was trained on.
    """
    checkpoint, folder = run / "checkpoints" / "last.ckpt", Path(str(WEIGHTS))
    described = card(run, checkpoint, Manifest.load(data))
    with TemporaryDirectory() as temporary:
        history = Path(temporary, "metrics.csv")
        history.write_text(whole_history(trainings(described)))
        figure = training_figure({name: {0: history}})
    (folder / name).parent.mkdir(exist_ok=True)
    write_shipped(checkpoint, name, folder, described)
    write_figure(figure, folder, name)
    decomposed(name, data)
    slots_figure.main()


def card(run: Path, checkpoint: Path, manifest: Manifest) -> dict[str, Any]:
    """Return the card of the weights, from the records of the run and its tests.

    Raises:
        DataError: if the run was trained on other data.
    """
    history = read_history(run / "metrics.csv")
    config, versions = (yaml.safe_load((run / name).read_text()) for name in ("config.yaml", "versions.json"))
    if versions["data"] != manifest.checksum:
        remedy = "give the folder that the run was trained on"
        raise DataError.of("data", expected=versions["data"], got=manifest.checksum, remedy=remedy)
    steps = torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"]
    record = {
        "trained_on": manifest.title,
        "source": manifest.source,
        "seed": config["seed_everything"],
        "steps": steps,
        "minutes": round(history[MINUTES][-1][1]),
        "started_from": origin(config["pretrained"], versions, steps),
        "history": table({name: history[name] for name in HISTORY if name in history}),
        "versions": versions,
        "tests": {folder.name: tested(folder) for folder in sorted((run / "tests").iterdir())},
        "draws": {folder.name: drawn(folder) for folder in sorted((run / "draws").iterdir())},
        "trainer": {name: value for name, value in config["trainer"].items() if name not in FOLDERS},
        "curriculum": config["curriculum"],
        "data": config["data"] | {"root": f"data/{Path(config['data']['root']).name}"},
    }
    return {
        f"total_{unit}": sum(training[unit] for training in trainings(record)) for unit in ("steps", "minutes")
    } | record


def origin(weights: str | None, versions: dict[str, Any], steps: int) -> dict[str, Any] | None:
    """Return the origin on the card of the shipped weights that a run started from; None if it started from nothing.

    If the run itself made these weights and is shipped again, the card keeps their origin.

    Raises:
        DataError: if it started from other weights, whose training would be missing on the card.
    """
    if weights is None:
        return None
    if weights not in names():
        remedy = "ship these weights first, and start the run from them by name"
        raise DataError.of("pretrained", expected="the name of shipped weights", got=weights, remedy=remedy)
    shipped = load_card(weights)
    if (shipped["versions"], shipped["steps"]) == (versions, steps):
        return shipped["started_from"]  # type: ignore[no-any-return]
    return {field: shipped[field] for field in ORIGIN if field in shipped}  # earlier cards have no curriculum


def whole_history(records: Iterable[dict[str, Any]]) -> str:
    """Return the joint history of several trainings as CSV; steps and minutes continue from one to the next."""
    rows: list[dict[str, Any]] = []
    steps, minutes = 0, 0
    for record in records:
        rows += [
            {**row, "step": int(row["step"]) + steps, MINUTES: float(row[MINUTES]) + minutes}
            for row in csv.DictReader(record["history"].splitlines())
        ]
        steps, minutes = steps + record["steps"], minutes + record["minutes"]
    return to_csv(rows, list(dict.fromkeys(name for row in rows for name in row)))


def table(history: dict[str, Curve]) -> str:
    """Return curves as CSV, every thousandth step."""
    rows: dict[int, dict[str, str]] = {}
    for name, curve in history.items():
        for step, value in curve:
            if (step + 1) % 1000 == 0:
                rows.setdefault(step, {})[name] = f"{value:.5g}"
    return to_csv([{"step": step, **row} for step, row in sorted(rows.items())], ["step", *history])


def tested(folder: Path) -> dict[str, Any]:
    """Return a test's scores, with its data and settings."""
    config, versions = (
        yaml.safe_load((folder / "test" / name).read_text()) for name in ("config.yaml", "versions.json")
    )
    model, data, trainer = config["model"], config["data"], config["trainer"]
    return {
        "versions": versions,
        "source": Manifest.load(data["root"]).source,
        "means_of_posteriors": model["test_means"],
        "score_size": data["score_size"],
        "precision": trainer["precision"] or "32-true",
        "scores": json.loads((folder / "metrics.json").read_text()),
    }


def drawn(folder: Path) -> list[dict[str, float]]:
    """Return mean and standard deviation of scores over draws of the noise, for each I."""
    with (folder / "summary.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def decomposed(name: str, data: str) -> None:
    """Draw the decompositions of the first four test scenes, about 140 pixels wide each."""
    module = load_module(name)
    model, scenes = Pretrained(module.network, module.image_size, load_card(name)), load_scenes(data, module, count=4)
    with torch.inference_mode():
        found = model.reconstruct(scenes.image)
    picture = decomposition(scenes.image / 255, found.reconstruction, found.masks, found.rgb)
    save_png(picture, IMAGES / f"{name.removeprefix('efficient_morl/').replace('/', '_')}.png")


if __name__ == "__main__":
    auto_cli(ship)
