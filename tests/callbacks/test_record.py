import json
import subprocess

import pytest
import torch
import yaml
from pytorch_lightning.loggers import CSVLogger

import emorl as package
import tiny
from emorl.callbacks.record import by_class
from emorl.data.shards.manifest import Manifest
from emorl.provenance import git_commit, versions

QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


def git(folder, *arguments):
    command = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("logger", ["false", "pytorch_lightning.loggers.CSVLogger", "TensorBoardLogger"])
@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_every_run_leaves_its_configuration_and_versions(logger, shards, tmp_path, monkeypatch, emorl):
    monkeypatch.chdir(tmp_path)
    place = () if logger == "false" else ("--trainer.logger.save_dir=logs",)
    network = ("--model.network=emorl.model.EfficientMORL", "--model.network.slot_dim=8")
    data = (f"--data.root={shards}", "--data.batch_size=2", "--data.num_workers=0")
    run = ("--trainer.limit_test_batches=1", f"--trainer.logger={logger}", "--output_dir=out")
    emorl("test", *network, *data, *run, *place, *QUIET)
    (config,) = tmp_path.rglob("config.yaml")
    assert yaml.safe_load(config.read_text())["model"]["network"]["init_args"]["slot_dim"] == 8
    found = json.loads((config.parent / "versions.json").read_text())
    assert found["data"] == Manifest.load(shards).checksum
    assert (found["emorl"], found["torch"]) == (package.__version__, torch.__version__)
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
