"""The record of a run: its configuration and its versions."""

import json
import os
import subprocess
from importlib.metadata import version

import pytest
import wandb
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.trainer.states import TrainerFn

import emorl as package
import tiny
import warm
from emorl.callbacks.record import RunRecord, by_class
from emorl.data.shards.manifest import Manifest
from emorl.errors import DataError
from emorl.files import locked
from emorl.provenance import git_commit, versions

QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


def git(folder, *arguments):
    command = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def record(source=None, **options):
    """Build the record of a run with options."""
    parser = LightningArgumentParser()
    for name in ("ckpt_path", *options):
        parser.add_argument(f"--{name}")
    return RunRecord(parser, parser.parse_object({"ckpt_path": source, **options}))


def begin(folder, *callbacks, stage="fit", **options):
    """Set up the record of a run in a folder, and return the record."""
    begun = record(**options)
    try:
        begun.setup(tiny.trainer(folder, enable_checkpointing=True, callbacks=list(callbacks)), tiny.module(), stage)
    finally:
        begun.held.close()
    return begun


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_folder_above_the_working_directory_is_that_of_another_run_too(tmp_path, monkeypatch):
    touch(tmp_path / "checkpoints" / "last.ckpt")
    (tmp_path / "scripts").mkdir()
    monkeypatch.chdir(tmp_path / "scripts")
    with pytest.raises(MisconfigurationException, match="Expected a new folder for a new run"):
        begin(tmp_path)
    begin(tmp_path, source="../checkpoints/last.ckpt")


@pytest.mark.parametrize("place", ["run/checkpoints", "elsewhere"])
@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_run_with_any_checkpoint_is_not_overwritten(place, name, tmp_path):
    kept = touch(tmp_path / place / name)
    keeper = ModelCheckpoint(dirpath=None if place == "run/checkpoints" else kept.parent)
    with pytest.raises(MisconfigurationException, match=f"To resume that run, give --ckpt_path {kept}; to start a new"):
        begin(tmp_path / "run", keeper)
    begin(tmp_path / "run", keeper, source=str(kept))
    touch(tmp_path / "other" / "last.ckpt")
    with pytest.raises(MisconfigurationException, match="Expected a new folder"):
        begin(tmp_path / "run", keeper, source=str(tmp_path / "other" / "last.ckpt"))


