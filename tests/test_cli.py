"""The command `emorl` from end to end."""

import json
import os
import signal
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint

import tiny
from emorl.callbacks import LogReconstructions, RefinementCurriculum
from emorl.model import EfficientMORL, MixtureLikelihood, SlotAttention
from emorl.optim import WarmupCosineDecay

CONFIGS = Path(__file__).parents[1] / "configs"
BASE, SMOKE, WANDB, DEMO = (
    CONFIGS / f"{name}.yaml" for name in ("base", *(f"overlays/{o}" for o in ("smoke", "wandb", "demo")))
)
RECIPES = sorted(path for path in CONFIGS.glob("*/*.yaml") if path.parent.name not in ("overlays", "studies", "sweeps"))
FAST = CONFIGS / "efficient_morl" / "tetrominoes-fast.yaml"
TETROMINOES = CONFIGS / "efficient_morl" / "tetrominoes.yaml"
each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")

QUIET = (
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=-1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)
SMALL = (
    "--model.image_size=16",
    *(f"--model.network.init_args.{name}" for name in ("num_slots=4", "slot_dim=8", "feature_dim=8")),
)

# Lightning's advice that short, quiet runs do not need.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory: configurations name folders relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configs(*paths):
    return [f"--config={path}" for path in (BASE, *paths, SMOKE)]


@each_recipe
def test_a_recipe_fits_tests_and_predicts(recipe, shards, here, emorl, build):
    scenes = (f"--data.root={shards}", "--model.crop=square", "--model.image_size=16")  # those here are small
    common = (*scenes, "--trainer.max_steps=3", *QUIET)  # enough for all phases
    cli = build("fit", *configs(recipe), *common)
    assert type(cli.model.network).__name__.lower() == recipe.parent.name.replace("_", "")  # that of the folder
    assert cli.datamodule.image_size == cli.model.image_size
    assert {ModelCheckpoint, LogReconstructions, RefinementCurriculum} <= set(parts(cli.trainer))
    for steps in (cli.model.refinement_steps, cli.model.test_refinement_steps):
        assert cli.model.network.checked_steps(steps) == steps
    cli.run()
    (last,) = here.rglob("last.ckpt")
    assert torch.load(last)["global_step"] == 3
    assert list(here.rglob("pictures/*.png"))
    assert list(here.rglob("metrics.csv"))
    if recipe.stem != "tetrominoes-fast":  # recipes of a model differ in what is trained, not in what follows
        return
    emorl("test", *configs(recipe), *common, f"--ckpt_path={last}", "--output_dir=tested")
    stages = json.loads((here / "tested" / "metrics.json").read_text())
    assert {scores["mse"]["images"] for scores in stages.values()} == {2}
    emorl("predict", *configs(recipe), *common, f"--ckpt_path={last}", "--output_dir=predicted")
    assert {path.suffix for path in (here / "predicted").iterdir()} == {".npz", ".png"}


def test_few_images_are_trained_without_lightnings_warning_of_the_logging_interval(shards, here, emorl):
    data = f"--data.root={shards}", "--data.batch_size=6"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The number of training batches")
        emorl("fit", *configs(TETROMINOES), *SMALL, *data, "--trainer.log_every_n_steps=4", *QUIET)
    (log,) = here.rglob("metrics.csv")
    assert "train/loss" in log.read_text()  # values are logged across epochs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of an untrained module with two refinement steps in testing."""
    module = tiny.module(test_refinement_steps=2, image_size=20)
    return tiny.saved(module, tmp_path_factory.mktemp("checkpoint") / "a.ckpt")


@pytest.fixture
def folder(tmp_path):
    """A folder of images of odd sizes."""
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, shape in (("a.png", (31, 57, 3)), ("b.JPG", (64, 9, 3)), ("c.jpeg", (20, 20)), ("d.png", (1, 1, 3))):
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(folder / name)
    return folder


