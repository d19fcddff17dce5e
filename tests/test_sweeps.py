"""Sweeps: the commands of W&B's agent, with drawn values as `--NAME=VALUE`."""

from pathlib import Path

import pytest
import torch
import wandb
import yaml

import offline

CONFIGS = Path(__file__).parents[1] / "configs"
SWEEPS = sorted((CONFIGS / "sweeps").glob("*.yaml"))
TINY = ["--model.network.init_args.slot_dim=8", "--model.network.init_args.feature_dim=8"]

# What the service may draw. A float that Python prints with an exponent and no point is a string to YAML 1.1.
DRAWN = {
    "seeds": {"seed_everything": 4},
    "search": {
        "model.optimizer.init_args.lr": 3e-05,
        "model.network.init_args.geco.init_args.target": -1.15,
        "model.network.init_args.geco.init_args.step_size": 2e-06,
        "curriculum.phases": "{0: 3, 50000: 1, 100000: 0}",
    },
}


def read(path):
    return yaml.safe_load(path.read_text())


def arguments(sweep, drawn, *more):
    """Return the arguments that the agent gives to `emorl` for drawn values, for a few steps of a tiny model."""
    env, program, *options, last = sweep["command"]
    assert (env, program, last) == ("${env}", "emorl", "${args}")
    smoke = CONFIGS / "overlays" / "smoke.yaml"
    drawn = [f"--{name}={value}" for name, value in drawn.items()]
    return [*options, f"--config={smoke}", "--trainer.accelerator=cpu", *TINY, *more, *drawn]


@pytest.fixture
def here(shards, tmp_path, monkeypatch):
    """A folder with the repository's configurations and data; W&B is offline."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tetrominoes").symlink_to(shards)
    (tmp_path / "configs").symlink_to(CONFIGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    return tmp_path


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_parameter_of_a_sweep_is_tested(path):
    assert read(path)["parameters"].keys() == DRAWN[path.stem].keys()


def test_a_seed_and_a_boolean_arrive(here, build):
    sweep = read(CONFIGS / "sweeps" / "seeds.yaml")
    drawn = DRAWN["seeds"] | {"model.optimizer.init_args.amsgrad": True}
    cli = build(*arguments(sweep, drawn, "--trainer.logger=false", "--trainer.callbacks=[]"))
    assert cli.model.noise_seed == cli.datamodule.seed == 4
    (group,) = cli.model.optimizer(cli.model.network.parameters()).param_groups
    assert group["amsgrad"] is True


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval")
def test_all_drawn_values_arrive_in_the_run(here, emorl):
    wandb.teardown()  # discards settings of earlier tests
    sweep = read(CONFIGS / "sweeps" / "search.yaml")
    drawn = DRAWN["search"] | {"curriculum.phases": "{0: 2, 3: 1}", "model.optimizer.init_args.amsgrad": False}
    emorl(*arguments(sweep, drawn, "--model.optimizer.init_args.amsgrad=true"))
    wandb.finish()
    wandb.teardown()  # waits for the last records
    (path,) = here.rglob("last.ckpt")
    checkpoint, run = torch.load(path), offline.Offline(here)
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    assert (group["initial_lr"], group["amsgrad"]) == (3e-05, False)
    geco = checkpoint["hyper_parameters"]["network"]["init_args"]["geco"]["init_args"]
    assert (geco["target"], geco["step_size"]) == (-1.15, 2e-06)
    assert run.id == "r1"
    assert run.column("train/refinement_steps") == [2, 2, 2, 1]
    assert len(run.column(sweep["metric"]["name"])) == 2  # early stopping's metric, at each validation


def test_the_search_stops_runs_early():
    sweep = read(CONFIGS / "sweeps" / "search.yaml")
    recipe = read(CONFIGS / "efficient_morl" / "tetrominoes.yaml")["trainer"] | read(CONFIGS / "base.yaml")["trainer"]
    validations = recipe["max_steps"] / recipe["val_check_interval"]
    assert sweep["early_terminate"]["type"] == "hyperband"
    assert sweep["early_terminate"]["min_iter"] * sweep["early_terminate"]["eta"] < validations
