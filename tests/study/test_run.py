"""Studies: trainings in sequence, resuming, and failures."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import tiny
import warm
from emorl.errors import DataError
from emorl.files import locked
from emorl.study import run as study
from emorl.study.cli import main
from emorl.study.run import Run, read_cases

CONFIGS = Path(__file__).parents[2] / "configs"
SMOKE = [f"--config={CONFIGS / name}.yaml" for name in ("base", "efficient_morl/tetrominoes-fast", "overlays/smoke")]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def test_a_run_trains_from_its_last_checkpoint_and_is_tested_in_float32(tmp_path):
    run = Run("a", ("--x=1",), 5, tmp_path / "a" / "seed_5")
    fit, test = run.commands()
    assert not any(option.startswith("--ckpt_path") for option in fit)
    assert fit[:2] == ["fit", "--x=1"]
    assert "--seed_everything=5" in fit
    last = run.folder / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    fit, test = run.commands()
    assert f"--ckpt_path={last}" in fit
    assert test[:2] == ["test", "--x=1"]
    assert {"--trainer.precision=32-true", f"--ckpt_path={last}", f"--output_dir={run.folder}"} <= set(test)


@pytest.fixture
def separate(monkeypatch):
    """Run the commands of a study in processes of the tests, which start in a fraction of the time."""

    def call(command, log, _):
        assert command[:3] == [sys.executable, "-m", "emorl"]
        ran = warm.emorl(*command[3:])
        log.write(ran.stdout + ran.stderr)
        return ran.returncode

    monkeypatch.setattr(study, "_call", call)


def test_a_study_trains_tests_and_continues_after_a_failure(tmp_path, shards, capsys, monkeypatch, separate):
    monkeypatch.chdir(tmp_path)
    good = [f"--data.root={shards}", "--trainer.accelerator=cpu"]
    good += ["--trainer.logger+=pytorch_lightning.loggers.TensorBoardLogger", "--trainer.logger.save_dir=elsewhere"]
    cases = {"bad": ["--model.network.num_slots=two"], "good": []}
    Path("cases.yaml").write_text(yaml.safe_dump({"common": [*SMOKE, "--trainer.log_every_n_steps=1"], **cases}))
    assert main(["cases.yaml", "out", "--seeds=1", f"--options={good}"]) == 1
    with Path("out/scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["case"], row["seed"], row["I"]) for row in rows} == {("good", "0", "0"), ("good", "0", "1")}
    assert {row["score"] for row in rows} >= {"fg_ari", "mse"}
    with Path("out/summary.csv").open() as file:
        failed, finished, *_ = csv.DictReader(file)
    assert (failed["case"], failed["runs"], failed["failed seeds"]) == ("bad", "0", "0")
    assert (finished["case"], finished["I"], finished["runs"], finished["failed seeds"]) == ("good", "0", "1", "")
    assert 0 <= float(finished["fg_ari"]) <= 1
    assert Image.open("out/summary.png").format == Image.open("out/curves.png").format == "PNG"
    assert "num_slots" in Path("out/bad/seed_0/log.txt").read_text()
    assert "log.txt\n" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} <= {"cases.yaml", "out", shards.name}
    assert Path("out/good/seed_0/test/config.yaml").exists()


@pytest.fixture
def within(emorl, monkeypatch):
    """Run the commands of a study within the process, which takes a fraction of the time."""

    def call(command, log, _):
        with redirect_stdout(log):
            emorl(*command[3:])
        return 0

    monkeypatch.setattr(study, "_call", call)


@pytest.mark.filterwarnings("ignore")
def test_a_study_of_another_model(tmp_path, shards, monkeypatch, within):
    """Of a user's package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(CONFIGS.parent / "examples")
    own = [*SMOKE, "--model.network=own_model.SoftKMeans", "--model.network.slot_dim=8", "--curriculum.phases=null"]
    Path("cases.yaml").write_text(yaml.safe_dump({"own": own}))
    assert not main(["cases.yaml", "out", "--seeds=1", f"--options=['--data.root={shards}']"])
    with Path("out/scores.csv").open() as file:
        assert {(row["case"], row["seed"], row["I"]) for row in csv.DictReader(file)} == {("own", "0", "1")}


