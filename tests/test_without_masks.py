"""Images without masks: scores that need ground truth are omitted, with a message."""

import csv
import json
import logging
import re

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from PIL import Image
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

import tiny
from emorl.callbacks import BestCheckpoint, LogReconstructions, TestReport
from emorl.callbacks.wandb import checkpoints, overlays
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.sources.folder import ImageFolder
from emorl.data.write.selection import Selection
from emorl.data.write.writer import write_shards
from emorl.evaluation.cli import main as evaluate
from emorl.results import NEED_TRUTH, needs_truth

SENTENCE = "no scene has a labeled object, so scores that need true masks are omitted"


@pytest.fixture(scope="module")
def unmasked(tmp_path_factory):
    """Shards of a folder of images without masks: 4 scenes to train, 4 to validate, 4 to test."""
    folder = tmp_path_factory.mktemp("unmasked")
    (folder / "images").mkdir()
    for i, record in enumerate(Tetrominoes(12, 0).records()):
        Image.fromarray(record.image).save(folder / "images" / f"{i:02}.png")
    source = ImageFolder(folder / "images")
    splits = {name: Selection(source, range(i, i + 4)) for name, i in (("train", 0), ("val", 4), ("test", 8))}
    write_shards(splits, folder / "shards", 5)
    return folder / "shards"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Shards in which only some scenes have objects."""

    class Mixed(Tetrominoes):
        def scene(self, index):
            record = super().scene(index)
            return record if index % 2 else record._replace(segmentation=record.segmentation * 0, factors=[])

    folder = tmp_path_factory.mktemp("mixed")
    write_shards({split: Selection(Mixed(4, 0), range(4)) for split in ("train", "val", "test")}, folder, 5)
    return folder


WITHOUT = [{}, {"eval_labels": ()}]  # without masks in the data, and without reading them


def fit(root, folder, *callbacks, steps=2, model="efficient_morl", data=None, **arguments):
    module = tiny.module(network=tiny.FAMILY[model]())
    trainer = tiny.trainer(
        folder,
        callbacks=[*callbacks],
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        max_steps=steps,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        **arguments,
    )
    trainer.fit(module, tiny.data(root, **(data or {})))
    return module, trainer


def told(caplog):
    return [record.getMessage() for record in caplog.records if SENTENCE in record.getMessage()]


@pytest.mark.parametrize(("model", "data"), [*((model, {}) for model in tiny.FAMILY), ("efficient_morl", WITHOUT[1])])
def test_training_omits_scores_that_need_truth_with_one_message(unmasked, shards, tmp_path, caplog, data, model):
    root = shards if data else unmasked
    with caplog.at_level(logging.WARNING):
        _, trainer = fit(root, tmp_path, model=model, data=data)
    assert not [name for name in trainer.logged_metrics | trainer.callback_metrics if needs_truth(name)]
    assert {"val/mse", "val/active_slots"} <= trainer.callback_metrics.keys()
    assert all(value.isfinite() for value in trainer.callback_metrics.values())
    assert told(caplog) == [f"val: {SENTENCE}: FG-ARI, ARI, mIoU, mBO and covering."]


@pytest.mark.parametrize("data", WITHOUT)
def test_a_test_reports_the_other_scores(unmasked, shards, tmp_path, caplog, capsys, data):
    module = tiny.module(score_attention=True)
    trainer = tiny.trainer(tmp_path, callbacks=TestReport())
    with caplog.at_level(logging.WARNING):
        (logged,) = trainer.test(module, tiny.data(shards if data else unmasked, **data), verbose=False)
    assert not [name for name in logged if needs_truth(name)]
    assert len(told(caplog)) == 1
    written = json.loads((tmp_path / "metrics.json").read_text())
    for column in written.values():
        assert not [name for name in column if needs_truth(name)]
        assert {"mse", "nll", "kl", "active_slots"} <= column.keys()
    assert "attention/active_slots" in written["I=0"]
    printed = capsys.readouterr().out
    assert not re.search("nan|ARI|mIoU|covering", printed)
    (validated,) = trainer.validate(module, tiny.data(unmasked), verbose=False)
    assert validated.keys() & {"val/mse", "val/fg_ari"} == {"val/mse"}


def test_scores_of_a_run_with_truth_do_not_linger_in_one_without(unmasked, shards, tmp_path):
    """And vice versa."""
    module = tiny.module()
    for root, count in ((shards, 5), (unmasked, None), (shards, 5)):
        trainer = tiny.trainer(tmp_path, callbacks=TestReport())
        (logged,) = trainer.test(module, tiny.data(root), verbose=False)
        assert ("test/fg_ari" in logged) is (count is not None)
        written = json.loads((tmp_path / "metrics.json").read_text())["I=1"]
        assert written.get("ari", {}).get("images") == count


def test_if_some_scenes_have_objects_all_scores_exist(mixed, tmp_path, caplog):
    trainer = tiny.trainer(tmp_path, callbacks=TestReport(), num_sanity_val_steps=1)
    trainer.test(tiny.module(), tiny.data(mixed), verbose=False)
    written = json.loads((tmp_path / "metrics.json").read_text())["I=1"]
    assert (written["fg_ari"]["images"], written["ari"]["images"]) == (2, 4)
    assert not told(caplog)
    _, trainer = fit(
        mixed, tmp_path, ModelCheckpoint(tmp_path / "c", monitor="val/fg_ari", mode="max"), num_sanity_val_steps=1
    )
    assert trainer.callback_metrics["val/fg_ari"].isfinite()


# The best checkpoint


def validated(folder):
    with (folder / "metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["val/mse"]]


@pytest.mark.parametrize(("model", "score"), [("efficient_morl", "nll"), ("slot_attention", "mse")])
def test_the_best_checkpoint_uses_the_best_available_score(unmasked, tmp_path, model, score):
    best = BestCheckpoint()
    seen = []

    class Watch(BestCheckpoint):
        state_key = "watch"

        def on_validation_end(self, trainer, pl_module):
            seen.append((float(trainer.callback_metrics[f"val/{score}"]), trainer.global_step))

    _, trainer = fit(unmasked, tmp_path, best, Watch(), steps=4, model=model)
    assert (best.monitor, best.mode) == (f"val/{score}", "min")
    assert len(seen) == 4
    assert torch.load(best.best_model_path, weights_only=False)["global_step"] == min(seen)[1]
    assert ("best", best.best_model_path) in checkpoints(trainer)


def test_with_masks_the_best_checkpoint_is_that_of_the_best_fg_ari(shards, tmp_path):
    best = BestCheckpoint("finest")
    fit(shards, tmp_path, best)
    assert (best.monitor, best.mode) == ("val/fg_ari", "max")
    assert best.best_model_path.endswith("finest.ckpt")


def test_a_resumed_run_keeps_its_score(unmasked, tmp_path):
    best = BestCheckpoint()
    fit(unmasked, tmp_path, best)
    saved = torch.load(best.best_model_path, weights_only=False)["callbacks"]
    resumed = BestCheckpoint()
    resumed.dirpath = best.dirpath
    resumed.load_state_dict(saved[resumed.state_key])
    assert (resumed.monitor, resumed.mode) == ("val/nll", "min")
    assert resumed.best_model_path == best.best_model_path
    assert BestCheckpoint().monitor is None


@pytest.mark.parametrize(
    ("callback", "monitor"),
    [(ModelCheckpoint, "val/fg_ari"), (ModelCheckpoint, "val/zero_step/miou"), (EarlyStopping, "val/ari")],
)
def test_monitoring_a_missing_score_is_an_error_with_alternatives(unmasked, tmp_path, callback, monitor):
    message = f"Expected {callback.__name__} to monitor a score that needs no true masks, got '{monitor}'. Monitor"
    with pytest.raises(MisconfigurationException, match=re.escape(message)):
        fit(unmasked, tmp_path, callback(monitor=monitor, mode="max"))


# Pictures and studies


def test_no_overlay_of_objects_without_masks(unmasked, shards):
    for root, names in ((unmasked, {"slots"}), (shards, {"slots", "objects"})):
        batch = next(iter(tiny.loaded(root).val_dataloader()))
        with torch.no_grad():
            inference = tiny.module().validation_step(batch, 0)
        scenes = overlays(batch, inference, torch.tensor([1]))
        assert [set(scene) for scene in scenes] == [names]


def test_pictures_of_training_need_no_truth(unmasked, tmp_path):
    fit(unmasked, tmp_path, LogReconstructions(), data={"eval_labels": ()})
    assert len(list((tmp_path / "pictures").iterdir())) == 10


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.saved(tiny.module(), tmp_path_factory.mktemp("weights") / "a.ckpt")


@pytest.mark.parametrize(
    ("study", "tables", "options"),
    [
        ("refinement", ["refinement"], ["--steps=1"]),
        ("slots", ["slots"], ["--smallest=2", "--largest=3"]),
        ("draws", ["draws", "summary"], ["--number=2"]),
        ("layers", ["layers"], ["--pictures=1"]),
    ],
)
def test_studies_omit_scores_that_need_truth_with_a_message(
    unmasked, weights, tmp_path, caplog, study, tables, options
):
    assert evaluate([study, weights, str(unmasked), str(tmp_path), *options]) is None
    for table in tables:
        with (tmp_path / f"{table}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert not [name for name in rows[0] if any(score in name for score in NEED_TRUTH)]
        assert all(np.isfinite(float(row["mse"])) for row in rows)
    assert told(caplog) == [f"test: {SENTENCE}: FG-ARI, ARI, mIoU, mBO and covering."]


def test_slots_of_a_mixed_data_set_are_scored_by_number_of_objects(mixed, weights, tmp_path):
    assert evaluate(["slots", weights, str(mixed), str(tmp_path), "--smallest=2", "--largest=3"]) is None
    with (tmp_path / "slots.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["objects"], bool(row["fg_ari"])) for row in rows} == {("all", True), ("0", False), ("3", True)}


@pytest.mark.parametrize("study", ["robustness", "representation"])
def test_studies_that_need_truth_report_it(unmasked, weights, tmp_path, capsys, study):
    assert evaluate([study, weights, str(unmasked), str(tmp_path / "out")]) == 2
    assert re.fullmatch(r"emorl-evaluate: error: .*expected .*got .*\n", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_report_without_ground_truth(unmasked, weights, tmp_path):
    assert evaluate(["report", weights, str(unmasked), str(tmp_path)]) is None
    page = (tmp_path / "report.html").read_text()
    shown = re.sub(r"data:image[^\"]*|<style.*?</style>|<pre.*?</pre>", "", page, flags=re.DOTALL)
    text = re.sub(r"<[^>]*>", " ", shown)
    assert f"N{SENTENCE[1:]}" in text
    assert "truth" not in text.replace("compare with the truth", "")
    assert not re.search(r"\bnan\b|undefined|FG-ARI(?!, ARI, mIoU)", shown)
    assert not [path for path in tmp_path.iterdir() if "fg_ari" in path.name]
