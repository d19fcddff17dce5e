import multiprocessing
import os
import sys
from pathlib import Path

import pytest
import torch
import wandb
import yaml
from wandb.apis.public import sweeps
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args
from wandb.wandb_agent import Agent

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


class Service:
    """Stands in for W&B's sweep service: hands out one run."""

    def __init__(self, command, drawn):
        self.command = command
        self.runs = [[as_given(drawn)]]

    def sweep(self, *_):
        return {"config": yaml.safe_dump({"command": self.command})}

    def register(self, *_, **__):
        return {"id": "agent"}

    def heartbeat(self, *_):
        return self.runs.pop() if self.runs else []


def shortened(sweep, *more):
    """Return a sweep's command for a few steps of a tiny model."""
    *command, arguments = sweep["command"]
    assert arguments == "${args}"
    smoke = CONFIGS / "overlays" / "smoke.yaml"
    return [*command, f"--config={smoke}", "--trainer.accelerator=cpu", *TINY, *more, arguments]


def as_given(drawn):
    """Return drawn parameters as the service gives them."""
    arguments = {name: {"value": value} for name, value in drawn.items()}
    return {"type": "run", "run_id": "r1", "program": "emorl", "args": arguments}


@pytest.fixture
def here(shards, tmp_path, monkeypatch):
    """A folder like the repository's, with data; W&B is offline."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tetrominoes").symlink_to(shards)
    (tmp_path / "configs").symlink_to(CONFIGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    return tmp_path


@pytest.fixture
def agent(here, monkeypatch):
    """Run wandb's agent until it has finished one run of a sweep."""

    def run(command, drawn):
        service = Service(command, drawn)
        monkeypatch.setattr(sweeps, "_sweep_with_runs", service.sweep)
        monkeypatch.setattr(sweeps, "_register_agent", service.register)
        monkeypatch.setattr(sweeps, "_agent_heartbeat", service.heartbeat)
        Agent(api=None, queue=multiprocessing.Queue(), sweep_id="s1", count=1).run()

    monkeypatch.setattr(wandb, "Api", lambda: None)  # would ask for a key
    monkeypatch.setattr(Agent, "POLL_INTERVAL", 0.1)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # restored afterwards: the agent sets them
        monkeypatch.setenv(name, "")
    return run


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_parameter_of_a_sweep_is_tried_here(path):
    assert read(path)["parameters"].keys() == DRAWN[path.stem].keys()


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval")
def test_the_arguments_that_wandb_makes_of_a_seed_and_a_boolean_arrive(here, emorl):
    sweep = read(CONFIGS / "sweeps" / "seeds.yaml")
    drawn = as_given({**DRAWN["seeds"], "model.optimizer.init_args.amsgrad": True})
    env, program, *options, _ = shortened(sweep, "--trainer.logger=false", "--trainer.callbacks=[]")
    assert (env, program) == ("${env}", "emorl")
    emorl(*options, *create_sweep_command_args(drawn)["args"])
    (path,) = here.rglob("*.ckpt")
    checkpoint = torch.load(path)
    assert checkpoint["state_dict"]["noise_seed"] == 4
    assert checkpoint["datamodule_hyper_parameters"]["seed"] == 4
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["amsgrad"] is True


def test_all_that_an_agent_is_given_arrives_in_the_run_that_it_starts(here, agent):
    sweep = read(CONFIGS / "sweeps" / "search.yaml")
    drawn = {"curriculum.phases": "{0: 2, 3: 1}", "model.optimizer.init_args.amsgrad": False}
    agent(shortened(sweep, "--model.optimizer.init_args.amsgrad=true"), DRAWN["search"] | drawn)
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