def test_bare_prediction_of_a_folder_needs_only_checkpoint_and_root(checkpoint, folder, here, emorl, capsys):
    emorl("predict", f"--ckpt_path={checkpoint}", f"--data.root={folder}")
    (place,) = here.rglob("predictions")
    assert {path.name for path in place.iterdir()} == {
        "overview.png",
        *(f"{name}{kind}" for name in "abcd" for kind in (".npz", ".png", "_labels.png")),
    }
    with np.load(place / "a.npz") as arrays:
        assert arrays["image"].shape == (3, 20, 20)  # the checkpoint's image size
        assert arrays["slots"].shape == (4, 8)
    assert "a picture of 4 images" in capsys.readouterr().out


def test_predictions_are_written_and_not_kept(checkpoint, folder, here, build):
    cli = build("predict", f"--ckpt_path={checkpoint}", f"--data.root={folder}", *QUIET)
    cli.run()
    assert not cli.trainer.predict_loop.return_predictions


@pytest.mark.filterwarnings("ignore:The dirpath has changed from")
def test_a_run_goes_on_where_its_folder_has_moved(shards, here, emorl):
    options = ("fit", *configs(TETROMINOES), *SMALL, f"--data.root={shards}", *QUIET)
    emorl(*options, "--trainer.max_steps=2")
    (here / "runs").rename(here / "moved")
    last = here / "moved" / "version_0" / "checkpoints" / "last.ckpt"
    emorl(*options, "--trainer.logger.save_dir=moved", "--trainer.logger.version=version_0", f"--ckpt_path={last}")
    assert torch.load(last)["global_step"] == 4
    assert not list(here.rglob("last-v1.ckpt"))


@pytest.mark.parametrize(("command", "wrote"), [("test", {"metrics.json"}), ("predict", {"overview.png"})])
def test_what_a_bare_command_leaves_is_what_was_asked_for(command, wrote, checkpoint, shards, here, emorl, capsys):
    emorl(command, f"--ckpt_path={checkpoint}", f"--data.root={shards}", "--output_dir=out", *QUIET)
    assert {path.name for path in here.iterdir()} == {"out"}
    assert {path.name for path in (here / "out").glob("*") if not path.name.startswith("test-")} == {command} | wrote
    assert {path.name for path in (here / "out" / command).iterdir()} == {"config.yaml", "versions.json"}
    if command == "test":
        assert json.loads((here / "out" / "metrics.json").read_text()).keys() == {"I=0", "I=2"}
    assert "Test metric" not in capsys.readouterr().out  # Lightning's table, beside the report


def test_progress_is_shown_unless_it_is_switched_off(checkpoint, shards, here, emorl, capsys):
    one = ("--data.batch_size=1", "--trainer.limit_predict_batches=1")
    arguments = ("predict", f"--ckpt_path={checkpoint}", f"--data.root={shards}", *one, "--progress.minutes=0")
    emorl(*arguments)
    assert "predict: 1 of 1" in capsys.readouterr().out
    emorl(*arguments, "--trainer.enable_progress_bar=false")
    assert "predict: " not in capsys.readouterr().out


def test_the_command_line_overrules_the_checkpoint(checkpoint, shards, here, emorl):
    emorl(
        *("test", f"--ckpt_path={checkpoint}", f"--data.root={shards}", "--output_dir=out", *QUIET),
        "--model.test_refinement_steps=1",
    )
    assert json.loads((here / "out" / "metrics.json").read_text()).keys() == {"I=0", "I=1"}


def test_a_configuration_overrules_the_checkpoint(checkpoint, here, build):
    (here / "more.yaml").write_text("model:\n  test_refinement_steps: 3\n")
    cli = build("test", "-c", "more.yaml", f"--ckpt_path={checkpoint}", *QUIET)
    assert (cli.model.test_refinement_steps, cli.model.image_size) == (3, 20)


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "emorl", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ)
    assert result.returncode == 0
    assert "usage: emorl" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_completes_options(shell, emorl, capsys, tmp_path):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as caught:
        emorl(f"--print_completion={shell}")
    assert caught.value.code == 0
    script = capsys.readouterr().out
    if shell == "zsh":
        assert "--model.refinement_steps" in script
        return
    ask = '_shtab_emorl emorl --model.ref ""; echo ${COMPREPLY[@]}'
    (tmp_path / "ask.sh").write_text(f"{script}\nCOMP_WORDS=(emorl fit --model.ref) COMP_CWORD=2\n{ask}\n")
    result = subprocess.run(["bash", tmp_path / "ask.sh"], capture_output=True, text=True, timeout=600)
    assert result.stdout == "--model.refinement_steps\n", result.stderr


