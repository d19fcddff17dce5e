"""Warnings about settings that do not fit the length of a run."""

from functools import partial

import pytest
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.cli import ReduceLROnPlateau

import tiny
from emorl.model import Geco, SlotAttention
from emorl.optim import WarmupCosineDecay, WarmupExponentialDecay

pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

SHORT = partial(WarmupCosineDecay, warmup=1)


def warned(shards, folder, caplog, module, **arguments):
    tiny.trainer(folder, limit_val_batches=0, **arguments).fit(module, tiny.data(shards))
    return [record.getMessage() for record in caplog.records if record.name == "emorl.lengths"]


@pytest.mark.parametrize(
    ("scheduler", "option"), [(WarmupCosineDecay, "warmup"), (WarmupExponentialDecay, "warmup_steps")]
)
def test_a_warm_up_longer_than_the_run(scheduler, option, shards, tmp_path, caplog):
    (sentence,) = warned(shards, tmp_path, caplog, tiny.module(scheduler=scheduler), max_steps=2)
    assert "the run 2: the learning rate never reaches its full value" in sentence
    assert sentence.endswith(f" Lower --model.scheduler.{option}.")


def test_a_geco_that_starts_after_the_run(shards, tmp_path, caplog):
    module = tiny.module(network=tiny.network(geco=Geco(-1.0, warm_start=2)), scheduler=SHORT)
    (sentence,) = warned(shards, tmp_path, caplog, module, max_steps=2)
    assert "GECO starts after 2 steps, the run ends after 2" in sentence
    assert sentence.endswith(" Lower --model.network.geco.warm_start.")


def test_what_a_model_of_a_user_says(shards, tmp_path, caplog):
    class Own(SlotAttention):
        def without_effect(self, steps):
            return [f"annealing takes more than {steps} steps"]

    module = tiny.module(network=tiny.network(cls=Own), scheduler=SHORT)
    assert warned(shards, tmp_path, caplog, module, max_steps=2) == ["annealing takes more than 2 steps"]


def test_epochs_that_end_before_the_steps(shards, tmp_path, caplog):
    (sentence,) = warned(shards, tmp_path, caplog, tiny.module(scheduler=SHORT), max_steps=9, max_epochs=1)
    assert "max_epochs ends the run after 6 steps, before max_steps, 9" in sentence


def test_a_time_that_may_end_before_the_steps(shards, tmp_path, caplog):
    arguments = {"max_steps": 2, "callbacks": Timer("00:01:00:00")}
    (sentence,) = warned(shards, tmp_path, caplog, tiny.module(scheduler=SHORT), **arguments)
    assert "max_time may end the run before max_steps, 2" in sentence


def test_what_waits_for_a_validation_that_never_comes(shards, tmp_path, caplog):
    module = tiny.module(scheduler=partial(ReduceLROnPlateau, monitor="val/mse"))
    (sentence,) = warned(shards, tmp_path, caplog, module, max_steps=2)
    assert sentence == "ReduceLROnPlateau has no effect, because training runs without validation."


def test_a_run_that_fits_is_not_warned_of(shards, tmp_path, caplog):
    assert warned(shards, tmp_path, caplog, tiny.module(scheduler=SHORT), max_steps=2) == []
