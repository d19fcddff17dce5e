"""tools/gpu_check.sh with a stand-in for Python: its stages, their commands, its status and its errors."""

import os
import subprocess
from pathlib import Path

import pytest
from jsonargparse import auto_parser

import benchmarks.__main__ as benchmarks
from emorl.data.commands import generate

SCRIPT = Path(__file__).parents[1] / "tools" / "gpu_check.sh"
STAND_IN = """#!/bin/sh
case "$*" in
    *is_available*) echo cpu ;;
    *{fails}*) exit 3 ;;
    *) printf '%s\\n' "$@" ;;
esac
case "$*" in *"max_steps 1") ;; *"emorl fit"*) echo "0.25 s a step at I = 1" ;; esac
"""


@pytest.fixture
def check(tmp_path):
    """Run the script with variables and options; return its result."""

    def check(*options, fails="no command", **variables):
        python = tmp_path / "python"
        python.write_text(STAND_IN.replace("{fails}", f'"{fails}"'))
        python.chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if name not in ("OUT", "CHECKPOINT")}
        environment |= {"PYTHON": str(python)} | {name: str(value) for name, value in variables.items()}
        return subprocess.run([SCRIPT, *options], env=environment, cwd=tmp_path, capture_output=True, text=True)

    return check


def arguments(log, after):
    """Return the arguments of a stage, which the stand-in has printed: those after a word."""
    words = log.read_text().splitlines()
    return words[words.index(after) + 1 :]


def test_each_stage_runs_and_its_command_parses(check, tmp_path, build):
    out = tmp_path / "out"
    result = check("--trainer.max_steps", "50", OUT="out")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (out / "summary.txt").read_text()
    title, _, *rows, training = result.stdout.splitlines()
    assert title == "device: cpu"
    names = [row.split()[0] for row in rows]
    assert names == ["versions", "tests", "engine", "models", "data", "training"]
    assert training == "training: 4 steps a second; 0.25 s a step at I = 1"
    for function, name in ((benchmarks.engine, "engine"), (benchmarks.models, "models")):
        auto_parser(function).parse_args(arguments(out / f"{name}.log", name))
    auto_parser(generate.tetrominoes).parse_args(arguments(out / "data.log", "tetrominoes"))
    fit = build("fit", *arguments(out / "training.log", "fit")[:-1])
    assert fit.trainer.max_steps == 50
    assert fit.trainer.logger.log_dir == str(out / "run")


def test_after_a_failed_stage_the_others_run(check):
    result = check(fails="benchmarks engine", OUT="out")
    assert result.returncode == 1
    statuses = {words[0]: words[1] for words in map(str.split, result.stdout.splitlines()[2:-1])}
    assert {name for name, status in statuses.items() if status != "0"} == {"engine"}
    assert (len(statuses), statuses["engine"]) == (6, "3")


def test_a_training_that_measures_no_step_fails(check):
    assert check("--trainer.max_steps", "1", OUT="out").returncode == 1


def test_a_checkpoint_resumes_with_the_configuration_of_its_run(check, tmp_path):
    run = tmp_path / "runs" / "mine"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "checkpoints/last.ckpt"):
        (run / name).touch()
    check(OUT="out", CHECKPOINT="runs/mine/checkpoints/last.ckpt")
    fit = arguments(tmp_path / "out" / "training.log", "fit")
    assert fit[:2] == [f"--config={run}/config.yaml", f"--ckpt_path={run}/checkpoints/last.ckpt"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "expected OUT, a folder for logs and tables, got none; run OUT=gpu_check"),
        ({"OUT": "/proc/none"}, "OUT: expected an empty or new folder that can be written to, got /proc/none"),
        ({"OUT": "."}, "OUT: expected an empty or new folder that can be written to, got .;"),
        ({"OUT": "out", "CHECKPOINT": "a.ckpt"}, "CHECKPOINT: expected RUN/checkpoints/NAME.ckpt and RUN/config.yaml"),
        ({"OUT": "out", "PYTHON": "none"}, "PYTHON: expected a Python with torch, got none; run make setup"),
    ],
)
def test_a_mistake_is_an_error(check, variables, message):
    result = check(**variables)
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"gpu_check.sh: error: {message}")
    assert not result.stdout
