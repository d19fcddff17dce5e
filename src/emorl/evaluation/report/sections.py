"""The sections of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from emorl.evaluation.inputs import LoadedScenes, infer
from emorl.evaluation.outputs import cell, write_figure
from emorl.evaluation.report.figures import by_reading, distribution, training_curves
from emorl.evaluation.report.page import Picture, Section, Table
from emorl.evaluation.report.paper import Published
from emorl.evaluation.report.run import Run
from emorl.evaluation.studies.layers import Readings, layer_picture
from emorl.model import SlotModel, unit_range
from emorl.module import SlotModule
from emorl.results import LABELS, WITHOUT_TRUTH, label, stage_label, with_error
from emorl.viz import decomposition, save_png

Metrics = dict[str, dict[str, dict[str, Any]]]  # contents of metrics.json: I, score, and its mean and standard error

SHOWN = 3  # number of best, of median and of worst scenes
COLUMNS = "image, outlines, reconstruction, masks, ground truth if known, and a component for each slot"
_PAIR = ("name", "value")

# Training curves by file name: title, logged values by name, and whether the axis is logarithmic.
TRAINING = {
    "training_fg_ari": ("FG-ARI in validation", {"I = 0": "val/zero_step/fg_ari", "last step": "val/fg_ari"}, False),
    "training_mse": ("MSE in validation", {"I = 0": "val/zero_step/mse", "last step": "val/mse"}, True),
    "training_loss": ("Loss in training", {"loss": "train/loss"}, False),
    "training_nll": ("NLL in training", {"I = 0": "train/zero_step/nll", "last step": "train/nll"}, False),
    "training_kl": ("KL in training", {"I = 0": "train/zero_step/kl", "last step": "train/kl"}, False),
    "training_geco": ("GECO's zeta", {"zeta": "train/geco/zeta"}, False),
}


def headline(metrics: Metrics) -> dict[str, str]:
    """Return FG-ARI, if known, and MSE at each I.

    >>> headline({"I=0": {"mse": {"mean": 0.00123, "standard_error": 0.0001, "images": 320}}})
    {'MSE, I = 0': '0.00123 ± 0.00010'}
    """
    return {
        f"{LABELS[score]}, {stage_label(key)}": _score(column[score])
        for score in ("fg_ari", "mse")
        for key, column in metrics.items()
        if score in column
    }


def comparison(metrics: Metrics, paper: Published, source: str) -> Section:
    """Compare FG-ARI with the paper's.

    Args:
        metrics: the scores.
        paper: the paper's scores on the same data set.
        source: origin of the scenes.
    """
    ours = {f"this model, {stage_label(key)}": _score(column["fg_ari"], factor=100) for key, column in metrics.items()}
    theirs = {f"paper: {name}": f"{mean} ± {deviation}" for name, (mean, deviation) in paper.scores.items()}
    text = (
        f"This model: mean ± standard error over {_scenes(metrics)} scenes ({source}). The paper: mean ± standard"
        f" deviation over five seeds, each on 320 test scenes, EfficientMORL with I = {paper.steps} at test. Both"
        " exclude the background. Masks are scored at the model's resolution here, and at 192x192 in the authors' code"
        " for CLEVR."
    )
    table = Table("Foreground ARI in percent", ("model", "FG-ARI"), [*(ours | theirs).items()])
    return Section("paper", "Comparison with the paper", text, [table])


def scores(metrics: Metrics, network: SlotModel) -> Section:
    """List all scores, and explain those that depend on the model."""
    names = list(dict.fromkeys(name for column in metrics.values() for name in column))
    rows = [
        [label(name), *(_score(column[name]) if name in column else "" for column in metrics.values())]
        for name in names
    ]
    text = "I is the number of steps at test."
    if "fg_ari" in names:
        text += " FG-ARI, mIoU, mBO and covering exclude the background."
    else:
        text += f" {WITHOUT_TRUTH[0].upper()}{WITHOUT_TRUTH[1:]}"
    if network.min_steps == 0:
        text += " I = 0 is the state before the first step: in EfficientMORL the bottom-up pass, whose KL is a sum over"
        text += " layers; after refinement, the KL is one term."
    if network.nll_constant:
        text += f" NLL omits a constant of {network.nll_constant:.4g} nats per channel-pixel;"
        text += " the log-likelihood includes it."
    table = Table(f"Mean ± standard error over {_scenes(metrics)} scenes", ["score", *map(stage_label, metrics)], rows)
    return Section("scores", "Scores", text, [table])


def training(run: Run, out: Path) -> Section | None:
    """Draw the curves of scores and terms of the loss; None if the run has no record."""
    pictures = []
    for name, (title, columns, logarithmic) in TRAINING.items():
        lines = {label: run.history[column] for label, column in columns.items() if column in run.history}
        if lines:
            path = write_figure(training_curves(lines, title, run.switches, logarithmic), out, name)
            ends = ", ".join(f"{label}: {cell(curve[-1][1])}" for label, curve in lines.items())
            alt = f"{title} against optimizer steps; last values: {ends}."
            pictures.append(Picture(path, alt, f"{title}; last values: {ends}."))
    text = (
        "Curves against optimizer steps. The last refinement step is that of the curriculum; dotted lines mark its"
        " changes."
    )
    if minutes := run.history.get("time/minutes"):
        text += f" The run took {minutes[-1][1]:.0f} minutes."
    return Section("training", "Training", text, pictures=pictures) if pictures else None


def examples(module: SlotModule, scenes: LoadedScenes, readings: Readings, out: Path) -> Section:
    """Draw the best, median and worst scenes, see `Readings.ranked`."""
    score, values, order = readings.ranked()
    middle = max(0, (len(order) - SHOWN) // 2)
    kinds = {"best": order[:SHOWN], "median": order[middle : middle + SHOWN], "worst": order[-SHOWN:]}
    pictures = []
    for kind, places in kinds.items():
        rows = [f"scene {place}\n{score} {values[place]:#.3g}" for place in places]
        save_png(decompositions(module, scenes, places, rows), path := out / f"{kind}.png")
        listed = ", ".join(f"{place} ({values[place]:#.3g})" for place in places)
        caption = f"The {kind} scenes by {score}: {listed}."
        pictures.append(Picture(path, f"{caption} Columns: {COLUMNS}.", caption, wide=True))
    text = (
        f"Decompositions at I = {module.test_refinement_steps}. A slot's component is drawn with its mask as opacity on"
        " a gray checkerboard"
    ) + ("; the ground truth is the true segmentation, with a dark background." if scenes.segmentation.any() else ".")
    return Section("scenes", "Scenes", text, pictures=pictures)


def decompositions(
    module: SlotModule, scenes: LoadedScenes, places: list[int], rows: list[str]
) -> UInt8[Tensor, "3 sheet_height sheet_width"]:
    """Draw labeled decompositions of scenes and, if any scene has objects, their true segmentations."""
    parts = infer(module, scenes.batch(places), module.test_refinement_steps).stages[-1].components
    image, truth = unit_range(scenes.image[places]), None
    if scenes.segmentation.any():
        stored = scenes.segmentation[places].unsqueeze(1)
        truth = interpolate(stored, image.shape[-2:], mode="nearest-exact").squeeze(1)
    return decomposition(image, parts.reconstruction, parts.masks, parts.rgb, truth, rows)


def spread(readings: Readings, out: Path) -> Section | None:
    """Draw the distribution of FG-ARI over scenes, at I = 0 and after the last step; None if no scene has objects."""
    fg_ari = readings.fg_ari[:, ~readings.fg_ari[-1].isnan()]
    if not fg_ari.numel():
        return None
    values = {
        f"I = {step}": fg_ari[place] for place, step in enumerate(readings.steps) if step in (0, readings.steps[-1])
    }
    path = write_figure(distribution(values, "FG-ARI"), out, "distribution")
    quarters = {name: scores.quantile(scores.new_tensor([0.25, 0.5, 0.75])).tolist() for name, scores in values.items()}
    caption = "; ".join(f"{name}: quartiles {', '.join(f'{q:.3f}' for q in found)}" for name, found in quarters.items())
    picture = Picture(path, f"Histogram of FG-ARI over scenes. {caption}.", f"{caption}.")
    return Section("distribution", "Distribution over scenes", "", pictures=[picture])


def by_layer(module: SlotModule, scenes: LoadedScenes, readings: Readings, place: int, out: Path) -> Section:
    """Score the decoded slots of all layers and steps on all scenes, and show them for the scene at ``place``."""
    rows = readings.table()
    known = [score for score in ("fg_ari", "mse") if score in rows[0]]
    drawn_score, title = known[0], LABELS[known[0]]
    chart = write_figure(by_reading(rows, drawn_score, title), out, f"layers_{drawn_score}")
    ends = ", ".join(f"{row['slots']} {cell(row[drawn_score])}" for row in rows)
    batch = scenes.batch([place])
    inference = infer(module, batch, module.test_refinement_steps)
    drawn = out / "layers.png"
    save_png(layer_picture(module.network, batch, inference), drawn)
    text = "Decoded slots of each step, with masks from 0 to 1. The model has no attention layers."
    if inference.layers:
        text = (
            "Decoded slots of each layer, followed by those of refinement steps, if any; masks from 0 to 1."
            " Attention is drawn from black (0) to white (each map's maximum)."
        )
    pictures = [
        Picture(chart, f"{title} by layer and step: {ends}.", f"{title}, mean ± standard error over scenes."),
        Picture(
            drawn, f"Image, reconstruction and masks of scene {place}, by layer and step.", f"Scene {place}.", wide=True
        ),
    ]
    table = Table(
        "Mean ± standard error over scenes",
        ["slots", *(LABELS[score] for score in known)],
        [[f"{row['slots']}", *(with_error(row[s], row[f"{s}_se"]) for s in known)] for row in rows],
    )
    return Section("layers", "Layer by layer", text, [table], pictures)


def record(run: Run, facts: dict[str, object]) -> Section:
    """List the provenance of the page and of the training run.

    Args:
        run: the training run.
        facts: provenance of the page, by name.

    >>> record(Run("", {"torch": "2.13.0"}, {}), {"model": "tetrominoes"}).tables[1].rows
    [['torch', '2.13.0']]
    """
    tables = [Table("This page", _PAIR, [[name, str(value)] for name, value in facts.items()])]
    if run.versions:
        tables.append(Table("The run", _PAIR, [[name, str(value)] for name, value in run.versions.items()]))
    files = {"config.yaml of the run": run.config} if run.config else {}
    return Section("record", "Provenance", "", tables, files=files)


def _scenes(metrics: Metrics) -> int:
    return int(next(iter(metrics.values()))["mse"]["images"])


def _score(score: dict[str, Any], factor: int = 1) -> str:
    mean, error = score["mean"], score["standard_error"]
    if mean is None:
        return "undefined"
    return with_error(factor * mean, None if error is None else factor * error)
