"""W&B: offline runs, artifacts, resuming."""

import csv
import json
from pathlib import Path

import pytest
import torch
import wandb
import yaml
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import offline
import tiny
from emorl.callbacks import WandbCheckpoints, WandbSegmentations
from emorl.callbacks.wandb import checkpoints

CONFIGS = Path(__file__).parents[1] / "configs"
COMPOSED = ("base", "overlays/wandb", "efficient_morl/tetrominoes", "overlays/smoke")
OVERLAYS = [f"--config={CONFIGS / name}.yaml" for name in COMPOSED]
SMALL = ("--model.network.init_args.slot_dim=8", "--model.network.init_args.feature_dim=8")
QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
]


@pytest.fixture
def fit(shards, tmp_path, monkeypatch, emorl):
    """Train offline in an empty folder; return what W&B got."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")

    def run(*arguments):
        emorl("fit", *OVERLAYS, f"--data.root={shards}", *SMALL, *QUIET, *arguments)
        wandb.finish()
        wandb.teardown()  # waits until the last records are written

    return run


@pytest.mark.filterwarnings("ignore:You are using `torch.load` with `weights_only=False`")
def test_wandb_gets_everything_and_other_loggers_the_same_numbers(fit, shards, tmp_path):
    board = ("--trainer.logger+=pytorch_lightning.loggers.TensorBoardLogger", "--trainer.logger.save_dir=board")
    fit("--curriculum.phases={0: 2, 3: 1}", *board)
    run = offline.Offline(tmp_path)
    wanted = [
        "nll",
        "kl",
        "loss",
        "zero_step/nll",
        "refinement_steps",
        "geco/zeta",
        "geco/average",
        "geco/target",
        "grad_norm",
    ]
    numbers = {"train/" + name for name in wanted} | {"val/fg_ari", "lr-Adam", "time/images_per_second"}
    assert numbers <= {name for row in run.rows for name in row}
    assert run.column("train/refinement_steps") == [2, 2, 2, 1]

    folder = tmp_path / "runs" / "version_0"
    with (folder / "metrics.csv").open() as file:
        columns = set(next(csv.reader(file))) - {"epoch", "step"}
    (events,) = (tmp_path / "board").rglob("events*")
    assert numbers <= columns
    assert columns <= set(EventAccumulator(str(events)).Reload().Tags()["scalars"])
    assert columns <= {name for row in run.rows for name in row}

    config = yaml.safe_load((folder / "config.yaml").read_text())
    for part in ("seed_everything", "model", "data"):
        assert run.config[part] == config[part]
    assert run.config["curriculum"]["phases"] == {"0": 2, "3": 1}
    assert run.config["versions"] == json.loads((folder / "versions.json").read_text())

    (*_, shown) = (row for row in run.rows if "segmentations.all_masks" in row)
    assert [masks.keys() for masks in shown["segmentations.all_masks"]] == [{"slots", "objects"}] * 2


def test_checkpoints_are_artifacts_of_which_the_best_is_the_best_validated(fit, tmp_path, monkeypatch):
    added = []
    add_file = wandb.Artifact.add_file
    monkeypatch.setattr(wandb.Artifact, "add_file", lambda *a, **k: (added.append(a[1]), add_file(*a, **k))[1])
    fit()
    run = offline.Offline(tmp_path)
    assert {name for name, _ in run.artifacts} == {f"model-{run.id}"}
    assert [set(aliases) for _, aliases in run.artifacts] == [{"best", "latest"}, {"latest"}]  # W&B moves 'latest' on
    best, latest = added
    scores = run.column("val/fg_ari")
    assert torch.load(best)["global_step"] == (2 if scores[0] >= scores[1] else 4)
    assert torch.load(latest)["global_step"] == 4


@pytest.mark.filterwarnings("ignore:The dirpath has changed from")
def test_a_resumed_run_goes_on_under_its_id(fit, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    fit("--trainer.max_steps=2")
    fit(f"--ckpt_path={tmp_path / 'runs/version_0/checkpoints/last.ckpt'}")
    files = sorted(tmp_path.rglob("run-r1.wandb"), key=lambda path: path.stat().st_mtime)
    ids = [{record.run.run_id for record in offline.records(file) if record.HasField("run")} for file in files]
    assert ids == [{"r1"}, {"r1"}]
    assert [max(offline.Offline(file.parent).column("trainer/global_step")) for file in files] == [2, 4]


def test_without_wandb_its_callbacks_do_nothing(shards, tmp_path):
    callbacks = [WandbSegmentations(), WandbCheckpoints()]
    trainer = tiny.trainer(tmp_path, logger=CSVLogger(tmp_path), callbacks=callbacks, max_steps=1, log_every_n_steps=1)
    trainer.fit(tiny.module(), tiny.data(shards))
    assert {path.suffix for path in tmp_path.rglob("*.*")} <= {".csv", ".yaml"}


def test_checkpoints_that_are_not_there_are_left_out(tmp_path):
    """A run resumed on another machine records the path of a best checkpoint that is only on the first."""
    best, last = ModelCheckpoint(monitor="val/fg_ari"), ModelCheckpoint()
    best.best_model_path, last.last_model_path = str(tmp_path / "best.ckpt"), str(tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt").touch()
    trainer = tiny.trainer(tmp_path, callbacks=[best, last], enable_checkpointing=True)
    assert list(checkpoints(trainer)) == [("latest", last.last_model_path)]
