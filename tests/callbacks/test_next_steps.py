"""What `fit` prints at its end: folder, checkpoint and the next commands."""

import csv
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint

import tiny
from emorl.callbacks import NextSteps

BASE = tiny.CONFIGS / "base.yaml"
# Lightning's advice that short, quiet runs do not need.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
]


@pytest.fixture
def fit(shards, tmp_path, emorl, monkeypatch):
    """Train a small model for a step in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pre.ckpt").symlink_to(tiny.saved(tiny.module(image_size=20), tmp_path / "first.ckpt"))
    weights, data = ("--pretrained=pre.ckpt",), (f"--data.root={shards}", "--data.batch_size=2", "--data.num_workers=0")
    run = ("--trainer.max_steps=2", "--trainer.accelerator=cpu", "--trainer.precision=32-true")
    return lambda *options: emorl("fit", "-c", BASE, *weights, *data, *run, *options)


def test_a_short_run_says_where_it_is_and_what_to_type_next(fit, emorl, capsys):
    fit("--trainer.logger.save_dir", "a folder")
    text, errors = capsys.readouterr()
    run = Path("a folder/version_0")
    last = run / "checkpoints" / "last.ckpt"
    lines = text.splitlines()
    assert lines[0] == f"Run folder: {run}"
    assert f"Checkpoint: {last}. To test it, and to decompose images:" in lines
    test, predict = (shlex.split(line) for line in lines if line.startswith("  emorl "))
    assert (test[:2], predict[:2]) == (["emorl", "test"], ["emorl", "predict"])
    for command in (test, predict):
        emorl(*command[1:])
    assert (run / "metrics.json").exists()
    assert len(list((run / "predictions").glob("*.npz"))) == 5
    assert list((run / "pictures").glob("*.png"))
    assert "train/loss" in (run / "metrics.csv").read_text()
    for advertisement in ("Tip", "litlogger", "FLOPs", "TPU"):
        assert advertisement not in text + errors


@pytest.mark.filterwarnings("ignore:.*expected a split 'val', got train; training runs without scores")
@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_without_a_test_split_the_commands_use_a_split_that_exists(fit, emorl, capsys, tmp_path):
    """Which of several is in the doctest of `split_to_predict`."""
    fit("--data.root", tiny.write(tmp_path / "all", train=4))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "predict decomposes the split train; for a folder of images, add --data.root FOLDER."
    assert not any("test it" in line for line in lines)
    (command,) = (shlex.split(line) for line in lines if line.startswith("  emorl "))
    assert command[:2] == ["emorl", "predict"]
    emorl(*command[1:])
    found = tmp_path / "runs/version_0/predictions"
    assert len(list(found.glob("train-*.npz"))) == 4
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "photos/mine.png")
    emorl(*command[1:], "--data.root", "photos", "--output_dir", "own")
    assert (tmp_path / "own/mine.npz").exists()


def test_a_split_chosen_for_predict_remains_chosen(fit, capsys):
    fit("--data.predict_split=val")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "predict decomposes the split val; for a folder of images, add --data.root FOLDER."
    assert not any("--data.predict_split" in line for line in lines)


@pytest.mark.parametrize("options", [[], ["--trainer.logger=false"]])
def test_a_run_that_is_stopped_says_how_to_resume_it_in_its_folder(options, fit, emorl, capsys):
    stop = ("--trainer.callbacks+=preempted.Signal", "--trainer.callbacks.step=0", "--trainer.callbacks.name=SIGTERM")
    with pytest.raises(SystemExit) as caught:
        fit(*stop, *options, "--trainer.log_every_n_steps=1")
    assert caught.value.code == 143
    (before,) = Path("runs").rglob("checkpoints")
    told, command = capsys.readouterr().out.splitlines()[-2:]
    assert told == "To resume:"
    config = yaml.safe_load((before.parent / "config.yaml").read_text())
    config["trainer"]["callbacks"] = [
        part for part in config["trainer"]["callbacks"] if part["class_path"] != "preempted.Signal"
    ]
    (before.parent / "config.yaml").write_text(yaml.safe_dump(config))
    emorl(*shlex.split(command)[1:])
    (after,) = Path("runs").rglob("checkpoints")
    assert after == before
    assert torch.load(after / "last.ckpt", weights_only=True)["global_step"] == 2
    if config["trainer"]["logger"]:
        rows = list(csv.DictReader((before.parent / "metrics.csv").read_text().splitlines()))
        assert [row["step"] for row in rows if row["train/loss"]] == ["0", "1"]
        again = yaml.safe_load((before.parent / "config.yaml").read_text())
        assert again["trainer"]["logger"] == config["trainer"]["logger"]  # which repeats the run in another folder


def test_a_run_without_weights_to_begin_with_needs_no_word_about_them(fit, capsys):
    network = [f"--model.network.init_args.{name}={value}" for name, value in tiny.SIZES.items()]
    fit("--pretrained=null", "--model.network=emorl.model.EfficientMORL", *network)
    text = capsys.readouterr().out
    assert "--pretrained" not in text
    assert yaml.safe_load(Path("runs/version_0/config.yaml").read_text())["pretrained"] is None


def test_a_trainer_without_a_configuration_has_no_commands(tmp_path, capsys):
    batches = [{"image": torch.zeros(2, 3, 20, 20, dtype=torch.uint8), "index": torch.arange(2)}]
    trainer = tiny.trainer(
        tmp_path,
        max_steps=1,
        enable_checkpointing=True,
        callbacks=[NextSteps(), ModelCheckpoint(tmp_path)],
        limit_val_batches=0,
    )
    trainer.fit(tiny.module(image_size=20), iter(batches), [])
    assert list(tmp_path.glob("*.ckpt"))
    assert "Checkpoint" not in capsys.readouterr().out


def test_a_trial_run_says_nothing(fit, capsys):
    fit("--trainer.fast_dev_run=1")
    text = capsys.readouterr().out
    assert "Run folder" not in text
    assert "Checkpoint" not in text
