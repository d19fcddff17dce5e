"""Learning-rate schedules and Muon."""

from functools import partial

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback
from torch.optim import SGD

import tiny
from emorl.model import SmallDecoder
from emorl.optim import Muon, WarmupCosineDecay, WarmupExponentialDecay


def factor_of(scheduler, **options):
    """Return the factor on the learning rate as a function of the optimizer step."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    return scheduler(optimizer, **options).lr_lambdas[0]


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
    assert factor_of(WarmupExponentialDecay, warmup_steps=10, half_life=20.0)(step) == pytest.approx(factor)


@pytest.mark.parametrize(("step", "factor"), [(0, 1 / 10), (9, 0.998), (200, 0.75), (300, 0.5), (600, 0), (700, 0)])
def test_warm_up_times_half_a_cosine(step, factor):
    decay = factor_of(WarmupCosineDecay, total_steps=600, warmup=10)
    assert decay(step) == pytest.approx(factor, abs=2e-3)


@pytest.mark.parametrize(("step", "factor"), [(0, 1 / 10), (9, 1), (300, 1), (450, 0.5), (600, 0), (700, 0)])
def test_the_full_rate_is_held_before_the_cosine(step, factor):
    decay = factor_of(WarmupCosineDecay, total_steps=600, warmup=10, hold=0.5)
    assert decay(step) == pytest.approx(factor)


@pytest.mark.parametrize("hold", [-0.1, 1.0])
def test_a_share_that_cannot_be_held_is_one_error(hold):
    with pytest.raises(ValueError, match=r"Expected hold (of 0 or more|below 1), got"):
        factor_of(WarmupCosineDecay, hold=hold)


def test_a_resumed_run_may_hold_the_rate_for_longer():
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    assert "hold" not in WarmupCosineDecay(optimizer, total_steps=600).state_dict()
    assert "half_life" not in WarmupExponentialDecay(optimizer).state_dict()


@pytest.mark.parametrize(
    ("scheduler", "options"),
    [
        (WarmupExponentialDecay, {"half_life": 20.0, "warmup_steps": 0}),
        (WarmupCosineDecay, {"total_steps": 20, "warmup": 0}),
    ],
)
def test_without_warm_up_the_first_step_has_the_full_rate(scheduler, options):
    assert factor_of(scheduler, **options)(0) == 1


def cosine_module(**options):
    return tiny.module(scheduler=partial(WarmupCosineDecay, warmup=0, **options))


@pytest.mark.parametrize(("options", "length"), [({}, 6), ({"total_steps": 10}, 10)])
def test_a_cosine_has_the_length_of_the_run_unless_it_has_one(options, length, shards, tmp_path):
    rates = Rates()
    trainer = tiny.trainer(tmp_path, max_steps=6, callbacks=rates, limit_val_batches=0)
    trainer.fit(cosine_module(**options), tiny.data(shards))
    factor = factor_of(WarmupCosineDecay, total_steps=length, warmup=0)
    assert rates.seen == pytest.approx([4e-4 * factor(step) for step in range(6)])


def test_a_run_that_goes_on_for_longer_has_its_new_length(shards, tmp_path):
    for steps, resume in ((2, None), (6, tmp_path / "a.ckpt")):
        rates = Rates()
        trainer = tiny.trainer(tmp_path, max_steps=steps, callbacks=rates, limit_val_batches=0)
        trainer.fit(cosine_module(), tiny.data(shards), ckpt_path=resume)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
    factor = factor_of(WarmupCosineDecay, total_steps=6, warmup=0)
    assert rates.seen[1:] == pytest.approx([4e-4 * factor(step) for step in range(3, 6)])


def test_a_cosine_in_a_run_without_a_length_is_one_error(shards, tmp_path):
    trainer = tiny.trainer(tmp_path, max_epochs=1)
    with pytest.raises(
        MisconfigurationException, match=r"Expected max_steps, .* got -1\. Set the trainer's max_steps, or"
    ):
        trainer.fit(cosine_module(), tiny.data(shards))


def test_a_cosine_that_nobody_gave_a_length():
    decay = factor_of(WarmupCosineDecay, warmup=0)
    assert decay(0) == 1
    with pytest.raises(ValueError, match=r"Expected a schedule of known length, got total_steps = None\. Set it"):
        decay(1)


def test_defaults_are_those_of_the_recipe():
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=4e-4)
    scheduler = WarmupExponentialDecay(optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(4e-8)
    assert scheduler.lr_lambdas[0](100_000) == pytest.approx(0.5)
    assert scheduler.lr_lambdas[0](9_999) == pytest.approx(0.5 ** (9_999 / 100_000))


class Rates(Callback):
    """Keeps the learning rate of every optimizer step."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_rate_follows_the_optimizer_steps(shards, tmp_path, accumulate):
    rates = Rates()
    module = tiny.module(scheduler=lambda optimizer: WarmupExponentialDecay(optimizer, warmup_steps=3, half_life=5.0))
    trainer = tiny.trainer(
        tmp_path, max_steps=5, accumulate_grad_batches=accumulate, callbacks=rates, limit_val_batches=0
    )
    trainer.fit(module, tiny.data(shards))
    factor = factor_of(WarmupExponentialDecay, warmup_steps=3, half_life=5.0)
    assert rates.seen == pytest.approx([4e-4 * factor(step) for step in range(5)])


def grow(parameters):
    for seed, parameter in enumerate(parameters):
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))


def test_muon_takes_the_hidden_weights_and_adam_the_rest():
    model = tiny.network(slot_dim=16, feature_dim=16, decoder=SmallDecoder)
    names = {parameter: name for name, parameter in model.named_parameters()}
    hidden, rest = ({names[p] for p in group["params"]} for group in Muon(model.parameters()).param_groups)
    assert hidden | rest == set(names.values())
    assert not hidden & rest
    assert {"encoder.convolutions.2.weight", "decoder.layers.2.weight", "bottom_up.cell.mean.weight_hh"} <= hidden
    assert {"encoder.position.projection.weight", "decoder.layers.6.weight", "encoder.mlp.0.weight"} <= rest
    assert not [name for name in hidden if name.endswith("bias")]


@pytest.mark.parametrize("shape", [(32, 48), (48, 32), (32, 16, 3, 3)])
def test_a_first_step_of_muon_is_orthogonal_and_as_large_as_one_of_adam(shape):
    weight = torch.nn.Parameter(torch.zeros(shape))
    grow([weight])
    Muon([weight], lr=1e-2).step()
    step = weight.detach().flatten(1) / (1e-2 * 0.2 * max(weight.flatten(1).shape) ** 0.5)
    values = torch.linalg.svdvals(step)
    assert 0.6 < values.min() < values.max() < 1.3  # five Newton-Schulz iterations do not get closer
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.2 * 1e-2, rel=0.2)


def test_the_other_parameters_take_steps_of_adam():
    mine, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    optimizers = Muon([mine], lr=1e-2), torch.optim.Adam([theirs], lr=1e-2)
    for _ in range(3):
        grow([mine])
        grow([theirs])
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(mine, theirs)


def test_muon_goes_on_exactly_where_it_stopped():
    def after(steps, restart):
        model = tiny.network(slot_dim=16, feature_dim=16)
        optimizer = Muon(model.parameters())
        for step in range(steps):
            if step == restart:
                state, optimizer = optimizer.state_dict(), Muon(model.parameters())
                optimizer.load_state_dict(state)
            grow(model.parameters())
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    for straight, resumed in zip(after(4, restart=None), after(4, restart=2), strict=True):
        torch.testing.assert_close(straight, resumed, rtol=0, atol=0)
