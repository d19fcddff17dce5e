"""Trained weights, and the files that ``save_pretrained`` writes, in a folder or a repository."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from emorl.errors import DataError, reason
from emorl.finite import check_weights
from emorl.model.describe import describe
from emorl.model_card import foreign
from emorl.renamed import current

CONFIG = "config.json"  # of a folder or a repository
WEIGHTS = "model.safetensors"
STAGED = ".model.{}.safetensors"  # weights of a save that was interrupted, by their SHA-256
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
    if unknown := sorted(foreign(config["model"]) - {describe(each)["class_path"] for each in classes}):
        listed = ", ".join(unknown)
        option = f"--classes {quote(f'[{listed}]' if len(unknown) > 1 else listed)}"
        remedy = f"if you trust it, name it: {option} of a command, or from_pretrained(..., classes=[{listed}])"
        raise DataError.of(name, expected="classes of emorl.model", got=listed, remedy=remedy)
    try:
        state = load(weights)
    except SafetensorError as error:
        raise DataError.of(name, expected="safetensors", got=f"{error}", remedy="save them again") from error
    check_weights(state, name)
    return Weights(str(name), _training(config["about"]) | config["model"], state, config["about"])


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

    A class of another package is left out, because a file that could name any class could run any code.
    """
    arguments = card.get("model")
    given = {name: arguments[name] for name in SETTINGS if name in arguments} if isinstance(arguments, dict) else {}
    return {name: value for name, value in given.items() if all(path.startswith(_TRAINERS) for path in foreign(value))}
