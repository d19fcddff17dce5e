"""``emorl-evaluate report``: one page about a trained model, with its scores, training, decompositions and layers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from jsonargparse.typing import PositiveInt

import emorl
from emorl.classes import ClassPaths
from emorl.data.shards.manifest import Manifest
from emorl.evaluation.inputs import LoadedScenes, infer, load_model, load_scenes
from emorl.evaluation.outputs import check_out, show
from emorl.evaluation.report import sections
from emorl.evaluation.report.page import render
from emorl.evaluation.report.paper import published
from emorl.evaluation.report.run import read_run
from emorl.evaluation.report.traversals import traversals
from emorl.evaluation.studies.layers import Readings, score
from emorl.files import atomic
from emorl.module import SlotModule
from emorl.provenance import git_commit
from emorl.results import to_columns, to_json

_COUNT = PositiveInt(320)


def report(
    model: str,
    data: str,
    out: Path,
    split: str = "test",
    count: PositiveInt = _COUNT,
    score_size: PositiveInt | None = None,
    test_draws: PositiveInt | None = None,
    classes: ClassPaths = (),
) -> None:
    """Write one self-contained page, report.html, about a trained model: scores, training, scenes, layers.

    Also writes its figures as PNG files, and its scores as metrics.json, in the format of `emorl test`.

    Args:
        model: Checkpoint of emorl fit, folder of save_pretrained, or name of shipped weights. Training curves and
            configuration are read from the folder of the checkpoint's run, or from the weights' card.
        data: Folder of shards: a local path or a URL.
        out: Folder of the page.
        split: Split of the data set.
        count: Number of scenes from the start of the split.
        score_size: Side of the segmentations that masks are scored against, in pixels, as --data.score_size of emorl
            test; by default that of the images.
        test_draws: Number of draws per image, of which the one with the lowest bound is kept; by default the model's.
        classes: Classes outside emorl.model that the model of a folder may consist of: own_model.SoftKMeans, or
            several: '[own_model.A, own_model.B]'.

    Example:
        ```console
        emorl-evaluate report tetrominoes data/tetrominoes out
        ```
    """
    check_out(out)
    module, manifest, run = load_model(model, test_draws, classes), Manifest.load(data), read_run(model, classes)
    scenes = load_scenes(data, module, split, count, score_size)
    readings = Readings.of(scored(module, scenes))
    metrics = to_json(to_columns(module.test_scores.summary(), module.test_refinement_steps))
    paper = published(manifest.dataset, manifest.variant, objects=manifest.max_objects)
    ranking = readings.ranked()[2]
    median = ranking[len(ranking) // 2]
    source = ", ".join(f"{key} {value}" for key, value in manifest.source.items())
    shown = (
        sections.comparison(metrics, paper, source) if paper and module.test_scores.has_truth() else None,
        sections.scores(metrics, module.network),
        sections.training(run, out),
        sections.examples(module, scenes, readings, out),
        sections.spread(readings, out),
        sections.by_layer(module, scenes, readings, median, out),
        traversals(module, scenes, median, out),
        sections.record(run, facts(model, data, module, manifest, f"{len(scenes.image)} of the split {split}")),
    )
    page = render(
        title=f"{type(module.network).__name__} on {paper.title if paper else manifest.dataset}",
        lead=f"{model}, scored on {len(scenes.image)} scenes of {data}",
        headline=sections.headline(metrics),
        sections=[section for section in shown if section is not None],
    )
    for name, text in {"metrics.json": json.dumps(metrics, indent=2) + "\n", "report.html": page}.items():
        with atomic(out / name) as stream:
            stream.write(text.encode())
    scores = ("fg_ari", "ari", "fg_miou", "mse")
    rows = [
        {"I": key.removeprefix("I="), **{name: column[name]["mean"] for name in scores if name in column}}
        for key, column in metrics.items()
    ]
    show(rows, f"Mean over {len(scenes.image)} scenes")
    print(f"Wrote {(out / 'report.html').resolve()}")


def scored(module: SlotModule, scenes: LoadedScenes) -> Iterator[Readings]:
    """Yield the readings of every batch, and update the module's test scores with it."""
    for batch in scenes.batches():
        inference = infer(module, batch, module.test_refinement_steps)
        module.test_scores.update(batch, inference)
        yield score(module.network, batch, inference)


def facts(model: str, data: str, module: SlotModule, manifest: Manifest, scenes: str) -> dict[str, object]:
    """Return the provenance of a page: model, data, versions and date, by name."""
    network = module.network
    return {
        "model": f"{type(network).__name__}, {model}",
        "slots K": network.num_slots,
        "slot dimensions": network.slot_dim,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "data": data,
        "data set": f"{manifest.dataset}, {manifest.variant}",
        "manifest checksum": manifest.checksum,
        "scenes": scenes,
        "image size": f"{module.image_size} (crop {module.crop})",
        "device": module.device.type,
        "emorl": emorl.__version__,
        "commit": git_commit(Path(emorl.__file__)),
        "torch": version("torch"),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }
