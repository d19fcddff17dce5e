"""The clock: minutes and images per second, logged and kept in checkpoints."""

import csv

import pytest
from pytorch_lightning.loggers import CSVLogger

import tiny
from emorl.callbacks import Clock

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
]


def test_minutes_and_rate_are_logged_and_saved(shards, tmp_path):
    logger = CSVLogger(tmp_path, name=None, version="run")
    watch = Clock()
    steps = {"max_steps": 2, "log_every_n_steps": 1, "limit_val_batches": 0}
    trainer = tiny.trainer(tmp_path, logger=logger, callbacks=watch, **steps)
    trainer.fit(tiny.module(), tiny.data(shards))
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["time/minutes"]]
    minutes = [float(row["time/minutes"]) for row in rows]
    assert 0 < minutes[0] < minutes[1] < 10
    assert all(float(row["time/images_per_second"]) > 0 for row in rows)
    resumed = Clock()
    resumed.load_state_dict({"minutes": 90.0})
    assert 90 < resumed.minutes < 91
    assert resumed.state_dict()["minutes"] > 90
