"""Checks before a run that model, data and trainer fit together: device, precision, data, strategy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.trainer.states import TrainerFn

from emorl.data.datamodule import MultiObjectDataModule
from emorl.errors import DataError
from emorl.model import SlotModel
from emorl.ranges import at_least


def check_surroundings(network: SlotModel, image_size: int, steps: Iterable[int], trainer: Trainer, stage: str) -> None:
    """Check that model, data and trainer fit together.

    Args:
        network: the model.
        image_size: side of its images, in pixels.
        steps: the numbers of steps that it will take.
        trainer: the trainer.
        stage: ``fit``, ``validate``, ``test`` or ``predict``.

    Raises:
        DataError: if the scenes need more slots than K.
        MisconfigurationException: if the model needs more steps; if the device does not support float64, in which
            scores are accumulated; if the image size of the data differs from the model's, or the decoder cannot render
            it; if the model cannot be trained with the precision or the strategy; if the stage would take no step; if a
            number of the trainer is out of range; or if validation would never run at its interval.
    """
    strategy = trainer.strategy
    if strategy.root_device.type == "mps":
        raise MisconfigurationException(
            "Expected a device that supports float64, in which scores are accumulated, got mps. Set the trainer's "
            "accelerator to 'cpu'."
        )
    try:
        for number in steps:
            network.checked_steps(number)
        if stage == "fit":
            plain_ddp = isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters")
            at_least(
                0, gradient_clip_val=trainer.gradient_clip_val, log_every_n_steps=vars(trainer)["log_every_n_steps"]
            )
            at_least(0, num_sanity_val_steps=trainer.num_sanity_val_steps)
            at_least(1, accumulate_grad_batches=trainer.accumulate_grad_batches)
            network.check_training(str(trainer.precision), unused_parameters=not plain_ddp)
        network.decoder.grid(image_size, image_size)
    except ValueError as error:
        raise MisconfigurationException(str(error)) from error
    _check_data(network, image_size, getattr(trainer, "datamodule", None))
    _check_length(trainer, stage)
    if stage == "fit":
        _check_validation(trainer, getattr(trainer, "datamodule", None))


def _check_data(network: SlotModel, image_size: int, data: object) -> None:
    """Check that the data, if known, have the model's image size, and that K suffices for their scenes."""
    size = getattr(data, "image_size", image_size)
    if size != image_size:
        raise MisconfigurationException(
            f"Expected data of the model's image_size, {image_size}, got {size}. Set both to one size."
        )
    manifest = getattr(data, "manifest", None)
    if manifest is not None and manifest.slots > network.num_slots:
        raise DataError.of(
            getattr(data, "root", "data"),
            expected=f"scenes for K = {network.num_slots} slots",
            got=f"scenes of up to {manifest.max_objects} objects and a background",
            remedy=f"set num_slots to {manifest.slots} or more",
        )


def _check_length(trainer: Trainer, stage: str) -> None:
    """Check that a stage takes at least one step."""
    limits = {
        "fit": ("max_steps", "max_epochs", "limit_train_batches"),
        "validate": ("limit_val_batches",),
        "test": ("limit_test_batches",),
        "predict": ("limit_predict_batches",),
    }
    for name in limits[stage]:
        if getattr(trainer, name) == 0:
            what = "train" if stage == "fit" else TrainerFn(stage).value
            raise MisconfigurationException(f"nothing to {what}: {name} is 0; raise --trainer.{name}")


def _check_validation(trainer: Trainer, data: object) -> None:
    """Check that validation would run at its interval."""
    every: Any = getattr(trainer, "val_check_interval", None)  # Lightning sets none if the interval is a time
    epochs = trainer.check_val_every_n_epoch
    for name, value in (("val_check_interval", every), ("check_val_every_n_epoch", epochs)):
        if isinstance(value, int) and value < 1:
            raise MisconfigurationException(
                f"Expected {name} to be 1 or more, got {value}. Set limit_val_batches to 0 to train without validation."
            )
    counted = isinstance(every, int) and epochs is not None and trainer.limit_val_batches > 0
    if counted and isinstance(data, MultiObjectDataModule):
        loader = data.train_dataloader()
        batches = len(loader) if loader.limit is None else min(len(loader), loader.limit)
        if every > batches:
            raise MisconfigurationException(
                f"Expected val_check_interval to be at most {batches}, the batches of an epoch, got {every}. "
                "Set check_val_every_n_epoch to null, so that the steps between validations are counted across epochs."
            )