@pytest.mark.filterwarnings("ignore")
def test_fine_tuning_starts_from_trained_weights_once(tmp_path, shards, monkeypatch, within):
    monkeypatch.chdir(tmp_path)
    options = [SMOKE[0], f"--data.root={shards}", "--data.batch_size=2", "--trainer.accelerator=cpu"]
    options += ["--trainer.max_steps=1", "--trainer.limit_val_batches=0"]
    options += ["--pretrained", tiny.saved(tiny.module(image_size=20), tmp_path / "trained.ckpt")]
    Path("cases.yaml").write_text(yaml.safe_dump({"tuned": options}))
    assert not main(["cases.yaml", "out", "--seeds=1"])
    resumed, _ = Run("tuned", tuple(options), 0, Path("out/tuned/seed_0")).commands()
    assert resumed[-1] == "--ckpt_path=out/tuned/seed_0/checkpoints/last.ckpt"  # takes precedence over --pretrained


def test_a_folder_has_one_study_at_a_time(tmp_path, capsys):
    (tmp_path / "cases.yaml").write_text("a: []")
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"):
        assert main([str(tmp_path / "cases.yaml"), str(tmp_path / "out")]) == 2
    assert "another process writes there" in capsys.readouterr().err


def test_a_finished_run_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_call", lambda *_: pytest.fail("ran"))
    run = Run("a", (), 0, tmp_path)
    run.scores.write_text(json.dumps({"I=0": {}}))
    assert run.finish(lock=0)


@pytest.mark.parametrize(("step", "called"), [(1, ["fit", "test"]), (2, ["test"])])
def test_a_run_whose_training_is_finished_is_tested_alone(step, called, tmp_path, monkeypatch):
    """The study was stopped between training and test; ``emorl fit`` refuses to train a finished run."""
    calls = []
    monkeypatch.setattr(study, "_call", lambda command, *_: calls.append(command[3]) or 0)
    (tmp_path / "checkpoints").mkdir()
    progress = {"fit_loop": {"epoch_progress": {"current": {"processed": 0}}}}
    torch.save({"global_step": step, "loops": progress}, tmp_path / "checkpoints" / "last.ckpt")
    (tmp_path / "config.yaml").write_text("trainer: {max_steps: 2, max_epochs: -1}")
    assert Run("a", (), 0, tmp_path).finish(lock=0)
    assert calls == called


def test_a_training_that_ended_early_is_not_resumed(tmp_path, monkeypatch):
    """As by `EarlyStopping`; the study was stopped in the test that followed."""
    calls, statuses = [], iter([0, 1, 0])
    monkeypatch.setattr(study, "_call", lambda command, *_: calls.append(command[3]) or next(statuses))
    (tmp_path / "checkpoints").mkdir()
    progress = {"fit_loop": {"epoch_progress": {"current": {"processed": 0}}}}
    torch.save({"global_step": 1, "loops": progress}, tmp_path / "checkpoints" / "last.ckpt")
    (tmp_path / "config.yaml").write_text("trainer: {max_steps: 2, max_epochs: -1}")
    run = Run("a", (), 0, tmp_path)
    assert [run.finish(lock=0), run.finish(lock=0)] == [False, True]
    assert calls == ["fit", "test", "test"]


