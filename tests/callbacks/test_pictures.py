"""Pictures of validation scenes, for each logger and as files."""

from unittest.mock import create_autospec

import numpy as np
import pytest
from PIL import Image
from pytorch_lightning.loggers import CometLogger, CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tiny
from emorl.callbacks import LogReconstructions

NAMES = {"stage_0", "stage_1", "attention_1", "attention_2", "attention_3"}  # I = 1, L = 3
COLUMNS = {"stage": 4 + 4, "attention": 1 + 4}  # K = 4


def is_sheet(width, height, columns, rows):
    """Tell whether a picture has so many tiles, names above, and keys beside them."""
    tiles_height, tiles_width = tiny.sheet_size(rows, columns)
    return 0 < height - tiles_height < 40 and 80 < width - tiles_width < 140


def validate(shards, folder, loggers, images=8, **arguments):
    trainer = tiny.trainer(folder, logger=loggers, callbacks=LogReconstructions(images), **arguments)
    trainer.validate(tiny.module(), tiny.data(shards), verbose=False)


def fake(cls):
    """A logger that takes everything and writes nothing."""
    logger = create_autospec(cls, instance=True)
    logger.save_dir = logger.log_dir = logger.version = logger.name = None
    return logger


@pytest.mark.parametrize("loggers", [False, "csv"])
def test_without_a_logger_for_images_pictures_are_files(shards, tmp_path, loggers):
    logger = CSVLogger(tmp_path / "logs", name=None, version="run") if loggers else False
    validate(shards, tmp_path, logger)
    folder = (tmp_path / "logs" / "run" if loggers else tmp_path) / "pictures"
    assert {path.name for path in folder.iterdir()} == {f"step_0000000_{name}.png" for name in NAMES}
    for path in folder.iterdir():
        with Image.open(path) as picture:
            assert is_sheet(*picture.size, COLUMNS[path.stem.split("_")[2]], rows=2)


def test_the_picture_shows_the_scene(shards, tmp_path):
    validate(shards, tmp_path, False)
    scene = next(iter(tiny.loaded(shards).val_dataloader()))["image"][0]
    with Image.open(tmp_path / "pictures" / "step_0000000_stage_1.png") as picture:
        pixels = np.asarray(picture).transpose(2, 0, 1)
    np.testing.assert_array_equal(tiny.tile(pixels, 0, 0, rows=2, columns=8), scene)
    with Image.open(tmp_path / "pictures" / "step_0000000_attention_1.png") as picture:
        pixels = np.asarray(picture).transpose(2, 0, 1)
    np.testing.assert_array_equal(tiny.tile(pixels, 0, 0, rows=2, columns=5), scene)


def test_padding_is_no_scene(shards, tmp_path):
    trainer = tiny.trainer(tmp_path, callbacks=LogReconstructions())
    trainer.validate(tiny.module(), tiny.data(shards, batch_size=8), verbose=False)  # of five scenes
    with Image.open(tmp_path / "pictures" / "step_0000000_stage_0.png") as picture:
        assert is_sheet(*picture.size, 8, rows=5)


def test_scenes_may_be_fewer_than_a_batch(shards, tmp_path):
    validate(shards, tmp_path, False, images=1)
    with Image.open(tmp_path / "pictures" / "step_0000000_stage_0.png") as picture:
        assert is_sheet(*picture.size, 8, rows=1)


def test_tensorboard_gets_the_pictures(shards, tmp_path):
    validate(shards, tmp_path, [TensorBoardLogger(tmp_path, name="", version=""), CSVLogger(tmp_path / "csv")])
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {f"pictures/{name}" for name in NAMES}
    (event,) = events.Images("pictures/stage_1")
    assert event.step == 0
    assert is_sheet(event.width, event.height, COLUMNS["stage"], rows=2)
    assert list(tmp_path.rglob("*.png")) == []


def assert_picture(pixels):
    assert isinstance(pixels, np.ndarray)
    assert pixels.dtype == np.uint8
    height, width, _ = pixels.shape
    assert any(is_sheet(width, height, columns, rows=2) for columns in COLUMNS.values())


def test_wandb_gets_the_pictures(shards, tmp_path):
    logger = fake(WandbLogger)
    validate(shards, tmp_path, logger)
    calls = logger.log_image.call_args_list
    assert {call.args[0] for call in calls} == {f"pictures/{name}" for name in NAMES}
    assert {call.kwargs["step"] for call in calls} == {0}
    for call in calls:
        (pixels,) = call.args[1]
        assert_picture(pixels)


def test_mlflow_gets_the_pictures(shards, tmp_path):
    logger = fake(MLFlowLogger)
    logger.run_id = "r1"
    validate(shards, tmp_path, logger)
    calls = logger.experiment.log_image.call_args_list
    assert {call.kwargs["key"] for call in calls} == {f"pictures/{name}" for name in NAMES}
    for call in calls:
        assert (call.args[0], call.kwargs["step"]) == ("r1", 0)
        assert_picture(call.args[1])


def test_comet_gets_the_pictures(shards, tmp_path):
    logger = fake(CometLogger)
    validate(shards, tmp_path, logger)
    calls = logger.experiment.log_image.call_args_list
    assert {call.kwargs["name"] for call in calls} == {f"pictures/{name}" for name in NAMES}
    for call in calls:
        assert_picture(call.args[0])


def test_each_validation_of_a_run_has_pictures_but_the_sanity_check_none(shards, tmp_path):
    arguments = {"max_steps": 4, "val_check_interval": 2, "check_val_every_n_epoch": None, "num_sanity_val_steps": 1}
    trainer = tiny.trainer(tmp_path, callbacks=LogReconstructions(), **arguments)
    trainer.fit(tiny.module(), tiny.data(shards))
    steps = {path.name.split("_")[1] for path in (tmp_path / "pictures").iterdir()}
    assert steps == {"0000002", "0000004"}


@pytest.mark.parametrize(("interval", "step"), [(10, "0000003"), (2, "0000002")])
def test_a_run_that_ends_before_its_first_validation_has_a_picture_too(interval, step, shards, tmp_path):
    arguments = {"max_steps": 3, "val_check_interval": interval, "check_val_every_n_epoch": None}
    trainer = tiny.trainer(tmp_path, callbacks=LogReconstructions(), **arguments)
    module = tiny.module()
    trainer.fit(module, tiny.data(shards))
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {f"step_{step}_{name}.png" for name in NAMES}
    assert module.training


@pytest.mark.filterwarnings("ignore:Found 18 module.s. in eval mode")
def test_frozen_parts_stay_frozen(shards, tmp_path):
    trainer = tiny.trainer(tmp_path, callbacks=LogReconstructions(), max_steps=1, limit_val_batches=0)
    module = tiny.module()
    module.network.encoder.eval()
    trainer.fit(module, tiny.data(shards))
    assert (module.training, module.network.decoder.training, module.network.encoder.training) == (True, True, False)


def test_a_trial_run_leaves_no_picture(shards, tmp_path):
    tiny.trainer(tmp_path, callbacks=LogReconstructions(), fast_dev_run=1, limit_val_batches=0).fit(
        tiny.module(), tiny.data(shards)
    )
    assert not (tmp_path / "pictures").exists()
