"""Averaged weights: their values, as in Lightning's callback, with accumulated batches, and after resuming."""

import pickle

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint

import tiny
from emorl.callbacks import AveragedWeights

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed from"),
]


class Weights(Callback):
    """Keeps the weights after each optimizer step, and those of validation."""

    def __init__(self):
        self.steps, self.validated = {}, None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps[trainer.global_step] = weights(pl_module)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.validated = weights(pl_module)


def weights(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).clone()


def train(folder, shards, average, steps=4, resume=None, **options):
    seen = Weights()
    keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    options = {"enable_checkpointing": True, "limit_val_batches": 1, "val_check_interval": 4} | options
    trainer = tiny.trainer(folder, callbacks=[average, seen, keep], max_steps=steps, **options)
    torch.manual_seed(0)  # of the noise
    module = tiny.module()
    trainer.fit(module, tiny.data(shards), ckpt_path=resume)
    return weights(module), seen


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2, "val_check_interval": 6}])
def test_the_trained_module_has_the_moving_average_of_its_weights(options, shards, tmp_path):
    found, seen = train(tmp_path, shards, AveragedWeights(decay=0.7), **options)
    expected, *others = (seen.steps[step] for step in sorted(seen.steps) if step)
    assert len(others) == 3
    for each in others:
        expected = 0.7 * expected + 0.3 * each
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, each)


def test_it_is_that_of_lightnings_callback(shards, tmp_path):
    ours, seen = train(tmp_path / "ours", shards, AveragedWeights(decay=0.7))
    theirs, other = train(tmp_path / "theirs", shards, EMAWeightAveraging(decay=0.7, use_buffers=False))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(seen.validated, other.validated)
    assert torch.equal(ours, seen.validated)


def test_a_resumed_run_has_the_same_average(shards, tmp_path):
    whole, _ = train(tmp_path / "whole", shards, AveragedWeights(decay=0.7))
    resumed, _ = train(tmp_path / "again", shards, AveragedWeights(decay=0.7), resume=tmp_path / "whole/step=2.ckpt")
    assert torch.equal(resumed, whole)


def test_a_second_training_has_an_average_of_its_own(shards, tmp_path):
    average = AveragedWeights(decay=0.7)
    train(tmp_path / "first", shards, average)
    again, _ = train(tmp_path / "again", shards, average, steps=2)
    expected, _ = train(tmp_path / "other", shards, AveragedWeights(decay=0.7), steps=2)
    assert torch.equal(again, expected)


def test_it_is_sent_to_other_processes():
    assert pickle.loads(pickle.dumps(AveragedWeights(decay=0.7))).decay == 0.7


@pytest.mark.parametrize("decay", [-0.1, 1, 1.5, float("nan"), "0.9"])
def test_a_decay_out_of_range_is_refused(decay, unchecked):
    with pytest.raises(ValueError, match="Expected decay"):
        AveragedWeights(decay)
