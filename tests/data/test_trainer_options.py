"""Options of the trainer that change which data are read: they act as Lightning documents, or raise an error."""

from itertools import chain

import pytest
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import ModelCheckpoint
from recorder import SEEN, Recorder, seen

import tiny

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed from"),
]
EPOCH = 6  # batches of 2


def fit(root, folder, epochs=3, resume=None, callbacks=(), **options):
    """Return the batches of each epoch, by the indices of their samples."""
    folder.mkdir(exist_ok=True)
    trainer = tiny.trainer(
        folder,
        max_epochs=epochs,
        callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
        **{"limit_val_batches": 0} | options,
    )
    trainer.fit(Recorder(folder / SEEN), tiny.data(root), ckpt_path=resume)
    return seen(folder)


@pytest.mark.parametrize("batches", [2, 0.5])
@pytest.mark.parametrize("reload", [0, 1, 2])
def test_overfitting_repeats_the_same_batches(shards, tmp_path, batches, reload):
    number = 2 if batches == 2 else EPOCH // 2
    found = fit(shards, tmp_path, overfit_batches=batches, reload_dataloaders_every_n_epochs=reload)
    assert found == found[:number] * 3
    assert found[:number] == fit(shards, tmp_path / "whole", epochs=1)[:number]


@pytest.mark.parametrize("reload", [0, 1])
def test_overfitting_resumes_with_the_same_batches(shards, tmp_path, reload):
    every = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=1, save_top_k=-1)
    options = {"overfit_batches": 2, "reload_dataloaders_every_n_epochs": reload}
    found = fit(shards, tmp_path / "a", callbacks=[every], **options)
    for step in (1, 2, 3):
        resumed = fit(shards, tmp_path / f"{step}", resume=tmp_path / f"kept/step={step}.ckpt", **options)
        assert resumed == found[step:]


@pytest.mark.parametrize("limit", [None, 2])
def test_reloaded_loaders_continue_with_the_next_epoch(shards, tmp_path, limit):
    options = {} if limit is None else {"limit_train_batches": limit}
    plain = fit(shards, tmp_path / "plain", **options)
    assert fit(shards, tmp_path / "anew", reload_dataloaders_every_n_epochs=1, **options) == plain
    assert fit(shards, tmp_path / "second", reload_dataloaders_every_n_epochs=2, **options) == plain
    number = EPOCH if limit is None else limit
    assert len({tuple(map(tuple, plain[i : i + number])) for i in range(0, 3 * number, number)}) == 3


@pytest.mark.parametrize("limit", [4, 0.7])
@pytest.mark.parametrize("reload", [0, 1])
def test_a_run_with_limited_epochs_resumes_exactly(shards, tmp_path, limit, reload):
    every = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=1, save_top_k=-1)
    options = {"limit_train_batches": limit, "reload_dataloaders_every_n_epochs": reload}
    found = fit(shards, tmp_path / "a", callbacks=[every], **options)
    assert len(found) == 12
    for step in (3, 4, 5, 8):
        resumed = fit(shards, tmp_path / f"{step}", resume=tmp_path / f"kept/step={step}.ckpt", **options)
        assert resumed == found[step:]


@pytest.mark.parametrize(
    "options", [{"use_distributed_sampler": False}, {"val_check_interval": 2, "limit_val_batches": 1}]
)
def test_other_options_do_not_change_the_order(shards, tmp_path, options):
    assert fit(shards, tmp_path / "a", **options) == fit(shards, tmp_path / "b")
    assert sorted(chain(*seen(tmp_path / "a")[:EPOCH])) == list(range(12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_check_interval": 7}, "Expected val_check_interval to be at most 6, the batches of an epoch, got 7"),
        ({"val_check_interval": 4, "limit_train_batches": 3}, "at most 3, the batches of an epoch, got 4"),
        ({"val_check_interval": 4, "limit_train_batches": 0.5}, "at most 3, the batches of an epoch, got 4"),
        ({"val_check_interval": 0}, "Expected val_check_interval to be 1 or more, got 0"),
        ({"check_val_every_n_epoch": 0}, "Expected check_val_every_n_epoch to be 1 or more, got 0"),
    ],
)
def test_a_validation_interval_that_is_never_reached(shards, tmp_path, options, message):
    with pytest.raises(MisconfigurationException, match=message):
        tiny.trainer(tmp_path, max_steps=1, **options).fit(tiny.module(), tiny.data(shards))


@pytest.mark.parametrize(
    "options", [{"val_check_interval": 6}, {"val_check_interval": 7, "check_val_every_n_epoch": None}]
)
def test_validation_intervals_that_are_reached(shards, tmp_path, options):
    tiny.trainer(tmp_path, max_steps=1, **options).fit(tiny.module(), tiny.data(shards))