def test_a_study_does_not_resume_with_other_options(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(study, "_call", lambda *_: 1)
    cases = tmp_path / "cases.yaml"
    cases.write_text(yaml.safe_dump({"a": ["--x=1"]}))
    assert main([str(cases), str(tmp_path / "out"), "--seeds=1"]) == 1
    assert main([str(cases), str(tmp_path / "out"), "--seeds=2"]) == 1
    capsys.readouterr()
    assert main([str(cases), str(tmp_path / "out"), "--seeds=1", "--options=[--y=2]"]) == 2
    assert "expected --x=1, got --x=1 --y=2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", '{"I=0": {'),
        ("metrics.json", "[]"),
        ("metrics.json", '{"I=0": {"mse": 0.5}}'),
        ("metrics.json", '{"zero": {}}'),
        ("options.json", "{"),
        ("options.json", "[]"),
        ("options.json", '{"options": []}'),
        ("metrics.csv", "step,val/mse\n0,\xff\n"),
        ("metrics.csv", "a,val/mse\n0,1\n"),
        ("config.yaml", "trainer: {"),
        ("config.yaml", "model: {}"),
    ],
)
def test_a_damaged_file_of_a_run_is_one_line_that_names_it(name, content, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "_call", lambda *_: pytest.fail("ran"))
    Path(tmp_path / "cases.yaml").write_text("a: []")
    run = Run("a", (), 0, tmp_path / "out" / "a" / "seed_0")
    run.begin()
    run.log.touch()
    if name == "config.yaml":  # of a run that was stopped
        (run.folder / "checkpoints").mkdir()
        torch.save({"global_step": 1, "loops": {}}, run.folder / "checkpoints" / "last.ckpt")
    else:
        run.scores.write_text(json.dumps({"I=0": {"mse": {"mean": 0.5}}}))
    (run.folder / name).write_text(content, encoding="latin-1")
    assert main([str(tmp_path / "cases.yaml"), str(tmp_path / "out"), "--seeds=1"]) == 2
    assert re.fullmatch(rf"emorl-study: error: .*{name}: expected .*, got .*; .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("options", [("-c", "a.yaml"), ("-c=a.yaml",), ("--config=a.yaml",), ("--config", "a.yaml")])
def test_a_study_does_not_resume_with_another_configuration(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run("a", options, 0, tmp_path / "run")
    Path("a.yaml").write_text("x: {0: 1}")
    run.begin()
    run.log.touch()
    Path("a.yaml").write_text("x: {0: 1}  # the same")
    run.begin()
    Path("a.yaml").write_text("x: {0: 2}")
    with pytest.raises(DataError, match=r"expected the configuration files .* got changes in a\.yaml"):
        run.begin()


def test_a_configuration_that_does_not_exist_is_an_error_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run("a", ("-c", "a.yaml"), 0, tmp_path / "run")
    with pytest.raises(DataError, match=r"a\.yaml: expected a file or the name of a recipe, got neither"):
        run.begin()
    assert not run.folder.exists()
    Path("a.yaml").write_text("x: 2026-01-01")  # a date, for which JSON has no type
    run.begin()
    run.log.touch()
    run.begin()


def test_a_study_keeps_what_recipes_by_name_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Run("a", ("-c", "tetrominoes-fast"), 0, tmp_path / "run").begin()
    kept = json.loads((tmp_path / "run/options.json").read_text())
    assert kept["options"] == ["-c", "tetrominoes-fast"]
    assert kept["files"]["tetrominoes-fast"]["trainer"]["max_steps"] == 16000
    assert kept["files"]["base"]["trainer"]["gradient_clip_val"] == 5


@pytest.mark.parametrize("name", ["seeds", "studies/seeds", "configs/studies/seeds.yaml"])
def test_a_study_of_the_package_runs_anywhere_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "_call", lambda *_: 1)
    assert main([name, "out", "--seeds=1"]) == 1
    kept = json.loads((tmp_path / "out/tetrominoes-fast/seed_0/options.json").read_text())
    assert {"configs/base.yaml", "configs/efficient_morl/tetrominoes-fast.yaml"} == kept["files"].keys()


def test_an_unknown_study_is_one_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sedes", "out"]) == 2
    assert "sedes: expected a file or the name of a study, got neither" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_configuration_that_cannot_be_read_is_one_error(tmp_path):
    (tmp_path / "a.yaml").write_text("{")
    with pytest.raises(DataError, match=r"a\.yaml: expected a YAML file, got .*; check"):
        Run("a", ("-c", f"{tmp_path}/a.yaml"), 0, tmp_path / "run").begin()
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_not_started_can_be_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run("a", ("-c", "a.yaml"), 0, tmp_path / "run")
    for content, begun in (("x: 1", False), ("x: 2", True)):
        Path("a.yaml").write_text(content)
        run.begin()
        if begun:
            run.log.touch()
    Path("a.yaml").write_text("x: 3")
    with pytest.raises(DataError, match=r"got changes in a\.yaml"):
        run.begin()


def test_null_stays_null(tmp_path):
    (tmp_path / "cases.yaml").write_text("a: [--pretrained, null, --x=1]")
    assert read_cases(tmp_path / "cases.yaml") == {"a": ["--pretrained", "null", "--x=1"]}


def test_what_is_common_comes_first_in_every_case(tmp_path):
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump({"common": ["-c", "a.yaml"], "plain": [], "wide": ["--k=7"]}))
    assert read_cases(tmp_path / "cases.yaml") == {"plain": ["-c", "a.yaml"], "wide": ["-c", "a.yaml", "--k=7"]}