def test_a_terminated_command_does_not_end_as_if_all_were_done(shards, here, emorl):
    terminated = (
        "--trainer.callbacks=preempted.Signal",
        "--trainer.callbacks.step=0",
        "--trainer.callbacks.name=SIGTERM",
    )
    with pytest.raises(SystemExit) as caught:
        emorl("fit", *terminated, f"--data.root={shards}", "--data.batch_size=2", *QUIET)
    assert caught.value.code == 143


def error_of(emorl, capsys, *arguments):
    """Return the single line that a failing command leaves on stderr."""
    with pytest.raises(SystemExit) as caught:
        emorl(*arguments)
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if "error: " in line]
    assert text.splitlines()[-1] == line
    assert line.startswith("emorl: error: ")
    return line


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_checkpoint_that_is_not_there(command, shards, here, emorl, capsys):
    arguments = (command, "--ckpt_path=nowhere.ckpt", f"--data.root={shards}", *QUIET)
    assert "nowhere.ckpt" in error_of(emorl, capsys, *arguments)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_file_that_is_no_checkpoint(content, shards, here, emorl, capsys):
    (here / "bad.ckpt").write_bytes(content)
    assert "bad.ckpt" in error_of(emorl, capsys, "test", "--ckpt_path=bad.ckpt", f"--data.root={shards}", *QUIET)


@pytest.mark.parametrize("name", ["ckpt_path", "pretrained"])
def test_a_configuration_does_not_take_weights_back(name, checkpoint, shards, here, emorl, capsys):
    """As the recorded configuration of a run does, if it comes last."""
    (here / "config.yaml").write_text(f"{name}: null\n")
    line = error_of(
        emorl, capsys, "fit", f"--{name}={checkpoint}", "-c", "config.yaml", f"--data.root={shards}", *QUIET
    )
    assert f"--{name} {checkpoint} is overridden by '{name}: null'" in line


@pytest.mark.parametrize("word", ["last", "best"])
def test_a_checkpoint_to_be_found_is_found_in_training_alone(word, shards, here, emorl, capsys):
    line = error_of(emorl, capsys, "test", f"--ckpt_path={word}", f"--data.root={shards}", *QUIET)
    assert f"Expected the path of a checkpoint, got '{word}'" in line


@pytest.mark.parametrize(
    ("word", "told"),
    [("best", "Expected the path of a checkpoint, got 'best'"), ("hpc", "Expected a file hpc_ckpt_N.ckpt in ")],
)
def test_a_checkpoint_that_cannot_be_found_is_one_line(word, told, shards, here, emorl, capsys):
    assert told in error_of(emorl, capsys, "fit", f"--ckpt_path={word}", f"--data.root={shards}", *QUIET)


@pytest.mark.parametrize("options", [["-c", WANDB], ["--trainer.callbacks+=emorl.callbacks.BestCheckpoint"]])
def test_a_callback_that_is_there_twice_is_named(options, here, emorl, capsys):
    best = "--trainer.callbacks+=emorl.callbacks.BestCheckpoint"
    line = error_of(emorl, capsys, "fit", "-c", BASE, *options, "--trainer.logger=false", best, *QUIET)
    assert "Expected each callback of the trainer once, got BestCheckpoint twice. Remove one" in line


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        (["--trainer.logger=false", "--trainer.callbacks=LearningRateMonitor"], LearningRateMonitor),
        (["--trainer.logger=[]", "--trainer.callbacks=[LearningRateMonitor]"], LearningRateMonitor),
    ],
)
def test_a_callback_without_effect_is_left_out_however_it_is_given(options, absent, here, build):
    assert not any(isinstance(part, absent) for part in build("fit", *options, *QUIET).trainer.callbacks)


def test_a_checkpoint_of_a_url_has_its_configuration(checkpoint, shards, here, emorl):
    url = Path(checkpoint).absolute().as_uri()
    emorl("test", f"--ckpt_path={url}", f"--data.root={shards}", "--output_dir=out", *QUIET)
    assert json.loads((here / "out" / "metrics.json").read_text()).keys() == {"I=0", "I=2"}


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--data.recursive"], True),
        (["--data.recursive", "--trainer.logger=false"], True),
        (["--data.recursive", "true"], True),
        (["--data.recursive=true"], True),
        (["--data.recursive", "false"], False),
    ],
)
def test_a_boolean_option_may_be_a_flag(words, value, here, build):
    assert build("predict", "--data.root=photos", *words, *QUIET).datamodule.recursive is value


