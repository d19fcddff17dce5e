"""The cost of a run, as `fit` prints it: parameters, seconds per step, memory, time left."""

import re
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback

import tiny
from emorl.callbacks import Cost, RefinementCurriculum
from emorl.callbacks.cost import duration, memory

pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

MEASURED = r"[\d.e-]+ s a step at I = (\d), peak memory [\d.]+ GiB"


def fit(shards, folder, *callbacks, **arguments):
    trainer = tiny.trainer(folder, callbacks=list(callbacks), **{"max_steps": 7, "limit_val_batches": 0} | arguments)
    module = tiny.module()
    trainer.fit(module, tiny.data(shards))
    return module


def test_size_time_memory_and_duration_are_said_once(shards, tmp_path, capsys):
    module = fit(shards, tmp_path, Cost(warm=2, steps=3))
    size, cost = capsys.readouterr().out.splitlines()
    count = sum(parameter.numel() for parameter in module.network.parameters())
    assert size == f"{count:,} parameters; time and memory follow after 5 steps"
    assert re.fullmatch(MEASURED + r"; the 2 steps left take about \d+ s plus validation", cost)


def test_a_run_of_fewer_steps_promises_no_time(shards, tmp_path, capsys):
    fit(shards, tmp_path, Cost(warm=3, steps=8))
    assert re.fullmatch(r"[\d,]+ parameters\n", capsys.readouterr().out)


def test_each_change_of_refinement_is_measured(shards, tmp_path, capsys):
    fit(shards, tmp_path, Cost(warm=1, steps=1), RefinementCurriculum({0: 2, 3: 0}))
    _, *costs = capsys.readouterr().out.splitlines()
    assert [re.match(MEASURED, cost)[1] for cost in costs] == ["2", "0"]


def test_time_is_that_of_the_steps_alone(shards, tmp_path, capsys, monkeypatch):
    """A clock that counts two seconds between readings, and a validation after three steps, which is no part of it."""
    clock = iter(range(0, 100, 2))
    monkeypatch.setattr("emorl.callbacks.cost._now", lambda _: next(clock))
    cost = Cost(warm=1, steps=4)
    fit(shards, tmp_path, cost, limit_val_batches=1, val_check_interval=3, check_val_every_n_epoch=None)
    assert len(capsys.readouterr().out.splitlines()) == 1  # never four steps without a validation among them
    fit(shards, tmp_path, cost, limit_val_batches=1, val_check_interval=5, check_val_every_n_epoch=None)
    assert "0.5 s a step" in capsys.readouterr().out


@pytest.mark.parametrize("warm", [0, 1])
def test_a_step_of_a_second_takes_a_second(warm, shards, tmp_path, capsys, monkeypatch):
    watch = SimpleNamespace(seconds=0)
    monkeypatch.setattr("emorl.callbacks.cost._now", lambda _: watch.seconds)
    count = LambdaCallback(on_train_batch_end=lambda *_: setattr(watch, "seconds", watch.seconds + 1))
    fit(shards, tmp_path, count, Cost(warm=warm, steps=4))
    assert "1 s a step" in capsys.readouterr().out


def test_steps_are_counted_not_batches(shards, tmp_path, capsys):
    fit(shards, tmp_path, Cost(warm=1, steps=1), max_steps=2, accumulate_grad_batches=2)
    assert "; the 0 steps left" in capsys.readouterr().out


def test_without_an_end_there_is_no_duration(shards, tmp_path, capsys):
    class Stop(Cost):
        def on_train_batch_end(self, trainer, *arguments):
            super().on_train_batch_end(trainer, *arguments)
            trainer.should_stop = self.told

    fit(shards, tmp_path, Stop(warm=1, steps=1), max_steps=-1)
    _, cost = capsys.readouterr().out.splitlines()
    assert re.fullmatch(MEASURED, cost)


def test_measuring_changes_nothing(shards, tmp_path):
    """Neither the weights nor the random state."""
    ends = []
    for callbacks in ((), (Cost(warm=1, steps=1),)):
        torch.manual_seed(0)
        module = fit(shards, tmp_path, *callbacks, max_steps=3)
        ends.append((module.state_dict(), torch.get_rng_state()))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)


def test_memory_is_the_largest_of_the_process(monkeypatch):
    usage = SimpleNamespace(ru_maxrss=3 * 2**19)  # in KiB
    monkeypatch.setattr("resource.getrusage", lambda _: usage)
    monkeypatch.setattr("sys.platform", "linux")
    assert memory(torch.device("cpu")) == "1.50 GiB"


@pytest.mark.parametrize(
    ("seconds", "words"), [(59.6, "1 min 0 s"), (3600.0, "1 h 0 min"), (3 * 86400.0 + 7, "3 d 0 h"), (0.0, "0 s")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words
