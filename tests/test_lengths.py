"""Warnings about settings that do not fit the length of a run."""

import re
from functools import partial

import pytest
import yaml
from pytorch_lightning.callbacks import LambdaCallback, Timer
from pytorch_lightning.cli import ReduceLROnPlateau

import tiny
from emorl.model import Geco, SlotAttention
from emorl.optim import WarmupCosineDecay, WarmupExponentialDecay

pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

SHORT = partial(WarmupCosineDecay, warmup=1)
PAPERS = {
    f"{file.parent.name}/{file.stem}": recipe
    for file in sorted(tiny.CONFIGS.glob("*/*.yaml"))
    if "emorl.optim.WarmupExponentialDecay" in str(recipe := yaml.safe_load(file.read_text()))
}


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


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_of_a_paper_that_is_shortened(name, shards, tmp_path, caplog):
    recipe, stop = PAPERS[name], LambdaCallback(on_train_start=lambda trainer, _: setattr(trainer, "should_stop", True))
    module = tiny.module(scheduler=partial(WarmupExponentialDecay, **recipe["model"]["scheduler"]["init_args"]))
    whole = warned(shards, tmp_path, caplog, module, callbacks=stop, max_steps=recipe["trainer"]["max_steps"])
    assert whole == []
    (sentence,) = warned(shards, tmp_path, caplog, module, callbacks=stop, max_steps=50_000)
    assert re.search(r"halves every (100,000|301,030) steps, the run takes 50,000: it only falls to (71|89)%", sentence)
    assert sentence.endswith(" Lower --model.scheduler.half_life and --model.scheduler.warmup_steps.")


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
