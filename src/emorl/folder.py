"""A trained model as a folder: safetensors, JSON, a model card and, for shipped weights, a picture."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Set
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import emorl
from emorl.errors import DataError, reason, warn
from emorl.files import atomic
from emorl.finite import check_weights
from emorl.model.describe import describe, settings
from emorl.model_card import PICTURE, foreign, model_card
from emorl.pretrained import Pretrained, assembled, published
from emorl.saved import CONFIG, STAGED, WEIGHTS, Weights
from emorl.stored import names, picture_of

CARD = "README.md"
DESCRIBING = CARD, PICTURE, CONFIG
_CARD = {"total_steps": (int, "an integer"), "tests": (dict, "a dictionary"), "versions": (dict, "a dictionary")}


class Change(NamedTuple):
    """What a new model leaves of the files of a former one.

    >>> Change(kept={"README.md"}, obsolete={"picture.png"}).kept
    {'README.md'}
    """

    kept: Set[str]  # edited model card and picture
    obsolete: Set[str]  # those of the former model that the new one does not have, unless an edited card may show them


def files_of(model: Pretrained, /, repo_id: str = "user/repo", **metadata: Any) -> dict[str, bytes]:
    """Return the files of a model's folder by name. They are loaded once, so that what is saved can be loaded.

    Args:
        model: the model.
        repo_id: name of the repository in the model card.
        metadata: metadata for the model card in addition to those of the model's card.

    Raises:
        DataError: if a part of the model or its card cannot be stored, a weight is a NaN or an infinity or becomes one
            when it is loaded, a number or part such as ``kl_weight`` or ``likelihood`` was changed after the
            construction, or a class cannot be imported by others.
        TypeError: if a part of the model is a function, see `emorl.model.describe`.

    >>> sorted(files_of(emorl.load_pretrained("tetrominoes"), "user/mine"))
    ['README.md', 'config.json', 'model.safetensors', 'picture.png']
    """
    described = {"image_size": model.image_size, "crop": model.crop, "network": describe(model.network)}
    for path in sorted(foreign(described)):
        _check_class(path)
    for place, value in _values({"model": described, "card": model.card, "model_card_kwargs": metadata}):
        if not (value is None or isinstance(value, str | int | float)):
            expected, remedy = "text, numbers, lists or dictionaries of them", "convert it, such as by str() or float()"
            raise DataError.of(place, expected=expected, got=_kind(value), remedy=remedy)
        if isinstance(value, float) and not math.isfinite(value):
            raise DataError.of(place, expected="a finite number", got=f"{value}", remedy="correct or remove it")
    weights = _weights(model)
    with torch.random.fork_rng(devices=[]):
        loaded = assembled(Weights("model", json.loads(json.dumps(described)), load(weights), {})).network
    check_weights(loaded.state_dict())
    now = settings(model.network)
    for name, built in settings(loaded).items():
        if (given := now.get(name, built)) != built:
            remedy = f"build the model with {name}={given}, and load these weights into it"
            raise DataError.of("model", expected=f"{name} = {built} of its construction", got=f"{given}", remedy=remedy)
    model = published(model)
    files = {CARD: _card(model, repo_id, metadata)}
    if picture := picture_of(model.card):
        files[PICTURE] = picture
    config = {
        "emorl_version": emorl.__version__,
        "sha256": _sha256(weights),
        "files": {name: _sha256(content) for name, content in files.items()},
        "model": described,
        "about": model.card,
    }
    return {WEIGHTS: weights, CONFIG: (json.dumps(config, indent=2) + "\n").encode(), **files}


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a model to a folder, in place of those of a former model.

    A model card or picture that is not that of the former model, because it was edited, is kept with a warning. With a
    kept card the former picture stays, which it may show.

    The weights are staged under a name with their checksum, the configuration with that checksum replaces the former
    one, and then the weights get their name. A process that is interrupted or killed meanwhile leaves the former or the
    new model, which can be loaded, perhaps with the other's model card and picture; saving again completes them.

    Raises:
        DataError: if the folder cannot be written to, or contains a ``config.json`` of something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = {name: (folder / name).read_bytes() for name in DESCRIBING if (folder / name).is_file()}
    except OSError as error:
        got = "a file" if folder.is_file() else reason(error)
        remedy = "choose another folder"
        raise DataError.of(folder, expected="a folder to write to", got=got, remedy=remedy) from error
    if folders := [name for name in files if (folder / name).is_dir()]:
        raise DataError.of(folder / folders[0], expected="a file, or none", got="a folder", remedy="move it away")
    change = change_of(before, files, folder)
    staged = STAGED.format(_sha256(files[WEIGHTS]))
    contents = {staged: files[WEIGHTS]} | {name: files[name] for name in (CARD, PICTURE, CONFIG) if name in files}
    for name, content in contents.items():
        if name not in change.kept:
            with atomic(folder / name) as stream:
                stream.write(content)
    (folder / staged).replace(folder / WEIGHTS)
    for path in (*(folder / name for name in change.obsolete), *folder.glob(STAGED.format("*"))):
        path.unlink()


def change_of(before: Mapping[str, bytes], files: Mapping[str, bytes], where: object) -> Change:
    """Return which files of a former model stay in a folder or a repository; warn of those that were edited.

    Args:
        before: the files `DESCRIBING` of the former model that exist.
        files: those of the new one.
        where: the folder or repository.

    Raises:
        DataError: if ``config.json`` is that of something else.
    """
    if _is_foreign(before.get(CONFIG, b"")):
        expected, remedy = f"{CONFIG} of a model of emorl, or none", "choose another place, or move it away"
        raise DataError.of(where, expected=expected, got=f"another {CONFIG}", remedy=remedy)
    written, found = _written(before), {name: before[name] for name in (CARD, PICTURE) if name in before}
    kept = {name for name in found if written.get(name) != _sha256(found[name]) and found[name] != files.get(name)}
    if found.get(PICTURE) in [picture_of({"weights": name}) for name in names()]:  # left by a card that was kept
        kept.discard(PICTURE)
    for name in sorted(kept & files.keys()):
        new = "model card" if name == CARD else "picture"
        warn(f"{where}/{name} was edited and is kept; delete it to get the new {new}")
    return Change(kept, set() if CARD in kept else found.keys() - kept - files.keys())


def _is_foreign(config: bytes) -> bool:
    """Return whether a configuration is not of `files_of`; one that is damaged, such as by a crash, may be."""
    try:
        found = json.loads(config)
    except (ValueError, RecursionError):
        return False
    return not (isinstance(found, dict) and found.keys() >= {"model", "about"})


def _written(before: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of a former model's card and picture, as written; version 0.2.0 did not record them."""
    try:
        return dict(json.loads(before[CONFIG])["files"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _check_class(path: str) -> None:
    module, _, name = path.rpartition(".")
    expected, remedy = "a class at the top level of a module that can be imported", "move it to a module"
    try:
        found = module != "__main__" and hasattr(import_module(module), name)
    except ImportError:
        found = False
    if not found:
        raise DataError.of("model", expected=expected, got=path, remedy=remedy)


def _values(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values in dictionaries and lists with their places; a key that is not text is a value, too."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{place}, key {key!r}", key
            yield from _values(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _values(item, f"{place}[{index}]")
    else:
        yield place, value


def _weights(model: Pretrained) -> bytes:
    state = model.network.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.is_meta or value.layout != torch.strided:
            remedy = "give it values, such as with load_state_dict"
            raise DataError.of(name, expected="a dense tensor with values", got=_kind(value), remedy=remedy)
    try:
        return save({name: value.to("cpu", copy=True).contiguous() for name, value in state.items()})
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        expected, remedy = "tensors that safetensors can store", "convert them to a floating-point type"
        raise DataError.of("model", expected=expected, got=reason(error), remedy=remedy) from error


def _card(model: Pretrained, repo_id: str, metadata: dict[str, Any]) -> bytes:
    card = model.card | metadata
    shown = Pretrained(model.network, model.image_size, card, model.crop).eval()
    for key, (kind, expected) in _CARD.items():
        if not isinstance(card.get(key, kind()), kind):
            remedy = "correct or remove it"
            raise DataError.of(f"card.{key}", expected=expected, got=repr(card[key]), remedy=remedy)
    try:
        return model_card(shown, repo_id).encode()
    except DataError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        expected, remedy = "metadata as those of shipped weights", "set only trained_on and license, as text"
        raise DataError.of("card", expected=expected, got=f"{type(error).__name__}: {error}", remedy=remedy) from error


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}, {value.layout}, on {value.device}"
    return f"{value!r} of type {type(value).__name__}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