def test_a_run_without_a_checkpoint_may_start_again_but_no_other_one_in_its_folder(tmp_path):
    """As a job that is killed before its first checkpoint, and requeued."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(record(seed="1").training, sort_keys=False))
    begin(tmp_path, seed="1")
    with pytest.raises(MisconfigurationException, match="a run with other options"):
        begin(tmp_path, seed="2")


def test_a_training_removes_what_a_killed_process_left_half_written(tmp_path):
    left, mine = (touch(tmp_path / "checkpoints" / name) for name in (f".{'0' * 32}.tmp", ".mine.tmp"))
    begin(tmp_path)
    assert (left.exists(), mine.exists()) == (False, True)


@pytest.mark.parametrize("stage", [TrainerFn.VALIDATING, TrainerFn.TESTING, TrainerFn.PREDICTING])
def test_other_subcommands_leave_the_record_of_a_training(stage, tmp_path):
    """Also with a logger that continues a run, as W&B does."""
    assert begin(tmp_path / "run", stage=stage).folder == tmp_path / "run"
    touch(tmp_path / "run" / "config.yaml")
    assert begin(tmp_path / "run", stage=stage).folder == tmp_path / "run" / stage.value
    touch(tmp_path / "run" / stage.value / "config.yaml")
    named = tmp_path / "run" / stage.value  # as a CSVLogger names it
    assert begin(named, stage=stage).folder == named


@pytest.mark.parametrize("logger", ["false", "pytorch_lightning.loggers.CSVLogger", "TensorBoardLogger"])
@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_every_run_leaves_its_configuration_and_versions(logger, shards, tmp_path, monkeypatch, emorl):
    monkeypatch.chdir(tmp_path)
    place = () if logger == "false" else ("--trainer.logger.save_dir=logs",)
    network = (
        "--model.network=emorl.model.EfficientMORL",
        "--model.network.slot_dim=8",
        "--model.network.feature_dim=8",
    )
    data = (f"--data.root={shards}", "--data.batch_size=2", "--data.num_workers=0")
    run = ("--trainer.limit_test_batches=1", f"--trainer.logger={logger}", "--output_dir=out")
    emorl("test", *network, *data, *run, *place, *QUIET)
    (config,) = tmp_path.rglob("config.yaml")
    assert yaml.safe_load(config.read_text())["model"]["network"]["init_args"]["slot_dim"] == 8
    found = json.loads((config.parent / "versions.json").read_text())
    assert found["data"] == Manifest.load(shards).checksum
    assert (found["emorl"], found["torch"]) == (package.__version__, version("torch"))
    if logger == "false":
        assert config.parent == tmp_path / "out" / "test"
    else:
        (hparams,) = tmp_path.rglob("hparams.yaml")
        assert yaml.safe_load(hparams.read_text())["versions"] == found


def test_a_run_without_a_manifest_has_no_version_of_data(tmp_path):
    assert versions(tiny.trainer(tmp_path, logger=CSVLogger(tmp_path)))["data"] is None


def test_the_commit_is_that_of_the_repository_that_keeps_the_file(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("1")
    assert git_commit(file) is None
    git(tmp_path, "init")
    assert git_commit(file) is None  # in a repository, but not kept by it
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "a")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_commit(file) == commit
    file.write_text("2")
    assert git_commit(file) == f"{commit}-dirty"


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path / "a.py") is None


def test_lists_of_classes_are_named_and_other_lists_stay():
    clocks = [{"class_path": "a.Clock"}, {"class_path": "b.Clock", "init_args": {"n": [1, 2]}}]
    assert by_class({"callbacks": clocks, "betas": [0.9, 0.99], "plugins": []}) == {
        "callbacks": {"Clock": clocks[0], "Clock_2": clocks[1]},
        "betas": [0.9, 0.99],
        "plugins": [],
    }
    named = [{"class_path": "a.My_Clock"}, {"class_path": "b.My_Clock"}]
    assert by_class(named) == {"My_Clock": named[0], "My_Clock_2": named[1]}


SMALL = ("--model.network=emorl.model.EfficientMORL", "--model.network.slot_dim=8", "--model.network.feature_dim=8")
DATA = ("--data.batch_size=2", "--data.num_workers=0")
TRAIN = ("--trainer.max_steps=1", "--trainer.limit_val_batches=0", *SMALL, *DATA, *QUIET)


def refused(emorl, capsys, *arguments):
    """Return the line with which a command refuses to run."""
    with pytest.raises(SystemExit) as caught:
        emorl(*arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval")
def test_the_record_of_a_wandb_run_lies_beside_its_checkpoints(shards, tmp_path, monkeypatch, emorl):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    emorl("fit", f"--data.root={shards}", "--trainer.logger=WandbLogger", "--trainer.logger.save_dir=runs", *TRAIN)
    name = wandb.run.id  # which no other run has
    wandb.finish()
    assert (tmp_path / "runs/lightning_logs" / name / "config.yaml").exists()
    assert list((tmp_path / "runs/lightning_logs" / name / "checkpoints").glob("*.ckpt"))


@pytest.mark.parametrize(
    ("logger", "option"),
    [
        ("emorl.loggers.AppendingCSVLogger", "--data.root=nowhere"),
        ("emorl.loggers.AppendingCSVLogger", "--model.network.num_slots=2"),
        ("TensorBoardLogger", "--data.batch_size=99"),
    ],
)
def test_a_run_that_is_refused_leaves_nothing(logger, option, shards, tmp_path, monkeypatch, emorl, capsys):
    monkeypatch.chdir(tmp_path)
    named = (f"--trainer.logger={logger}", "--trainer.logger.save_dir=runs")
    refused(emorl, capsys, "fit", f"--data.root={shards}", *named, *TRAIN, option)
    assert list(tmp_path.iterdir()) == []


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.mark.parametrize("run", ["new", "known"])
def test_a_wandb_run_that_is_refused_leaves_what_was_there(run, tmp_path, monkeypatch, emorl, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_RUN_ID", run)
    before = {"wandb/settings", "wandb/sweep-abc/config-1.yaml", "lightning_logs/known/checkpoints/a.ckpt"}
    for name in before:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    here = ("--trainer.logger=WandbLogger", "--trainer.logger.save_dir=.")
    refused(emorl, capsys, "fit", "--data.root=nowhere", *here, *TRAIN)
    wandb.finish()
    after = files_in(tmp_path)
    assert after >= before
    assert run == "known" or after == before


def test_a_folder_that_was_there_stays(shards, tmp_path, monkeypatch, emorl, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "notes").touch()
    where = ("--trainer.logger=false", "--trainer.default_root_dir=runs")
    refused(emorl, capsys, "fit", "--data.root=nowhere", *where, *TRAIN)
    assert (tmp_path / "runs" / "notes").exists()


def test_two_trainings_do_not_share_a_folder(shards, tmp_path, monkeypatch, emorl, capsys):
    monkeypatch.chdir(tmp_path)
    logger = ("--trainer.logger=emorl.loggers.AppendingCSVLogger", "--trainer.logger.save_dir=runs")
    arguments = ("fit", f"--data.root={shards}", *logger, "--trainer.logger.version=same", *TRAIN)
    folder = tmp_path / "runs" / "same"
    folder.mkdir(parents=True)
    with locked(folder):
        assert "another process writes there" in refused(emorl, capsys, *arguments)
        assert folder.exists()


def test_a_lock_is_not_inherited_by_a_fork(tmp_path):
    """A loader's worker may outlive a training that is killed."""
    with locked(tmp_path) as lock:
        if (child := os.fork()) == 0:
            try:
                os.fstat(lock)
            except OSError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(DataError, match="another process writes there"), locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_wandb_without_a_key_is_one_line(shards, tmp_path):
    """In a separate process: W&B keeps its earlier settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"HOME": str(tmp_path / "home"), "NETRC": str(tmp_path / "netrc")}
    logger = ("--trainer.logger=WandbLogger", "--trainer.logger.save_dir=runs")
    result = warm.emorl("fit", f"--data.root={shards}", *logger, *TRAIN, environment=environment, cwd=tmp_path)
    line = result.stderr.splitlines()[-1]
    assert (result.returncode, line[:19]) == (2, "emorl: error: W&B: ")
    assert "login" in line
    assert "WANDB_MODE=offline" in line
    assert not (tmp_path / "runs").exists()
