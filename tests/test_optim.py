import pytest
import torch
from pytorch_lightning import Callback
from torch.optim import SGD

import tiny
from emorl.optim import WarmupExponentialDecay, learning_rate_factor


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 1 / 10),
        (4, 5 / 10 * 2 ** (-4 / 20)),
        (9, 2 ** (-9 / 20)),
        (10, 2**-0.5),
        (20, 1 / 2),
        (60, 1 / 8),
    ],
)
def test_warm_up_times_decay(step, factor):
    assert learning_rate_factor(step, warmup_steps=10, half_life=20.0) == pytest.approx(factor)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert learning_rate_factor(0, warmup_steps=0, half_life=20.0) == 1


def test_defaults_are_those_of_the_recipe():
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=4e-4)
    scheduler = WarmupExponentialDecay(optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(4e-8)
    assert scheduler.lr_lambdas[0](100_000) == pytest.approx(0.5)
    assert scheduler.lr_lambdas[0](9_999) == pytest.approx(0.5 ** (9_999 / 100_000))


class Rates(Callback):
    """Keeps the learning rate of every optimiser step."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_rate_follows_the_optimiser_steps(shards, tmp_path, accumulate):
    rates = Rates()
    module = tiny.module(scheduler=lambda optimizer: WarmupExponentialDecay(optimizer, warmup_steps=3, half_life=5.0))
    trainer = tiny.trainer(
        tmp_path, max_steps=7, accumulate_grad_batches=accumulate, callbacks=rates, limit_val_batches=0
    )
    trainer.fit(module, tiny.data(shards))
    assert rates.seen == pytest.approx([4e-4 * learning_rate_factor(step, 3, 5.0) for step in range(7)])