def test_a_logger_that_refuses_its_arguments_is_one_line(shards, here, emorl, capsys):
    pytest.importorskip("wandb")
    logger = ("--trainer.logger=WandbLogger", "--trainer.logger.log_model=all", "--trainer.logger.offline=true")
    line = error_of(emorl, capsys, "fit", f"--data.root={shards}", *logger, *QUIET)
    assert "Providing log_model=all and offline=True is an invalid configuration" in line


@pytest.mark.parametrize("option", ["ckpt_path", "pretrained"])
def test_a_checkpoint_of_another_project(option, shards, here, emorl, capsys):
    torch.save({"hyper_parameters": {"hidden": 3}, "state_dict": {}}, here / "other.ckpt")
    line = error_of(emorl, capsys, "test", f"--{option}=other.ckpt", f"--data.root={shards}", *QUIET)
    assert "other.ckpt: expected a checkpoint of this version's emorl fit, got one with hidden" in line


def test_a_folder_has_one_run(shards, here, emorl, capsys):
    named = ("--trainer.logger.version=a", "--trainer.max_steps=1", f"--data.root={shards}")
    arguments = (*configs(TETROMINOES), *SMALL, *named, *QUIET)
    emorl("fit", *arguments)
    last = Path("runs/a/checkpoints/last.ckpt")
    before = last.read_bytes()
    assert f"Expected a new folder for a new run, got that of {last}" in error_of(emorl, capsys, "fit", *arguments)
    assert last.read_bytes() == before
    emorl("fit", *arguments, f"--ckpt_path={last}", "--trainer.max_steps=2")
    assert torch.load(last, weights_only=True)["global_step"] == 2
    record = yaml.safe_load(Path("runs/a/config.yaml").read_text())
    assert (record["ckpt_path"], record["trainer"]["max_steps"]) == (None, 2)  # which repeats the run from its start


def test_a_finished_run_has_nothing_to_train(shards, here, emorl, capsys):
    arguments = (*configs(TETROMINOES), *SMALL, f"--data.root={shards}", *QUIET)
    emorl("fit", *arguments, "--trainer.logger.version=a", "--trainer.max_steps=2")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    capsys.readouterr()
    for version, steps in (("a", 1), ("b", 2)):
        again = ("--ckpt_path=runs/a/checkpoints/last.ckpt", f"--trainer.logger.version={version}")
        line = error_of(emorl, capsys, "fit", *arguments, *again, f"--trainer.max_steps={steps}")
        told = f"nothing to train: the checkpoint is at step 2, max_steps is {steps}; raise --trainer.max_steps"
        assert line == f"emorl: error: {told}"
        assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before
        assert [path.name for path in (here / "runs").iterdir()] == ["a"]


def test_a_run_that_is_refused_names_no_folder(shards, here, emorl, capsys):
    """As where an epoch has no whole batch."""
    with pytest.raises(SystemExit) as caught:
        emorl("fit", *configs(TETROMINOES), f"--data.root={shards}", "--data.batch_size=13", *QUIET)
    assert caught.value.code == 2
    text, errors = capsys.readouterr()
    assert "Run folder" not in text
    assert "error: " in errors
    assert list(here.iterdir()) == []


def test_a_trial_run_may_be_repeated(shards, here, emorl):
    trial = ("--trainer.fast_dev_run=1", f"--data.root={shards}", "--data.batch_size=2", *SMALL, *QUIET)
    for _ in range(2):
        emorl("fit", "-c", BASE, *trial)
    assert list(here.iterdir()) == []


def test_without_a_logger_a_run_trains(shards, here, emorl):
    options = (f"--data.root={shards}", "--trainer.max_steps=1", "--trainer.logger=false")
    emorl("fit", *configs(TETROMINOES), *SMALL, *options, *QUIET)
    assert {"config.yaml", "versions.json", "checkpoints"} <= {path.name for path in (here / "runs").iterdir()}


