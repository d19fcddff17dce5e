"""Paths that begin with ``~`` are expanded, in every command and for every path."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

import tiny
from emorl.configurations import BASE, settings
from emorl.data.cli import main as data
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.scenes import Scenes
from emorl.data.write.selection import consecutive
from emorl.data.write.writer import write_shards
from emorl.errors import DataError
from emorl.evaluation.cli import main as evaluate
from emorl.paths import command_line, expand_home
from emorl.pretrained import from_pretrained, load_module, load_pretrained
from emorl.study import run
from emorl.study.cli import main as study

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed from"),
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home"
    assert not (tmp_path / "work" / "~").exists()


def test_words_and_values(home):
    values = {"a": ["~/x", "~", "b~", "./~/x", "~nobody_of_this_name/x", "--x=~/y", "x=~/y"], "b": (1, None, True)}
    expanded = [f"{home}/x", f"{home}", "b~", "./~/x", "~nobody_of_this_name/x", f"--x={home}/y", "x=~/y"]
    assert expand_home(values) == {"a": expanded, "b": (1, None, True)}


def test_the_command_line_is_that_of_the_process(home, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["emorl", "fit", "--data.root=~/x", "#1", "--a=&b", "a#"])
    assert command_line() == ["fit", f"--data.root={home}/x", "./#1", "--a=./&b", "a#"]


def test_emorl(home, emorl):
    tiny.write(home / "shards", train=4, val=2, test=2)
    config = {"data": {"root": "~/shards", "num_workers": 0, "batch_size": 2}, "trainer": {"accelerator": "cpu"}}
    config["model"] = {"image_size": 16}
    (home / "mine.yaml").write_text(yaml.safe_dump(config))
    network = ("--model.network.num_slots=4", "--model.network.slot_dim=8", "--model.network.feature_dim=8")
    logger = ("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=~/runs")
    quiet = ("--trainer.enable_progress_bar=false", "--trainer.max_steps=1", "--trainer.log_every_n_steps=1")
    emorl("fit", "--config=~/mine.yaml", *network, *logger, *quiet)
    (last,) = home.rglob("*.ckpt")
    assert last.is_relative_to(home / "runs")
    common = ("--config=~/mine.yaml", f"--ckpt_path=~/{last.relative_to(home)}", "--trainer.logger=false")
    emorl("test", *common, "--output_dir=~/tested")
    assert json.loads((home / "tested" / "metrics.json").read_text())
    emorl("predict", *common, "--output_dir", "~/predicted")
    assert list((home / "predicted").glob("*.png"))


def test_emorl_data_and_emorl_evaluate(home):
    assert not data(["generate", "tetrominoes", "~/shards", "--train=0", "--val=0", "--test=2", "--processes=1"])
    assert not data(["info", "~/shards"])
    (home / "info.yaml").write_text("folder: ~/shards")
    assert not data(["info", "--config=~/info.yaml"])
    arguments = ("tetrominoes", "~/shards", "~/out", "--number=1", "--steps=0")
    assert not evaluate(["draws", *arguments])
    assert (home / "out" / "draws.csv").exists()


def test_emorl_study(home, monkeypatch):
    (home / "cases.yaml").write_text("case: [--data.root=~/shards, --config, ~/recipe.yaml]")
    (home / "recipe.yaml").write_text("seed_everything: 0")
    monkeypatch.setattr(run, "_call", lambda *_: 1)
    assert study(["~/cases.yaml", "~/out", "--seeds=1", "--options=[--trainer.logger.save_dir=~/runs]"]) == 1
    kept = json.loads((home / "out/case/seed_0/options.json").read_text())
    recipe = f"{home}/recipe.yaml"
    options = [f"--data.root={home}/shards", "--config", recipe, f"--trainer.logger.save_dir={home}/runs"]
    assert kept == {"options": options, "files": {"base": settings(BASE), recipe: {"seed_everything": 0}}}


def test_the_functions_of_python(home, monkeypatch):
    monkeypatch.setattr("emorl.export._archive", lambda *_: b"")
    write_shards(consecutive(Tetrominoes(num_scenes=2, seed=0), {"train": 2}), "~/shards")
    assert len(Scenes("~/shards")) == 2
    load_pretrained("tetrominoes").save_pretrained("~/mine")
    for load in load_pretrained, load_module, from_pretrained:
        for name in "~/mine", Path("~/mine"):
            assert load(name)
    assert load_pretrained(tiny.saved(tiny.module(), home / "a.ckpt")).card == load_pretrained("~/a.ckpt").card
    assert load_pretrained("tetrominoes").export("~/a.pt2", methods=["encode"]) == [home / "a_encode.pt2"]
    Image.new("RGB", (35, 35)).save(home / "a.png")
    assert len(load_pretrained("tetrominoes").preprocess(["~/a.png", Path("~/a.png")])) == 2


def test_the_home_of_nobody_is_one_line(home):
    name = "~nobody-by-this-name/a"
    for use in load_pretrained, from_pretrained, Scenes:
        with pytest.raises(DataError, match=name):
            use(name)
