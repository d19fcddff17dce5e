"""The provenance of a run: its configuration and versions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, SaveConfigCallback
from pytorch_lightning.trainer.states import TrainerFn

from emorl.callbacks.folder import CONFIG, LIGHTNINGS, run_folder
from emorl.errors import DataError
from emorl.files import atomic, locked, remove_temporary
from emorl.provenance import versions


class RunRecord(SaveConfigCallback):
    r"""Writes the resolved configuration and the versions to the run's folder, and logs both to all loggers.

    ``config.yaml`` reproduces the run; `versions` defines the content of ``versions.json``. Loggers get the nested
    configuration, with lists of classes as in `by_class`, and the versions under ``versions``. Both are written after
    all checks of the run have passed. Training locks its folder, so that no other process trains there. Other
    subcommands write to a subfolder, such as ``test``, if the folder has a record.

    Args:
        parser: the parser of the subcommand.
        config: its resolved configuration.

    >>> from jsonargparse import Namespace
    >>> from pytorch_lightning.cli import LightningArgumentParser
    >>> parser = LightningArgumentParser()
    >>> _ = parser.add_argument("--ckpt_path", type=str | None)
    >>> RunRecord(parser, parser.parse_args(["--ckpt_path", "last.ckpt"])).other
    {'ckpt_path': 'last.ckpt'}
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace) -> None:
        self.source = config.ckpt_path
        # Plain data, which can be sent to other processes in contrast to a parser.
        self.other = json.loads(parser.dump(config, skip_none=False, format="json"))
        self.training = self.other | {"ckpt_path": None}  # the command that reproduces a run does not resume it
        self.held = ExitStack()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lock the folder of a training; leave the record that is there to it.

        Raises:
            MisconfigurationException: if another process trains there, or if a new run would start in the folder of
                another run.
        """
        self.folder, self.named = run_folder(trainer), bool(trainer.loggers)
        if stage == "fit":
            kept = [path for part in trainer.checkpoint_callbacks if (path := getattr(part, "dirpath", None))]
            places = [self.folder / "checkpoints", *map(Path, kept)]
            error = self._hold(places) if trainer.is_global_zero else None
            if error := trainer.strategy.broadcast(error):
                raise MisconfigurationException(error)
            return
        name = TrainerFn(stage).value
        if self.folder.name != name and (self.folder / CONFIG).exists():  # as of a run that W&B continues
            self.folder /= name

    def _hold(self, places: Sequence[Path]) -> str | None:
        """Lock the folder; return the error message if that fails, or if another run has files in it or in places."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.held.enter_context(locked(self.folder))
        except (DataError, OSError) as error:
            return str(error)
        remove_temporary(places[0])
        source = None if self.source is None else Path(self.source).resolve()
        resumed = source and any(source.is_relative_to(place.resolve()) for place in (self.folder, *places))
        if self.source in LIGHTNINGS or resumed:
            return None
        other = "--trainer.logger.version NEW" if self.named else "another --trainer.default_root_dir"
        for path in (path for place in places for path in _checkpoints(place)):
            inside = path.is_relative_to(self.folder)
            remedy = f"to start a new run, {other if inside else 'another dirpath of the checkpoints'}"
            told = f"got that of {path}. To resume that run, give --ckpt_path {path}; {remedy}."
            return f"Expected a new folder for a new run, {told}"
        config = self.folder / CONFIG
        if config.exists() and config.read_bytes() != _text(self.training).encode():  # a killed run may start again
            told = f"got that of {config}, a run with other options. Give {other}, or delete that run's folder."
            return f"Expected a new folder for a new run, {told}"
        return None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the record of a training."""
        self._write(trainer, self.training)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the record of ``validate``."""
        if trainer.state.fn != "fit":
            self._write(trainer, self.other)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the record of ``test``."""
        self._write(trainer, self.other)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the record of ``predict``."""
        self._write(trainer, self.other)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Unlock the folder."""
        self.held.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Unlock the folder."""
        self.held.close()

    def _write(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if not trainer.is_global_zero:
            return
        found = versions(trainer)
        for name, text in ((CONFIG, _text(record)), ("versions.json", json.dumps(found, indent=2) + "\n")):
            with atomic(self.folder / name) as stream:
                stream.write(text.encode())
        for logger in trainer.loggers:
            logger.log_hyperparams({**by_class(record), "versions": found})


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the last one first."""
    return sorted(folder.glob("*.ckpt"), key=lambda path: (path.name != "last.ckpt", path.name))


def _text(record: dict[str, Any]) -> str:
    """Return the content of ``config.yaml``."""
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True)


def by_class(value: Any) -> Any:
    """Return a configuration in which each list of classes is a dict by name: loggers cannot filter by lists.

    >>> by_class([{"class_path": "a.Clock"}, {"class_path": "b.Clock", "init_args": {"n": [1, 2]}}])
    {'Clock': {'class_path': 'a.Clock'}, 'Clock_2': {'class_path': 'b.Clock', 'init_args': {'n': [1, 2]}}}
    """
    if isinstance(value, dict):
        return {key: by_class(part) for key, part in value.items()}
    if (
        not value
        or not isinstance(value, list)
        or not all(isinstance(part, dict) and "class_path" in part for part in value)
    ):
        return value
    named: dict[str, Any] = {}
    numbers: Counter[str] = Counter()
    for part in value:
        name = part["class_path"].rpartition(".")[2]
        numbers[name] += 1
        named[name if numbers[name] == 1 else f"{name}_{numbers[name]}"] = by_class(part)
    return named