def test_an_interrupted_command_says_so(checkpoint, shards, here, emorl, capsys):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
    interrupted = ("--trainer.callbacks=interrupted.Interrupt", f"--data.root={shards}", *QUIET)
    with pytest.raises(SystemExit) as caught:
        emorl("predict", f"--ckpt_path={checkpoint}", *interrupted)
    assert caught.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == "emorl: interrupted"
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--model.network.num_layers=0", "Expected num_layers of 1 or more, got 0."),
        ("--model.network.decoder.stride=0", "Expected stride of 1 or more, got 0."),
        ("--model.image_size=0", "Expected image_size of 1 or more, got 0."),
        ("--trainer.gradient_clip_val=-1", "Expected gradient_clip_val of 0 or more, got -1."),
        ("--trainer.accumulate_grad_batches=0", "Expected accumulate_grad_batches of 1 or more, got 0."),
        ("--trainer.log_every_n_steps=-1", "Expected log_every_n_steps of 0 or more, got -1."),
        ("--trainer.num_sanity_val_steps=-3", "Expected num_sanity_val_steps of 0 or more, got -3."),
        ("--predictions.overview=-2", "Expected overview of 0 or more, got -2."),
        ("--trainer.devices=-2", "Expected valid options of the trainer, got: `devices`"),
        ("--trainer.devices=two", "Expected valid options of the trainer, got: `devices`"),
        ("--seed_everything=-1", "Expected seed_everything from 0 to 4294967295, got -1."),
        ("--seed_everything=99999999999999999999", "got 99999999999999999999."),
        ("--model.optimizer.lr=-1", "Expected an optimizer and a scheduler, got: Invalid learning rate: -1.0"),
    ],
)
def test_a_number_out_of_range(option, told, shards, here, emorl, capsys):
    assert told in error_of(emorl, capsys, "fit", f"--data.root={shards}", "--data.batch_size=2", option, *QUIET)


def test_a_model_that_is_not_complete(shards, here, emorl, capsys):
    with pytest.raises(SystemExit) as caught:
        emorl("fit", f"--data.root={shards}", "--model.network=interrupted.Incomplete", *QUIET)
    assert caught.value.code == 2
    assert "abstract" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["refinement_steps", "test_refinement_steps"])
def test_fewer_than_no_refinement_steps(option, shards, here, emorl, capsys):
    line = error_of(emorl, capsys, "test", f"--model.{option}=-1", f"--data.root={shards}", *QUIET)
    assert "Expected 0 or more steps, got -1" in line


def test_results_that_cannot_be_written(checkpoint, shards, here, emorl, capsys):
    (here / "out").touch()
    arguments = (f"--ckpt_path={checkpoint}", f"--data.root={shards}", "--output_dir=out", *QUIET)
    assert "out" in error_of(emorl, capsys, "test", *arguments)


def test_options_beside_weights_are_those_of_their_model(shards, here, emorl, capsys):
    """Of its Muon and WarmupCosineDecay, which are not the defaults."""
    options = ("--model.optimizer.init_args.momentum=0.5", "--model.scheduler.init_args.total_steps=7")
    with pytest.raises(SystemExit):
        emorl("fit", "--pretrained=tetrominoes", f"--data.root={shards}", *options, "--print_config")
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert model["optimizer"]["init_args"]["momentum"] == 0.5
    assert model["scheduler"]["init_args"]["total_steps"] == 7
    assert model["network"]["init_args"]["slot_dim"] == 32


def test_the_weights_of_a_checkpoint_start_a_run_of_their_own(checkpoint, shards, here, emorl):
    options = ("--trainer.max_steps=1", "--model.optimizer.init_args.lr=0", "--data.batch_size=2")
    emorl("fit", f"--pretrained={checkpoint}", f"--data.root={shards}", *options, *QUIET)
    (path,) = here.glob("**/*.ckpt")
    first, last = (torch.load(path, weights_only=True) for path in (checkpoint, path))
    assert last["global_step"] == 1
    for name, _ in tiny.module(image_size=20).named_parameters():
        assert torch.equal(last["state_dict"][name], first["state_dict"][name]), name