@pytest.mark.parametrize("content", ["- a", "a: b", "", "{", "common: [a]", "null: []", "1: []", "../x: []", "..: []"])
def test_invalid_cases_are_refused(tmp_path, content, capsys, monkeypatch):
    monkeypatch.setattr(study, "_call", lambda *_: pytest.fail("ran"))
    (tmp_path / "cases.yaml").write_text(content)
    assert main([str(tmp_path / "cases.yaml"), str(tmp_path / "out")]) == 2
    assert "emorl-study: error:" in capsys.readouterr().err


@pytest.mark.parametrize(("one", "two"), [("a", "a"), ("1", "'1'")])
def test_a_case_that_is_there_twice_is_named_with_its_line(one, two, tmp_path):
    (tmp_path / "cases.yaml").write_text(f"{one}: [--x]\n{two}: [--y]")
    with pytest.raises(DataError, match=rf"a mistake in line 2 \({one} is there twice\)"):
        read_cases(tmp_path / "cases.yaml")


def test_a_second_ctrl_c_ends_the_run(tmp_path, monkeypatch):
    """Else it would train without the study's lock."""
    wait, waits = subprocess.Popen.wait, []

    def interrupted(process, *arguments):
        waits.append(process)
        while not log.tell():
            time.sleep(0.01)
        if len(waits) < 3:
            raise KeyboardInterrupt
        return wait(process, *arguments)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with (tmp_path / "log.txt").open("a") as log, pytest.raises(KeyboardInterrupt):
        study._call(["sh", "-c", "trap '' TERM; echo up; exec sleep 60"], log, log.fileno())
    assert waits[0].returncode == -signal.SIGKILL


@pytest.fixture
def start(tmp_path):
    started = []

    def start(child):
        """Start a study that runs a program instead of training, and wait until it has logged something."""
        program = f"""
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from emorl.study import cli, run as study
study.Run.commands = lambda run: iter([[]])
call = study._call
study._call = lambda command, log, lock: call([sys.executable, "-c", {child!r}], log, lock)
sys.exit(cli.main(["cases.yaml", "out", "--seeds=1"]))
"""
        (tmp_path / "cases.yaml").write_text("a: []")
        process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, process_group=0)
        started.append(process)
        log = tmp_path / "out" / "a" / "seed_0" / "log.txt"
        deadline = time.monotonic() + 120
        while not (log.exists() and log.read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return process, log

    yield start
    for process in started:
        process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_study_that_is_stopped_lets_its_run_save(number, status, start):
    process, log = start("""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("saved")))
print("up", flush=True)
time.sleep(60)
""")
    os.killpg(process.pid, number)  # like Ctrl-C and schedulers
    assert process.wait(30) == status
    assert log.read_text().split() == ["up", "saved"]


def test_a_run_that_outlives_its_study_keeps_other_studies_out(start, tmp_path):
    process, log = start("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    process.kill()
    process.wait(30)
    with pytest.raises(DataError, match="another process writes there"), locked(tmp_path / "out"):
        pass
    os.kill(int(log.read_text()), signal.SIGKILL)
    deadline = time.monotonic() + 30
    while True:
        try:
            with locked(tmp_path / "out"):
                break
        except DataError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
