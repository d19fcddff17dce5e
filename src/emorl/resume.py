"""The checkpoint that a run resumes from, and checks: settings that it restores, and whether steps remain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, WeightAveraging
from torch.optim.lr_scheduler import LambdaLR

from emorl.errors import DataError
from emorl.files import atomic, is_url

_MODEL = ("optimizer", "scheduler")
_DATA = ("seed", "window")  # of the order of training
_OPTIONS = {"data.seed": "seed_everything"}  # options of the command line with another name
_SAVED: WeakKeyDictionary[Trainer, int] = WeakKeyDictionary()  # optimizer steps of `save_last`


def keepers(trainer: Trainer) -> list[ModelCheckpoint]:
    """Return the callbacks that define the path of ``last.ckpt``."""
    callbacks = trainer.checkpoint_callbacks
    return [callback for callback in callbacks if isinstance(callback, ModelCheckpoint) and callback.save_last]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Saves a checkpoint beside its final place, and then renames it: a killed process leaves the former one.

    Lightning's own writes to the folder for temporary files, and copies if that is on another file system.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(plugins=[AtomicCheckpointIO()], logger=False, accelerator="cpu", max_steps=100)
    >>> type(trainer.strategy.checkpoint_io).__name__
    'AtomicCheckpointIO'
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a checkpoint; one at a URL is saved by Lightning.

        Raises:
            DataError: if the file cannot be written, such as on a full disk.
        """
        if storage_options is not None or is_url(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with atomic(Path(path)) as stream:
            torch.save(checkpoint, stream)


def save_safely(trainer: Trainer) -> None:
    """Have a trainer save its checkpoints with `AtomicCheckpointIO`, and none in a trial run (``fast_dev_run``).

    A trainer that was given another `CheckpointIO` keeps it. Callbacks that save are left out of a trial run:
    Lightning's replaces ``last.ckpt`` at the end of it.
    """
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    if vars(trainer)["fast_dev_run"]:
        callbacks = vars(trainer)["callbacks"]
        callbacks[:] = [part for part in callbacks if not isinstance(part, Checkpoint)]


def save_last(trainer: Trainer) -> Path:
    """Overwrite the last checkpoint, from which the run resumes, and return its path.

    `ModelCheckpoint` then does not save it again after training: by then the epoch has ended, and weights may have been
    replaced by their average, so that a run would not continue exactly.
    """
    keeper = keepers(trainer)[0]
    assert keeper.dirpath is not None
    path = keeper.last_model_path or f"{keeper.dirpath}/{keeper.CHECKPOINT_NAME_LAST}{keeper.FILE_EXTENSION}"
    keeper.last_model_path = path  # else its next file would be last-v1.ckpt
    trainer.save_checkpoint(path, weights_only=False)
    _SAVED[trainer] = trainer.global_step
    if keeper.save_last != "link":  # there it is the target of the link
        keeper._last_checkpoint_saved = keeper._last_checkpoint_saved or path
    return Path(path)


def last_is_saved(trainer: Trainer) -> bool:
    """Return whether a checkpoint has the step that training is at."""
    saved = {_SAVED.get(trainer, 0), *(keeper._last_global_step_saved for keeper in keepers(trainer))}
    return trainer.global_step in saved


def within_step(trainer: Trainer) -> bool:
    """Return whether training continues with a batch whose gradients are added to those so far.

    A checkpoint does not contain these gradients: a run does not resume exactly from one that is saved now.
    """
    return trainer.fit_loop.epoch_loop._should_accumulate() and not stopping(trainer)


def stopping(trainer: Trainer) -> bool:
    """Return whether training was asked to stop and will, after this batch or its validation.

    Until ``min_steps`` and ``min_epochs`` it continues.
    """
    epochs = trainer.current_epoch + trainer.is_last_batch
    enough = trainer.global_step >= (trainer.min_steps or 0) and epochs >= (trainer.min_epochs or 0)
    return trainer.should_stop and enough


def check_model(module: LightningModule, checkpoint: Mapping[str, Any]) -> None:
    """Check that a checkpoint is of the module's model; a class with another name may have the same weights.

    Raises:
        DataError: if it is not.
    """
    network = checkpoint.get("hyper_parameters", {}).get("network")
    path = network.get("class_path", "") if isinstance(network, Mapping) else ""
    ours, trained = type(module.network).__name__, path.rpartition(".")[2]
    if trained not in ("", ours) and module.state_dict().keys() != checkpoint["state_dict"].keys():
        expected, remedy = f"a checkpoint of {ours}", "give the configuration of its run"
        raise DataError.of(module.trainer.ckpt_path, expected=expected, got=f"one of {trained}", remedy=remedy)


def check_resumed(module: LightningModule, checkpoint: Mapping[str, Any]) -> None:
    """Check that a training that resumes is configured as the checkpoint's was, where the checkpoint decides.

    That is the optimizer, the scheduler but for the arguments of a `LambdaLR` (they take effect: a run may become
    longer), the seed and window of the order of the data, and the patience of `EarlyStopping`. A plain function,
    which a checkpoint cannot store, is not compared: see `check_optimizers`.

    Raises:
        MisconfigurationException: if it is not, if the checkpoint contains only weights, if it has averaged weights and
            no callback averages them, or if no step remains.
    """
    remedy = f"start a new run from its weights: --pretrained {module.trainer.ckpt_path}"
    if module.trainer.loggers:  # whose version may be that of the run
        remedy += " --trainer.logger.version NEW"
    if "optimizer_states" not in checkpoint:
        raise MisconfigurationException(
            f"Expected a checkpoint to resume from, got one without the optimizer's state. Instead, {remedy}."
        )
    averages = any(isinstance(part, WeightAveraging) for part in vars(module.trainer)["callbacks"])
    if "current_model_state" in checkpoint and not averages:
        raise MisconfigurationException(
            "Expected a callback that averages weights, with which the checkpoint was trained, got none. Add "
            f"emorl.callbacks.AveragedWeights to the trainer's callbacks, or {remedy}."
        )
    datamodule = getattr(module.trainer, "datamodule", None)
    data = {} if datamodule is None else datamodule.hparams
    now = dict(_kept(module.hparams, data))
    before = dict(_kept(checkpoint.get("hyper_parameters", {}), checkpoint.get("datamodule_hyper_parameters", {})))
    for part in module.trainer.early_stopping_callbacks:
        state = checkpoint.get("callbacks", {}).get(part.state_key, {})
        name = f"{type(part).__name__}({part.monitor}).patience"
        before[name], now[name] = state.get("patience", part.patience), part.patience
    changed = [name for name in before if name in now and now[name] != before[name]]
    if changed:
        names, old, new = (", ".join(map(str, part)) for part in zip(*_readable(changed, before, now), strict=True))
        raise MisconfigurationException(
            f"Expected what the checkpoint was trained with, {names} = {old}, got {new}. Optimizer, scheduler and "
            f"the order of the data resume as they were, and so does EarlyStopping. Leave that unchanged, or {remedy}."
        )
    if end := ended(checkpoint, module.trainer.max_steps, module.trainer.max_epochs):
        trial = bool(vars(module.trainer)["fast_dev_run"])
        remedy = "remove --trainer.fast_dev_run or --ckpt_path" if trial else f"raise --trainer.{end.limit}"
        raise MisconfigurationException(f"nothing to train: {end.reason}; {remedy}")


class End(NamedTuple):
    """Why a run cannot continue from a checkpoint.

    >>> End("max_steps", "the checkpoint is at step 100, max_steps is 100").limit
    'max_steps'
    """

    limit: str  # argument of the trainer
    reason: str


def ended(checkpoint: Mapping[str, Any], max_steps: int, max_epochs: int | None) -> End | None:
    """Return why training would take no step from a checkpoint, or None if it would take one."""
    step, loop = checkpoint["global_step"], checkpoint["loops"]["fit_loop"]
    epochs = loop["epoch_progress"]["current"]["processed"]
    if 0 <= max_steps <= step:
        return End("max_steps", f"the checkpoint is at step {step}, max_steps is {max_steps}")
    if max_epochs is not None and 0 <= max_epochs <= epochs:
        return End("max_epochs", f"the checkpoint has finished {epochs} epochs, max_epochs is {max_epochs}")
    return None


def check_optimizers(module: LightningModule, saved: Sequence[Mapping[str, Any]]) -> None:
    """Check that the optimizers built for a training that resumes are set as those that the checkpoint restores.

    A configuration does not contain what a function builds. Settings that a scheduler changes are not compared: the
    learning rate, except the initial one, and all others unless the scheduler is a `LambdaLR`.

    Args:
        module: the module, its optimizers built and not yet restored.
        saved: the states of the optimizers in the checkpoint.

    Raises:
        MisconfigurationException: if one is not.
    """
    schedulers = [config.scheduler for config in module.trainer.lr_scheduler_configs]
    if not all(isinstance(scheduler, LambdaLR) for scheduler in schedulers):
        return
    moving = {"params", "lr"} if schedulers else {"params"}
    for optimizer, state in zip(module.trainer.optimizers, saved, strict=False):
        for new, old in zip(optimizer.param_groups, state["param_groups"], strict=False):
            for name in old.keys() & new.keys() - moving:
                if new[name] != old[name]:
                    setting = name.replace("initial_lr", "lr")
                    raise MisconfigurationException(
                        f"Expected the optimizer that the checkpoint was trained with, {setting} = {old[name]}, got "
                        f"{new[name]}. It resumes as it was. Leave that, or start a new run from its weights: "
                        f"--pretrained {module.trainer.ckpt_path}."
                    )


def _readable(names: list[str], *settings: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name in names:
        yield _OPTIONS.get(name, name), *(str(each[name]) for each in settings)


def _kept(model: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in _MODEL:
        if part := model.get(name):
            yield from _flat(f"model.{name}", part)
    for name in _DATA:
        if name in data:
            yield f"data.{name}", data[name]


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a part by name, with the defaults of its class."""
    if not (isinstance(value, Mapping) and "class_path" in value):
        yield name, list(value) if isinstance(value, tuple) else value
        return
    module, _, class_name = value["class_path"].rpartition(".")
    yield name, class_name
    cls = getattr(import_module(module), class_name, None)  # gone, if it is of another script
    if cls is not None and not (isinstance(cls, type) and issubclass(cls, LambdaLR)):
        parameters = signature(cls).parameters.values()
        defaults = {each.name: each.default for each in parameters if each.default is not Parameter.empty}
        for argument, chosen in (defaults | value.get("init_args", {})).items():
            yield from _flat(f"{name}.init_args.{argument}", chosen)