@pytest.fixture(params=["job_1", "1"])
def run(shards, here, emorl, request):
    """A run of one step with a name or number, as one of a study or of SLURM has it; returns its folder."""
    (here / "pre.ckpt").symlink_to(tiny.saved(tiny.module(image_size=20), here / "first.ckpt"))
    logger = ("--trainer.logger=emorl.loggers.AppendingCSVLogger", "--trainer.logger.save_dir=runs")
    named = ("--trainer.logger.name=null", f"--trainer.logger.version={request.param}")
    options = (f"--data.root={shards}", "--trainer.max_steps=1", *QUIET)
    emorl("fit", "-c", SMOKE, "--pretrained=pre.ckpt", *logger, *named, *options)
    (folder,) = (here / "runs").iterdir()
    return folder


@pytest.mark.parametrize(
    ("run", "commands"), [("job_1", ("validate", "test", "predict")), ("1", ("test",))], indirect=["run"]
)
def test_a_run_keeps_its_record(run, commands, here, emorl, monkeypatch, shards):
    """Also if a command runs within its folder, without a logger."""
    (last,) = run.glob("**/*.ckpt")
    record = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert {path.name for path in record} == {"config.yaml", "hparams.yaml", "metrics.csv", "versions.json"}
    for command in commands:
        monkeypatch.chdir(here)
        emorl(command, "-c", f"{run}/config.yaml", "--pretrained=null", f"--ckpt_path={last}")
        assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == record
        (run / command / "config.yaml").unlink()
        monkeypatch.chdir(run)
        data = (f"--data.root={shards}", "--data.num_workers=0")
        emorl(command, f"--ckpt_path={last}", *data, "--trainer.logger=false", *QUIET)
        assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == record
        assert (run / command / "config.yaml").exists()


def test_a_run_that_began_with_weights_goes_on(run, here, emorl):
    (last,) = run.glob("**/*.ckpt")
    (here / "pre.ckpt").unlink()
    emorl("fit", "-c", f"{run}/config.yaml", f"--ckpt_path={last}", "--trainer.max_steps=2")
    steps = [torch.load(path, weights_only=True)["global_step"] for path in run.glob("**/*.ckpt")]
    assert max(steps) == 2


def test_images_are_not_written_over(checkpoint, folder, here, emorl, capsys):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    arguments = (f"--ckpt_path={checkpoint}", f"--data.root={folder}", f"--output_dir={folder}", *QUIET)
    line = error_of(emorl, capsys, "predict", *arguments)
    assert "expected a folder without the images" in line
    assert before.items() <= {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}.items()


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_an_output_dir_that_would_be_ignored_is_refused(command, checkpoint, shards, here, emorl, capsys):
    (here / "out.yaml").write_text("output_dir: out\n")
    known = f"--ckpt_path={checkpoint}"
    for words in (["--output_dir=out"], ["-c", "out.yaml"]):
        line = error_of(emorl, capsys, command, *words, known, f"--data.root={shards}", *QUIET)
        assert f"Expected --output_dir with test or predict, got it with {command}. Remove it; " in line
        assert command == "validate" or "--trainer.logger.save_dir" in line
    assert not (here / "out").exists()


def test_a_seed_is_a_number(shards, emorl, capsys):
    line = error_of(emorl, capsys, "fit", "--seed_everything=true", f"--data.root={shards}", *QUIET)
    assert "Expected a number as seed_everything, got true" in line


def test_weights_may_be_named_in_a_configuration(checkpoint, shards, here, emorl):
    (here / "weights.yaml").write_text(f"ckpt_path: {checkpoint}\n")
    emorl("test", "-c", "weights.yaml", f"--data.root={shards}", "--output_dir=out", *QUIET)
    assert json.loads((here / "out" / "metrics.json").read_text()).keys() == {"I=0", "I=2"}


def test_an_untrained_model_is_named_one(shards, here, emorl, caplog):
    emorl(
        "predict", f"--data.root={shards}", "--data.batch_size=1", "--trainer.limit_predict_batches=1", *SMALL, *QUIET
    )
    assert "the model is untrained" in caplog.text


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_checkpoint_of_another_model(command, checkpoint, shards, here, emorl, capsys):
    other = ("--model.network=emorl.model.EfficientMORL", "--model.network.slot_dim=16")
    data = (f"--data.root={shards}", "--data.batch_size=2")
    line = error_of(emorl, capsys, command, f"--ckpt_path={checkpoint}", *data, *other, *QUIET)
    assert "a.ckpt: expected weights of this model, got" in line
    assert line.endswith("; build the model that it was trained with")


