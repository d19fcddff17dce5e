"""The clock: minutes and images per second, logged and kept in checkpoints."""

import csv
from functools import partial
from unittest.mock import Mock, create_autospec

import pytest
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger

import tiny
from emorl.callbacks import Clock
from emorl.module import SlotModule

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
    assert resumed.minutes == resumed.state_dict()["minutes"] == 90


def test_sessions_of_a_run_add_up_and_nothing_counts_between_them(monkeypatch):
    clock, trainer, module = (
        Clock(),
        create_autospec(Trainer, instance=True),
        create_autospec(SlotModule, instance=True),
    )
    monkeypatch.setattr("emorl.callbacks.clock.time", now := Mock())
    stops = (clock.on_train_end, partial(clock.on_exception, exception=KeyboardInterrupt()))
    for step, start, stop, minutes in ((0, 0, stops[0], 1), (4, 600, stops[1], 2), (0, 1200, stops[0], 1)):
        trainer.global_step = step
        now.monotonic.return_value = start
        clock.on_train_start(trainer, module)
        now.monotonic.return_value = start + 60
        assert clock.minutes == minutes
        stop(trainer, module)
        now.monotonic.return_value = start + 300
        assert clock.state_dict() == {"minutes": minutes}
