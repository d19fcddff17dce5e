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
from emorl.entry import main

CONFIGS = Path(__file__).parents[1] / "configs"
COMPOSED = ("base", "overlays/wandb", "efficient_morl/tetrominoes", "overlays/smoke")
OVERLAYS = [f"--config={CONFIGS / name}.yaml" for name in COMPOSED]
SMALL = (
    "--model.network.init_args.slot_dim=8",
    "--model.network.init_args.feature_dim=8",
    "--curriculum.phases={0: 2, 3: 1}",
)
QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
VARIABLES = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_RUN_ID": "r1",
    "PL_GLOBAL_SEED": "0",  # which training sets
    "PL_SEED_WORKERS": "0",
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are using `torch.load` with `weights_only=False`"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder, in which the run r1 trains offline."""
    folder = tmp_path_factory.mktemp("offline")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        yield folder


@pytest.fixture(scope="module")
def fit(folder, shards):
    """Train, and wait until W&B has written its last records."""

    def run(*arguments):
        main(["fit", *OVERLAYS, f"--data.root={shards}", *SMALL, *QUIET, *arguments])
        wandb.finish()
        wandb.teardown()

    return run


@pytest.fixture(scope="module")
def trained(fit, folder):
    """What W&B got of a run, and the steps of the checkpoints that are its artifacts."""
    steps, add_file = [], wandb.Artifact.add_file

    def add(artifact, path, **options):
        steps.append(torch.load(path)["global_step"])
        return add_file(artifact, path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb.Artifact, "add_file", add)
        fit("--trainer.logger+=pytorch_lightning.loggers.TensorBoardLogger", "--trainer.logger.save_dir=board")
    return offline.Offline(folder), steps


def test_wandb_gets_everything_and_other_loggers_the_same_numbers(trained, folder):
    run, _ = trained
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

    version = folder / "runs" / "version_0"
    with (version / "metrics.csv").open() as file:
        columns = set(next(csv.reader(file))) - {"epoch", "step"}
    (events,) = (folder / "board").rglob("events*")
    assert numbers <= columns
    assert columns <= set(EventAccumulator(str(events)).Reload().Tags()["scalars"])
    assert columns <= {name for row in run.rows for name in row}

    config = yaml.safe_load((version / "config.yaml").read_text())
    for part in ("seed_everything", "model", "data"):
        assert run.config[part] == config[part]
    assert run.config["curriculum"]["phases"] == {"0": 2, "3": 1}
    assert run.config["versions"] == json.loads((version / "versions.json").read_text())

    (*_, shown) = (row for row in run.rows if "segmentations.all_masks" in row)
    assert [masks.keys() for masks in shown["segmentations.all_masks"]] == [{"slots", "objects"}] * 2


def test_checkpoints_are_artifacts_of_which_the_best_is_the_best_validated(trained):
    run, steps = trained
    assert {name for name, _ in run.artifacts} == {f"model-{run.id}"}
    assert [set(aliases) for _, aliases in run.artifacts] == [{"best", "latest"}, {"latest"}]  # W&B moves 'latest' on
    scores = run.column("val/fg_ari")
    assert steps == [2 if scores[0] >= scores[1] else 4, 4]


@pytest.mark.filterwarnings("ignore:The dirpath has changed from")
def test_a_resumed_run_goes_on_under_its_id(trained, fit, folder):
    fit(f"--ckpt_path={folder / 'runs/version_0/checkpoints/last.ckpt'}", "--trainer.max_steps=6")
    files = sorted(folder.rglob("run-r1.wandb"), key=lambda path: path.stat().st_mtime)
    ids = [{record.run.run_id for record in offline.records(file) if record.HasField("run")} for file in files]
    assert ids == [{"r1"}, {"r1"}]
    assert [max(offline.Offline(file.parent).column("trainer/global_step")) for file in files] == [4, 6]


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