@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_a_data_folder_that_is_not_there(command, here, emorl, capsys):
    assert "nowhere" in error_of(emorl, capsys, command, "--data.root=nowhere", *QUIET)


def test_an_empty_folder(here, emorl, capsys):
    (here / "empty").mkdir()
    line = error_of(emorl, capsys, "predict", "--data.root=empty", *QUIET)
    assert "empty: expected a folder with images in it (.png, .jpg, " in line


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_of_a_wrong_mode(workers, folder, here, emorl, capsys):
    Image.new("RGBA", (20, 20)).save(folder / "e.png")
    arguments = ("predict", f"--data.root={folder}", f"--data.num_workers={workers}", *QUIET)
    assert "e.png: expected an opaque image, got transparent pixels (alpha 0)" in error_of(emorl, capsys, *arguments)


def test_too_few_slots(shards, here, emorl, capsys):
    network = ("--model.network=emorl.model.EfficientMORL", "--model.network.num_slots=3")
    line = error_of(emorl, capsys, "fit", f"--data.root={shards}", *network, *QUIET)
    assert "expected scenes for K = 3 slots" in line


@pytest.mark.parametrize("arguments", [["--model.no_such=1"], ["--config=unknown.yaml"], ["--model.crop=circle"]])
def test_an_unknown_key_or_value(arguments, here, emorl, capsys):
    (here / "unknown.yaml").write_text("model:\n  no_such: 1\n")
    with pytest.raises(SystemExit) as caught:
        emorl("fit", *arguments)
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert "no_such" in text or "circle" in text
    assert "Traceback" not in text


def printed(emorl, capsys, *arguments):
    """Return the configuration that a command prints instead of training."""
    with pytest.raises(SystemExit) as caught:
        emorl("fit", *arguments, "--print_config")
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "recipe",  # those with other classes, and other kinds of options of these
    [
        "efficient_morl/tetrominoes-fast",
        "efficient_morl/clevr6-fast",
        "efficient_morl/clevr10",
        "slot_attention/multi-dsprites-fast",
        "iodine/clevr6",
        "iodine/multi-dsprites-fast",
    ],
)
def test_a_printed_configuration_gives_itself(recipe, here, emorl, capsys):
    first = printed(emorl, capsys, *configs(WANDB, CONFIGS / f"{recipe}.yaml"))
    (here / "printed.yaml").write_text(first)
    assert printed(emorl, capsys, "--config=printed.yaml") == first


def test_a_run_from_a_printed_configuration_is_the_same_run(here, emorl, build, capsys):
    composed = configs(FAST)
    (here / "printed.yaml").write_text(printed(emorl, capsys, *composed))
    ours, theirs = build("fit", *composed), build("fit", "--config=printed.yaml")
    assert str(ours.model) == str(theirs.model)
    torch.testing.assert_close(ours.model.state_dict(), theirs.model.state_dict(), rtol=0, atol=0)
    assert ours.model.hparams == theirs.model.hparams
    assert ours.datamodule.hparams == theirs.datamodule.hparams
    assert parts(ours.trainer) == parts(theirs.trainer)


def parts(trainer):
    return [type(part) for part in (*trainer.callbacks, *trainer.loggers)]


def network(build, *options):
    """Return the network that is built with a configuration."""
    return build("fit", *options, "--trainer.logger=false", *QUIET).model.network


def test_a_part_named_alone_has_its_own_defaults(here, build):
    likelihood = network(build, "--model.network.likelihood=emorl.model.MixtureLikelihood").likelihood
    assert (type(likelihood), likelihood.scale) == (MixtureLikelihood, 0.1)


def test_options_of_the_network_alone_are_those_of_efficient_morl(here, build):
    found = network(build, "--model.network.num_slots=5")
    assert (type(found), found.num_slots) == (EfficientMORL, 5)


