"""The CSV logger that appends to the curve of a resumed run."""

import csv
from unittest.mock import Mock

import pytest
from fsspec.implementations.local import LocalFileSystem
from pytorch_lightning.loggers import CSVLogger

import tiny
from emorl.loggers import AppendingCSVLogger

pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")


def rows(folder):
    with (folder / "run" / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def logger(folder):
    return AppendingCSVLogger(folder, name=None, version="run")


def test_it_appends_and_takes_new_columns(tmp_path):
    first = logger(tmp_path)
    first.log_metrics({"b": 1.0}, step=0)
    first.finalize("failed")
    second = logger(tmp_path)
    second.log_metrics({"b": 2.0}, step=1)
    second.save()
    second.log_metrics({"a": 3.0}, step=2)
    second.finalize("success")
    assert rows(tmp_path) == [{"b": "1.0", "step": "0"}, {"b": "2.0", "step": "1"}, {"a": "3.0", "step": "2"}]


def test_a_last_line_that_is_not_whole_makes_way(tmp_path):
    """A run that was killed as it wrote."""
    first = logger(tmp_path)
    first.log_metrics({"a": 1.0}, step=0)
    first.finalize("failed")
    with (tmp_path / "run" / "metrics.csv").open("a") as file:
        file.write("2.5e-")
    second = logger(tmp_path)
    second.log_metrics({"a": 2.0}, step=1)
    second.finalize("success")
    assert rows(tmp_path) == [{"a": "1.0", "step": "0"}, {"a": "2.0", "step": "1"}]


def test_a_run_that_is_killed_as_it_takes_a_column_keeps_its_curve(tmp_path, monkeypatch):
    first = logger(tmp_path)
    first.log_metrics({"a": 1.0}, step=0)
    first.save()
    monkeypatch.setattr(csv.DictWriter, "writerows", Mock(side_effect=KeyboardInterrupt))
    first.log_metrics({"b": 2.0}, step=1)
    with pytest.raises(KeyboardInterrupt):
        first.save()
    assert rows(tmp_path) == [{"a": "1.0", "step": "0"}]


def test_a_run_that_is_killed_as_it_drops_a_line_keeps_its_curve(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("a,step\n1.0,0\n2.5e-")
    monkeypatch.setattr(LocalFileSystem, "mv", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        logger(tmp_path).log_metrics({"a": 2.0}, step=1)
    assert rows(tmp_path)[0] == {"a": "1.0", "step": "0"}


def test_a_file_without_content_is_no_obstacle(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").touch()
    log = logger(tmp_path)
    log.log_metrics({"a": 1.0}, step=0)
    log.finalize("success")
    assert rows(tmp_path) == [{"a": "1.0", "step": "0"}]


def test_without_an_earlier_run_it_writes_what_lightning_writes(tmp_path):
    for ours, place in ((AppendingCSVLogger, "ours"), (CSVLogger, "theirs")):
        log = ours(tmp_path / place, name=None, version="run")
        log.log_hyperparams({"depth": 2})
        log.log_metrics({"b": 1.0, "a": 0.5}, step=0)
        log.finalize("success")
    for name in ("metrics.csv", "hparams.yaml"):
        assert (tmp_path / "ours" / "run" / name).read_text() == (tmp_path / "theirs" / "run" / name).read_text()


def test_a_resumed_run_has_the_curve_of_the_uninterrupted_one(shards, tmp_path):
    def train(place, steps, resume=None):
        options = {"max_steps": steps, "log_every_n_steps": 1, "limit_val_batches": 0, "enable_checkpointing": False}
        trainer = tiny.trainer(tmp_path, logger=logger(tmp_path / place), **options)
        trainer.fit(tiny.module(), tiny.data(shards), ckpt_path=resume)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return [(row["step"], row["train/loss"]) for row in rows(tmp_path / place)]

    whole = train("whole", 4)
    train("parts", 2)
    assert train("parts", 4, resume=tmp_path / "last.ckpt") == whole
