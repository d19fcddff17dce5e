"""Files of versions in which EfficientMORL was the only model still load, test and resume with equal numbers.

``run`` is a run of 4 steps that ``emorl fit`` left; ``tested.json`` is what ``emorl test`` then said of it, and
``resumed.csv`` its curve after 2 steps more. ``built_in_python.ckpt`` is of a module that no command line built.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.cli import instantiate_module

from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.write.selection import Selection
from emorl.data.write.writer import write_shards
from emorl.module import EfficientMORLModule
from emorl.pretrained import load_pretrained
from emorl.renamed import current

BEFORE = Path(__file__).parent / "before_family"
MEASURED = ("train/", "val/", "lr-")

pytestmark = pytest.mark.filterwarnings(
    "ignore:Checkpoint directory|The dirpath has changed|The loaded checkpoint was produced with Lightning"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The data of the run, whose manifest has the checksum on record."""
    folder = tmp_path_factory.mktemp("data")
    splits = {"train": 32, "val": 4, "test": 8}
    write_shards({split: Selection(Tetrominoes(n, 0, split), range(n)) for split, n in splits.items()}, folder, 1000)
    return folder


def rows(file):
    """Return the rows of a curve: what training and validation measured, but for multiples of other scores."""
    with file.open(newline="") as stream:
        found = [
            {name: float(value) for name, value in row.items() if value and name.startswith(MEASURED)}
            for row in csv.DictReader(stream)
        ]
    return [{n: v for n, v in row.items() if not n.endswith(("squared_error", "log_likelihood"))} for row in found]


def test_a_checkpoint_scores_as_it_did(emorl, data, tmp_path):
    checkpoint = BEFORE / "run/checkpoints/last.ckpt"
    emorl("test", "--ckpt_path", checkpoint, "--data.root", data, "--trainer.logger=false", "--output_dir", tmp_path)
    now, then = (json.loads(file.read_text()) for file in (tmp_path / "metrics.json", BEFORE / "tested.json"))
    assert now.keys() == then.keys()
    for stage, scores in then.items():
        assert now[stage].keys() == scores.keys()
        for name, score in scores.items():
            assert now[stage][name] == pytest.approx(score, rel=1e-4, abs=1e-6), (stage, name)


def test_a_run_resumes_from_its_own_configuration(emorl, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(BEFORE / "run", "runs/before")
    last = "runs/before/checkpoints/last.ckpt"
    options = ("--trainer.max_steps=6", f"--data.root={data}", "--trainer.enable_model_summary=false")
    emorl("fit", "-c", BEFORE / "run/config.yaml", "--ckpt_path", last, *options)
    now, then = rows(tmp_path / "runs/before/metrics.csv"), rows(BEFORE / "resumed.csv")
    for ours, theirs in zip(now, then, strict=True):
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-3, abs=1e-5)


def test_a_checkpoint_built_in_python_decodes_as_it_did():
    model = load_pretrained(str(BEFORE / "built_in_python.ckpt"))
    found = model.reconstruct(torch.linspace(0, 1, 2 * 3 * 12 * 12).view(2, 3, 12, 12), 2)
    expected = json.loads((BEFORE / "built_in_python.json").read_text())
    assert found.slots.flatten().tolist() == pytest.approx(expected["slots"], rel=1e-4, abs=1e-5)
    assert found.reconstruction.norm().item() == pytest.approx(expected["reconstruction_norm"], rel=1e-5)


def test_a_card_builds_its_model():
    card = json.loads((BEFORE / "card.json").read_text())
    module = instantiate_module(EfficientMORLModule, current(card["model"]))
    module.network.load_state_dict(load_pretrained("multi_dsprites").network.state_dict())


@pytest.mark.parametrize("name", ["limit_train_batches", "limit_val_batches", "limit_test_batches"])
def test_one_batch_is_one_batch_whatever_was_imported_before(name, build, monkeypatch):
    """After rich or scikit-learn, `typing` gives Lightning's type in another order, in which 1 is parsed as 1.0."""
    monkeypatch.setitem(Trainer.__init__.__annotations__, name, float | int | None)
    trainer = build("fit", "--trainer.logger=false", "--data.root=.", f"--trainer.{name}=1").trainer
    assert isinstance(getattr(trainer, name), int)