@pytest.mark.parametrize(("name", "before"), [("SlotAttention", ()), ("emorl.model.SlotAttention", ("-c", FAST))])
def test_a_network_of_another_class_has_its_own_defaults(name, before, here, build, capsys):
    found = network(build, *before, "--model.network", name, "--model.network.num_slots=5")
    assert (type(found), found.num_slots, found.slot_dim) == (SlotAttention, 5, 64)
    assert found.decoder.stride == found.encoder.stride == 1
    assert "slot_dim" not in "".join(capsys.readouterr())


def test_a_later_configuration_may_have_another_network(here, build):
    (here / "mine.yaml").write_text((CONFIGS / "slot_attention" / "multi-dsprites.yaml").read_text())
    found = network(build, *configs(FAST, "mine.yaml"))
    assert (type(found), found.num_slots, found.encoder.stride) == (SlotAttention, 6, 1)


def test_a_network_named_again_keeps_its_arguments(here, build):
    found = network(build, "-c", FAST, "--model.network=EfficientMORL")
    assert found.encoder.stride == 2


@pytest.mark.parametrize("name", ["torch.nn.Linear", "5", "{", "NoSuch"])
def test_a_network_that_is_none(name, here, emorl, capsys):
    with pytest.raises(SystemExit) as caught:
        emorl("fit", f"--model.network={name}")
    assert caught.value.code == 2
    assert "model.network" in capsys.readouterr().err


def test_weights_start_a_run_with_a_schedule_of_its_own_length(here, build, tmp_path):
    schedule = partial(WarmupCosineDecay, total_steps=7, warmup=3)
    trained = tiny.saved(tiny.module(scheduler=schedule), tmp_path / "a.ckpt")
    options = (f"--pretrained={trained}", "--trainer.max_steps=9", "--trainer.logger=false", *QUIET)
    for asked, length in ((), 9), (("--model.scheduler.init_args.total_steps=5",), 5):
        cli = build("fit", *options, *asked)
        cli.model.trainer = cli.trainer
        found = cli.model.configure_optimizers()["lr_scheduler"]["scheduler"]
        assert (type(found), found.total_steps, found.lr_lambdas[0](0)) == (WarmupCosineDecay, length, 1 / 3)


def test_a_run_without_max_steps_asks_for_the_length_of_its_cosine(shards, here, emorl, capsys):
    length = ("--trainer.max_steps=-1", f"--data.root={shards}", "--data.batch_size=2")
    line = error_of(emorl, capsys, "fit", "-c", BASE, "-c", FAST, *length, *QUIET)
    assert "Expected max_steps, which is the length of a cosine without total_steps, got -1" in line


def test_the_demo_is_the_fast_recipe_in_fewer_steps(here, build):
    cli, whole = (build("fit", *configs(*recipe)[:-1], *QUIET) for recipe in ((FAST, DEMO), (FAST,)))
    assert str(cli.model.hparams) == str(whole.model.hparams)
    assert cli.config.fit.data == whole.config.fit.data
    assert (cli.trainer.max_steps, cli.trainer.val_check_interval) == (3000, 500)
    assert cli.config.fit.curriculum == whole.config.fit.curriculum  # scales with max_steps


def options(config, start=""):
    """Return the options that a configuration sets, as dotted names."""
    if not isinstance(config, dict):
        return {start}
    return {name for key, value in config.items() for name in options(value, f"{start}.{key}")}


@each_recipe
def test_an_overlay_and_a_recipe_set_no_option_alike(recipe):
    """So that their order has no effect; `callbacks+:` of both appends."""
    overlay, own = (options(yaml.safe_load(path.read_text())) for path in (WANDB, recipe))
    assert overlay & own <= {".trainer.callbacks+"}


@pytest.mark.parametrize("recipe", [FAST, TETROMINOES], ids=["with callbacks", "without"])
def test_overlays_come_before_a_recipe_or_after_it(recipe, here, emorl, capsys):
    orders = (WANDB, recipe), (recipe, WANDB)
    before, after = (yaml.safe_load(printed(emorl, capsys, *configs(*order))) for order in orders)
    assert "WandbLogger" in str(before["trainer"]["logger"])
    for config in (before, after):  # `callbacks+:` of both appends in their order
        config["trainer"]["callbacks"].sort(key=lambda callback: callback["class_path"])
    assert before == after
