"""Trained weights, and the files that ``save_pretrained`` writes, in a folder or a repository."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

import emorl.model
from emorl.errors import DataError, reason
from emorl.finite import check_weights
from emorl.model.build import takes_class
from emorl.model.describe import describe
from emorl.renamed import current

CONFIG = "config.json"  # of a folder or a repository
WEIGHTS = "model.safetensors"
STAGED = ".model.{}.safetensors"  # weights of a save that was interrupted, by their SHA-256
_MODEL = "image_size", "crop", "network"  # arguments of `SlotModule` that are taken from a configuration
_STEPS = "refinement_steps", "test_refinement_steps", "test_means", "test_draws", "score_attention"
SETTINGS = *_STEPS, "optimizer", "scheduler"  # arguments of `SlotModule` that are taken from a card
_TRAINERS = "emorl.optim.", "torch.optim."  # optimizers and schedulers that a card may name


class Weights(NamedTuple):
    """Trained weights, and the configuration of their model.

    >>> from emorl.stored import read_weights
    >>> read_weights("tetrominoes").model["image_size"]
    35
    """

    name: str  # of shipped weights, or the path of a folder or a checkpoint
    model: dict[str, Any]  # arguments of `SlotModule`
    state: dict[str, Tensor]  # of its network
    card: dict[str, Any]  # metadata; of a checkpoint those of `read_checkpoint`


def from_files(name: str | Path, content: Callable[[str], bytes], classes: Sequence[type] = ()) -> Weights:
    """Return the weights in the files of ``save_pretrained``, and check them.

    Args:
        name: the folder or repository, for error messages.
        content: returns the content of a file, given its name.
        classes: classes outside `emorl.model` that the model may consist of.

    Raises:
        DataError: if a file is damaged, if a weight is a NaN or an infinity, or if the model contains a class that is
            neither in `emorl.model` nor in ``classes``.
    """
    config = _parsed(name, content(CONFIG))
    staged = Path(name, STAGED.format(config["sha256"]))
    weights = staged.read_bytes() if staged.is_file() else content(WEIGHTS)
    checksum = hashlib.sha256(weights).hexdigest()
    if checksum != config["sha256"]:
        expected, remedy = f"weights with SHA-256 {config['sha256']}", "fetch or save them again"
        raise DataError.of(name, expected=expected, got=checksum, remedy=remedy)
    model = {name: config["model"][name] for name in _MODEL if name in config["model"]}
    known = {f"emorl.model.{each}" for each in emorl.model.__all__} | {describe(each)["class_path"] for each in classes}
    if unknown := sorted({*_unknown(model.get("network"), known.__contains__)}):
        listed = ", ".join(unknown)
        option = f"--classes {quote(f'[{listed}]' if len(unknown) > 1 else listed)}"
        remedy = f"if you trust it, name it: {option} of a command, or from_pretrained(..., classes=[{listed}])"
        raise DataError.of(name, expected="classes of emorl.model", got=listed, remedy=remedy)
    try:
        state = load(weights)
    except SafetensorError as error:
        raise DataError.of(name, expected="safetensors", got=f"{error}", remedy="save them again") from error
    check_weights(state, name)
    return Weights(str(name), _training(config["about"]) | model, state, config["about"])


def read_folder(folder: Path, classes: Sequence[type] = ()) -> Weights:
    """Return the weights in a folder of ``save_pretrained``, and check them, see `from_files`."""
    if not (folder / CONFIG).exists():
        remedy = "give a folder of save_pretrained, or a checkpoint of emorl fit, RUN/checkpoints/last.ckpt"
        raise DataError.of(
            folder, expected="a folder of save_pretrained", got=f"a folder without {CONFIG}", remedy=remedy
        )
    try:
        return from_files(folder, lambda name: (folder / name).read_bytes(), classes)
    except OSError as error:
        expected, remedy = f"a folder with {CONFIG} and {WEIGHTS}", "save the model with save_pretrained"
        raise DataError.of(folder, expected=expected, got=reason(error), remedy=remedy) from error


def _parsed(name: str | Path, content: bytes) -> dict[str, Any]:
    try:
        config = json.loads(content)
        fine = {"sha256": str, "model": dict, "about": dict}
        if all(isinstance(config[key], kind) for key, kind in fine.items()):
            return dict(current(config))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    expected = f"a {CONFIG} of emorl with sha256, model and about"
    raise DataError.of(name, expected=expected, got="another", remedy="save the model with save_pretrained")


def _training(card: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of `SlotModule` in a card, which are defaults of commands.

    What names a class of another package is left out, because a file that could name any class could run any code.
    """
    arguments = card.get("model")
    given = {name: arguments[name] for name in SETTINGS if name in arguments} if isinstance(arguments, dict) else {}
    trainers = "optimizer", "scheduler"
    return {name: value for name, value in given.items() if not any(_unknown(value, _is_trainer, name in trainers))}


def _is_trainer(path: str) -> bool:
    return path.startswith(_TRAINERS)


def _unknown(value: Any, known: Callable[[str], bool], is_class: bool = True) -> Iterator[str]:
    """Yield what jsonargparse would import for a value, or may, and is not known.

    That is not only a ``class_path``, but also text for a parameter that takes a class (a path, a configuration or a
    file of one) and a key other than those of `describe`, such as ``init_args.decoder``.

    Args:
        value: an argument in a configuration.
        known: returns whether the path of a class is known.
        is_class: whether the argument's parameter takes a class.
    """
    if isinstance(value, list):
        for each in value:
            yield from _unknown(each, known, is_class)
    elif isinstance(value, dict) and (is_class or "class_path" in value):
        path, arguments = str(value.get("class_path", value)), value.get("init_args") or {}
        yield from value.keys() - {"class_path", "init_args"}
        if not known(path):
            yield path
        if not isinstance(arguments, dict):
            yield str(arguments)
            return
        for name, argument in arguments.items():
            if not name.isidentifier():
                yield name
            yield from _unknown(argument, known, known(path) and _takes_class(path, name))
    elif isinstance(value, dict):
        yield from _unknown([*value.values()], known, is_class)
    elif is_class and isinstance(value, str) and not known(value):
        yield value


def _takes_class(path: str, name: str) -> bool:
    """Return whether a parameter of a class takes a class, or may, because nothing has imported the class yet."""
    module, _, cls = path.rpartition(".")
    found = getattr(sys.modules.get(module), cls, None)
    return not isinstance(found, type) or takes_class(found, name)
