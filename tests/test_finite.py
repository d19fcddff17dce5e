"""A NaN stops training before it gets into the weights, whether the device answers at once or later."""

import pytest
import torch

import emorl.finite
import tiny
from emorl.finite import FiniteCheck
from emorl.module import SlotModule


def gradients(*values):
    return {f"w{i}": torch.full((2,), value) for i, value in enumerate(values)}


def guard(check, grads, step):
    check.guard(grads, torch.stack([gradient.norm() for gradient in grads.values()]), step)


@pytest.fixture
def late(monkeypatch):
    """Make the CPU a device: flags are not there at once."""
    monkeypatch.setattr(emorl.finite, "_at_once", lambda _: False)


def test_a_step_is_refused_before_it_is_taken():
    check = FiniteCheck()
    guard(check, gradients(1.0, 2.0), 6)
    with pytest.raises(FloatingPointError, match=r"at step 7 these are not: gradient of w1\. Start a new run"):
        guard(check, gradients(1.0, torch.nan), 7)


def test_causes_are_named_before_consequences():
    check = FiniteCheck()
    check.watch({"loss": torch.tensor(torch.inf), "kl": torch.ones(3), "nll": torch.tensor([1.0, torch.nan])})
    with pytest.raises(FloatingPointError, match=r"these are not: loss, nll\. Start"):
        guard(check, gradients(torch.nan), 0)


def test_all_batches_of_a_step_are_watched():
    check = FiniteCheck()
    for value in (torch.nan, 1.0):
        check.watch({"loss": torch.tensor(value)})
    with pytest.raises(FloatingPointError, match="these are not: loss"):
        guard(check, gradients(1.0), 0)


@pytest.mark.usefixtures("late")
def test_a_device_answers_a_step_later_and_until_then_gradients_are_zero():
    check, fine, broken = FiniteCheck(), gradients(1.0), gradients(1.0, torch.nan)
    guard(check, fine, 0)
    assert fine["w0"].tolist() == [1, 1]
    guard(check, broken, 1)
    assert all(gradient.tolist() == [0, 0] for gradient in broken.values())
    for _ in range(2):  # it stays refused: no checkpoint is written after it
        with pytest.raises(FloatingPointError, match="at step 1 these are not: gradient of w1"):
            check.read()
    with pytest.raises(FloatingPointError, match="at step 1 these"):
        guard(check, gradients(1.0), 2)


class Spoiled(SlotModule):
    """Gets a NaN into a gradient of the step that ``spoiled`` names."""

    def on_after_backward(self):
        if self.global_step == self.spoiled:
            self.network.prior.conditional.mean.bias.grad.fill_(torch.nan)


def fit(shards, folder, step):
    """Train for 3 steps of which one fails; return trainer and module."""
    module = tiny.module(Spoiled)
    module.spoiled = step
    trainer = tiny.trainer(folder, max_steps=3, limit_val_batches=0)
    with pytest.raises(FloatingPointError, match=rf"at step {step} these are not: gradient of prior"):
        trainer.fit(module, tiny.data(shards))
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    return trainer, module


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("step", [1, 2])
def test_no_checkpoint_has_a_nan_and_no_training_ends_with_one(shards, tmp_path, step):
    """The last step of 3 is checked at the end, another at the next."""
    trainer, module = fit(shards, tmp_path, step)
    assert trainer.global_step == step + 1
    with pytest.raises(FloatingPointError, match=f"at step {step}"):
        trainer.save_checkpoint(tmp_path / "spoiled.ckpt")
    assert not (tmp_path / "spoiled.ckpt").exists()
    module.spoiled = None
    tiny.trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(module, tiny.data(shards))  # another training begins


def test_the_weights_before_a_refused_step_can_be_saved(shards, tmp_path):
    trainer, _ = fit(shards, tmp_path, 2)
    assert trainer.global_step == 2
    trainer.save_checkpoint(tmp_path / "fine.ckpt")
