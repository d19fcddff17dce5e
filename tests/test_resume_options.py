"""Options that may change when a run resumes."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.cli import ReduceLROnPlateau
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ConstantLR
from torch.optim.lr_scheduler import ReduceLROnPlateau as PlainPlateau

import tiny
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.write.selection import Selection
from emorl.data.write.writer import write_shards
from emorl.errors import DataError
from emorl.optim import WarmupCosineDecay

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed from"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]

PARTS = {"optimizer": partial(Adam, lr=1e-3), "scheduler": partial(WarmupCosineDecay, warmup=1)}


def train(shards, folder, steps, resume=None, data=None, **parts):
    keep = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = tiny.trainer(folder, callbacks=[keep], enable_checkpointing=True, max_steps=steps, limit_val_batches=0)
    trainer.fit(tiny.module(**PARTS | parts), tiny.data(shards, **data or {}), ckpt_path=resume)
    return trainer


@pytest.fixture(scope="module")
def checkpoint(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(shards, folder, 2)
    return folder / "step=2.ckpt"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"optimizer": partial(Adam, lr=1e-6)}, "model.optimizer.init_args.lr = 0.001, got 1e-06"),
        ({"optimizer": partial(Adam, lr=1e-3, betas=(0.8, 0.9))}, "init_args.betas = .*, got .0.8, 0.9."),
        ({"optimizer": partial(Adam, lr=1e-3, weight_decay=0.1)}, "init_args.weight_decay = 0, got 0.1"),
        ({"optimizer": partial(SGD, lr=1e-3)}, "model.optimizer = Adam, got SGD"),
        ({"scheduler": partial(ConstantLR, factor=0.5)}, "model.scheduler = WarmupCosineDecay, got ConstantLR"),
        ({"data": {"seed": 3}}, "seed_everything = 0, got 3"),
        ({"data": {"window": 3}}, "data.window = 4096, got 3"),
    ],
)
def test_what_a_checkpoint_decides_is_not_asked_otherwise(change, told, checkpoint, shards, tmp_path):
    with pytest.raises(MisconfigurationException, match=f"{told}.*--pretrained {checkpoint}"):
        train(shards, tmp_path, 4, resume=checkpoint, **change)


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_a_checkpoint_of_another_model_is_named(stage, checkpoint, shards, tmp_path):
    trainer, module = tiny.trainer(tmp_path, max_steps=4), tiny.module(network=tiny.FAMILY["slot_attention"]())
    with pytest.raises(DataError, match="expected a checkpoint of SlotAttention, got one of EfficientMORL"):
        getattr(trainer, stage)(module, datamodule=tiny.data(shards), ckpt_path=checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": partial(Adam, lr=1e-3, betas=(0.9, 0.999))},
        {"scheduler": partial(WarmupCosineDecay, warmup=3, total_steps=9)},
        {"data": {"batch_size": 1}},
    ],
)
def test_what_takes_effect_may_change(change, checkpoint, shards, tmp_path):
    assert train(shards, tmp_path, 4, resume=checkpoint, **change).global_step == 4


def test_another_warm_up_takes_effect(checkpoint, shards, tmp_path):
    trainer = train(shards, tmp_path, 3, resume=checkpoint, scheduler=partial(WarmupCosineDecay, warmup=100))
    assert trainer.optimizers[0].param_groups[0]["lr"] < 1e-4


@pytest.mark.parametrize(("seed", "val"), [(1, 5), (0, 3)])
def test_a_run_resumes_on_its_own_training_data(seed, val, checkpoint, tmp_path):
    """Of as many samples; another split to validate changes nothing."""
    sizes = {"train": 12, "val": val, "test": 5}
    splits = {split: Selection(Tetrominoes(n, seed, split), range(n)) for split, n in sizes.items()}
    write_shards(splits, tmp_path / "data", 5)
    told = (
        nullcontext() if seed == 0 else pytest.raises(DataError, match="expected the training data of the checkpoint")
    )
    with told:
        assert train(tmp_path / "data", tmp_path, 3, resume=checkpoint).global_step == 3


def test_data_of_a_checkpoint_from_before_are_not_compared(checkpoint, shards, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    content.pop("MultiObjectDataModule")
    torch.save(content, tmp_path / "old.ckpt")
    assert train(shards, tmp_path, 3, resume=tmp_path / "old.ckpt").global_step == 3


def test_weights_alone_are_not_resumed(shards, tmp_path):
    trainer = train(shards, tmp_path, 1)
    trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    with pytest.raises(MisconfigurationException, match=r"without the optimizer's state\. Instead, start a new run"):
        train(shards, tmp_path, 2, resume=tmp_path / "weights.ckpt")


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_that_has_its_steps_has_nothing_to_train(steps, checkpoint, shards, tmp_path):
    told = rf"^nothing to train: the checkpoint is at step 2, max_steps is {steps}; raise --trainer\.max_steps$"
    with pytest.raises(MisconfigurationException, match=told):
        train(shards, tmp_path, steps, resume=checkpoint)


def test_a_run_that_has_its_epochs_has_nothing_to_train(shards, tmp_path):
    def run(epochs, resume=None):
        keep = ModelCheckpoint(tmp_path, "a", save_on_train_epoch_end=True)
        trainer = tiny.trainer(tmp_path, callbacks=[keep], enable_checkpointing=True, max_epochs=epochs)
        trainer.fit(tiny.module(), tiny.data(shards, batch_size=6), ckpt_path=resume)
        return trainer.global_step

    told = "the checkpoint has finished 1 epochs, max_epochs is 1; raise --trainer.max_epochs"
    steps = run(1)
    with pytest.raises(MisconfigurationException, match=f"^nothing to train: {told}$"):
        run(1, tmp_path / "a.ckpt")
    assert run(2, tmp_path / "a.ckpt") == 2 * steps


@pytest.mark.parametrize("limit", ["max_steps", "max_epochs", "limit_train_batches"])
def test_a_run_of_no_steps_has_nothing_to_train(limit, shards, tmp_path):
    with pytest.raises(MisconfigurationException, match=f"^nothing to train: {limit} is 0; raise --trainer.{limit}$"):
        tiny.trainer(tmp_path, **{limit: 0}).fit(tiny.module(), tiny.data(shards))


def plateau(shards, folder, scheduler):
    module = tiny.module(optimizer=partial(SGD, lr=1e-9), scheduler=scheduler)
    trainer = tiny.trainer(folder, max_steps=6, val_check_interval=2)
    trainer.fit(module, tiny.data(shards))
    return trainer.optimizers[0].param_groups[0]["lr"]


def test_a_plateau_is_looked_for_after_each_validation(shards, tmp_path):
    """Three of them: the first is the best, the other two lower the rate."""
    scheduler = partial(ReduceLROnPlateau, monitor="val/mse", factor=0.5, patience=0, threshold=0.5, eps=0.0)
    assert plateau(shards, tmp_path, scheduler) == pytest.approx(1e-9 / 4)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (PlainPlateau, "Expected a ReduceLROnPlateau with a monitor"),
        (partial(ReduceLROnPlateau, monitor="val/nothing"), "that is logged, got val/nothing. Choose one of"),
    ],
)
def test_a_plateau_of_nothing(scheduler, message, shards, tmp_path):
    with pytest.raises(MisconfigurationException, match=message):
        plateau(shards, tmp_path, scheduler)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lr": 1e-6}, "lr = 0.001, got 1e-06"),
        ({"weight_decay": 0.1}, "weight_decay = 0, got 0.1"),
        ({"betas": (0.8, 0.9)}, r"betas = \(0.9, 0.999\), got \(0.8, 0.9\)"),
        ({}, None),
    ],
)
def test_an_optimizer_of_a_function_is_not_asked_otherwise_either(change, told, checkpoint, shards, tmp_path):
    def build(parameters):
        return Adam(parameters, **{"lr": 1e-3} | change)

    refused = pytest.raises(MisconfigurationException, match=f"{told}.*--pretrained") if told else nullcontext()
    with refused:
        assert train(shards, tmp_path, 4, resume=checkpoint, optimizer=build).global_step == 4


@pytest.mark.parametrize("patience", [1, 50])
def test_the_patience_of_early_stopping_is_the_checkpoints(patience, shards, tmp_path):
    def fit(patience, steps, resume=None):
        keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        stop = EarlyStopping("val/mse", patience=patience)
        kept = {"callbacks": [keep, stop], "enable_checkpointing": True}
        limits = {"max_steps": steps, "limit_val_batches": 1, "check_val_every_n_epoch": None, "val_check_interval": 1}
        trainer = tiny.trainer(tmp_path, **kept, **limits)
        trainer.fit(tiny.module(**PARTS), tiny.data(shards), ckpt_path=resume)
        return trainer

    fit(1, 1)
    told = r"EarlyStopping\(val/mse\).patience = 1, got 50"
    with nullcontext() if patience == 1 else pytest.raises(MisconfigurationException, match=told):
        fit(patience, 2, tmp_path / "step=1.ckpt")


def test_each_early_stopping_keeps_its_patience(shards, tmp_path):
    def fit(patience, steps, resume=None):
        keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        stops = [EarlyStopping("val/mse", patience=patience), EarlyStopping("val/nll", patience=5)]
        limits = {"max_steps": steps, "limit_val_batches": 1, "check_val_every_n_epoch": None, "val_check_interval": 1}
        trainer = tiny.trainer(tmp_path, callbacks=[keep, *stops], enable_checkpointing=True, **limits)
        trainer.fit(tiny.module(**PARTS), tiny.data(shards), ckpt_path=resume)

    fit(3, 1)
    with pytest.raises(MisconfigurationException, match=r"EarlyStopping\(val/mse\).patience = 3, got 50"):
        fit(50, 2, tmp_path / "step=1.ckpt")


class Score(Callback):
    """Sets the score of each validation, by its step, and fails in a later step."""

    def __init__(self, scores, fails=None):
        self.scores, self.fails = scores, fails

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.fails:
            raise RuntimeError("power cut")

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("score", self.scores[trainer.global_step])


def test_what_a_validation_decided_is_resumed(shards, tmp_path):
    """The learning rate that follows a score, and the best checkpoint."""
    scores = {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.6}

    def run(folder, fails=None, resume=None):
        keep = ModelCheckpoint(folder, save_last=True, every_n_train_steps=1)
        best = ModelCheckpoint(folder, "best", monitor="score", mode="max", enable_version_counter=False)
        scheduler = partial(ReduceLROnPlateau, monitor="score", mode="max", factor=0.5, patience=0, eps=0.0)
        trainer = tiny.trainer(
            folder,
            callbacks=[Score(scores, fails), keep, best],
            enable_checkpointing=True,
            max_steps=4,
            val_check_interval=1,
            check_val_every_n_epoch=None,
            limit_val_batches=1,
        )
        module = tiny.module(optimizer=partial(SGD, lr=1e-9), scheduler=scheduler)
        with pytest.raises(RuntimeError, match="power cut") if fails else nullcontext():
            trainer.fit(module, tiny.data(shards), ckpt_path=resume)
        return trainer.optimizers[0].param_groups[0]["lr"], torch.load(folder / "best.ckpt")["global_step"]

    for fails in (3, 4):
        run(tmp_path / str(fails), fails)
        assert run(tmp_path / str(fails), None, tmp_path / str(fails) / "last.ckpt") == (2.5e-10, 2)
    assert run(tmp_path / "whole") == (2.5e-10, 2)
