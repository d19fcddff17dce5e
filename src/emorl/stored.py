"""Storage of trained weights: shipped with the package, in a folder, or in a checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from inspect import signature
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from safetensors.torch import load, save

from emorl.classes import module_of
from emorl.errors import DataError, did_you_mean, reason, root_cause, warn
from emorl.files import atomic, is_url
from emorl.finite import check_weights
from emorl.model import SlotModel
from emorl.model.describe import difference
from emorl.ranges import path_like
from emorl.released import UNREADABLE
from emorl.renamed import current
from emorl.saved import CONFIG, Weights, read_folder

WEIGHTS = resources.files("emorl.weights")
_NETWORK = "network."  # the module's prefix in a checkpoint
_DEFAULT = "efficient_morl/"  # may be omitted in names of weights


def load_weights(network: SlotModel, weights: Weights, objective: bool = True) -> None:
    """Load trained weights into a model.

    Args:
        network: the model.
        weights: the weights.
        objective: whether to load GECO's state, too; refinement is fitted to its multiplier. Otherwise it is reset.

    Raises:
        DataError: if names, shapes or kinds of the weights differ from the model's.
    """
    state, own = weights.state, network.state_dict()
    if not objective:
        state = {key: value for key, value in state.items() if not key.startswith(network.objective_names)}
        state |= {key: value for key, value in own.items() if key.startswith(network.objective_names)}
    shared = sorted(own.keys() & state.keys())
    other = [name for name in shared if own[name].is_floating_point() != state[name].is_floating_point()]
    if other:
        expected, got = f"{other[0]} of type {own[other[0]].dtype}", f"{state[other[0]].dtype}"
        raise DataError.of(weights.name, expected=expected, got=got, remedy="save the model again")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        of, remedy = class_path_of(weights.model).rpartition(".")[2], "leave the model's configuration as theirs"
        got = f"{type(network).__name__} with {difference(network.state_dict(), state)}"
        raise DataError.of(weights.name, expected=f"the {of} of these weights", got=got, remedy=remedy) from error


def read_weights(reference: str | Path, classes: Sequence[type] = ()) -> Weights:
    """Return trained weights. All functions and commands that take a trained model find it here.

    Args:
        reference: name of shipped weights, path of a folder of ``save_pretrained``, or path or URL of a checkpoint of
            ``emorl fit``, looked for in this order. A Path is never a name. A name that is also that of a folder of
            ``save_pretrained`` gives the shipped weights, with a warning.
        classes: classes outside `emorl.model` that the model of a folder may consist of.

    Raises:
        DataError: if it is none of them, or damaged, or if the model of a folder contains a class that is neither in
            `emorl.model` nor in ``classes``.
        TypeError: if it is neither text nor a path.

    >>> read_weights("tetrominoes").model["image_size"]
    35
    """
    try:
        path = os.path.expanduser(reference)
    except TypeError as error:
        expected = "the name of shipped weights, or the path of a folder of save_pretrained or of a checkpoint"
        remedy = f"Names are {', '.join(names())}."
        raise TypeError(f"Expected {expected}, got {reference!r}. {remedy}") from error
    path_like(name=reference)
    if isinstance(reference, str) and reference in names():
        if Path(reference, CONFIG).is_file():
            text = f"{reference} is the name of shipped weights, which are used; to load the folder, give ./{reference}"
            warn(text)
        return read_shipped(reference)
    if os.path.isdir(path):  # unlike `Path.is_dir`, also for a name that is too long
        return read_folder(Path(path), classes)
    return read_checkpoint(path if isinstance(reference, str) else Path(path))


def read_shipped(name: str) -> Weights:
    """Return shipped weights.

    Raises:
        DataError: if there are none of that name.
    """
    card = load_card(name)
    return Weights(name, card["model"], load(file_of(name, ".safetensors").read_bytes()), {**card, "weights": name})


def load_card(name: str) -> dict[str, Any]:
    """Return the card of shipped weights: the model's configuration, its training and its scores.

    Raises:
        DataError: if there are none of that name.
    """
    return current(json.loads(file_of(name, ".json").read_text()))  # type: ignore[no-any-return]


def picture_of(card: dict[str, Any]) -> bytes | None:
    """Return the PNG picture of shipped weights; None for other weights."""
    if card.get("weights") not in names() or not (file := file_of(card["weights"], ".png")).is_file():
        return None
    return file.read_bytes()


def write_shipped(checkpoint: str | Path, name: str, folder: str | Path, card: dict[str, Any]) -> None:
    """Convert a checkpoint of ``emorl fit`` to weights that `emorl.load_pretrained` reads from ``emorl/weights``.

    Args:
        checkpoint: the checkpoint.
        name: name of the weights, MODEL/DATA.
        folder: folder of ``NAME.safetensors`` and ``NAME.json``, which contains the folder MODEL.
        card: metadata of the weights; the model's configuration is added under ``model``.

    Raises:
        DataError: if the file is not a checkpoint, a weight is not finite, or a file cannot be written.
    """
    weights = read_checkpoint(checkpoint)
    check_weights(weights.state)
    with atomic(Path(folder) / f"{name}.safetensors") as stream:
        stream.write(save(weights.state))
    with atomic(Path(folder) / f"{name}.json") as stream:
        stream.write((json.dumps({**card, "model": weights.model}, indent=2) + "\n").encode())


def read_checkpoint(path: str | Path) -> Weights:
    """Return the weights in a checkpoint of ``emorl fit``, at a path or a URL.

    Their card contains ``model``, ``total_steps`` and, if they are recorded, ``trained_on`` (the data set and its
    variant) and ``started_from`` (the record of the weights of ``--pretrained``, see `emorl.provenance.record_of`).

    Raises:
        DataError: if the file cannot be opened, is damaged, is not a checkpoint or is one of another project, or if a
            weight is not finite.
    """
    from emorl.module import SlotModule

    file = _opened(path)
    try:
        with file:
            _check_sums(path, file)
            content = torch.load(file, map_location="cpu", weights_only=True)
        arguments, state = dict(content["hyper_parameters"].items()), dict(content["state_dict"].items())
    except DataError:
        raise
    except (OSError, BadZipFile, *UNREADABLE) as error:
        told = isinstance(error, OSError | RuntimeError)  # messages of other errors would mislead
        raise _no_checkpoint(path, reason(error) if told else "an empty file, or one of another kind") from error
    model = {name: current(value) for name, value in arguments.items() if not name.startswith("_")}
    if unknown := model.keys() - signature(SlotModule).parameters.keys():
        got, remedy = f"one with {', '.join(sorted(unknown))}", "use the version and project that it was made with"
        raise DataError.of(path, expected="a checkpoint of this version's emorl fit", got=got, remedy=remedy)
    _check_class(path, class_path_of(model))
    network = {name.removeprefix(_NETWORK): state[name] for name in state if name.startswith(_NETWORK)}
    if other := [name for name, value in network.items() if not isinstance(value, torch.Tensor)]:
        raise _no_checkpoint(path, f"one whose {other[0]} is no tensor")
    check_weights(network, path)
    steps = {"total_steps": content["global_step"]} if "global_step" in content else {}
    return Weights(str(path), model, network, {**steps, **content.get("training", {}), "model": model})


def _check_sums(path: str | Path, file: IO[bytes]) -> None:
    """Check the sums of a checkpoint's parts, which `torch.load` does not, and return to the start of the file."""
    if is_zipfile(file):  # older formats have no sums
        with ZipFile(file) as archive:
            broken = archive.testzip()
        if broken is not None:
            got, remedy = f"one with a wrong checksum of {broken}", "copy it again, or use an earlier checkpoint"
            raise DataError.of(path, expected="a checkpoint", got=got, remedy=remedy)
    file.seek(0)


def _opened(path: str | Path) -> IO[bytes]:
    import fsspec  # type: ignore[import-untyped]  # needed for checkpoints only

    try:
        return fsspec.open(str(path)).open()  # type: ignore[no-any-return]
    except Exception as error:  # of any package for a protocol
        if not is_url(path):
            raise _no_checkpoint(path, reason(error)) from error
        cause = root_cause(error)
        got = f"{type(cause).__name__}: {reason(cause).rstrip('.')}"
        remedy = "install the package of the protocol, or check the address and the access"
        raise DataError.of(path, expected="a checkpoint", got=got, remedy=remedy) from error


def _no_checkpoint(path: str | Path, got: str) -> DataError:
    shipped = f"the name of shipped weights: {', '.join(names())}"
    remedy = f"give the path of a .ckpt file of emorl fit, of a folder of save_pretrained, or {shipped}"
    remedy += did_you_mean(str(path), names())
    if os.path.isdir(path) or path in names():  # as --ckpt_path
        got = "a folder" if os.path.isdir(path) else "the name of shipped weights"
        remedy = "give the path of a .ckpt file of emorl fit, or weights without the run's state as --pretrained"
    return DataError.of(path, expected="a checkpoint", got=got, remedy=remedy)


def class_path_of(model: dict[str, Any]) -> str:
    """Return the path of the network's class in a module's arguments, or that of the default class."""
    network = model.get("network")
    return str(network.get("class_path")) if isinstance(network, dict) else "emorl.model.EfficientMORL"


def _check_class(checkpoint: str | Path, class_path: str) -> None:
    """Check that Python can import the class of a checkpoint's network, which may be defined in another package."""
    module, _, name = class_path.rpartition(".")
    expected = f"the class {class_path}"
    if not hasattr(module_of(module, checkpoint, expected), name):
        got, remedy = f"a module {module} without it", "use the version of the module that the run used"
        raise DataError.of(checkpoint, expected=expected, got=got, remedy=remedy)


def names() -> list[str]:
    """Return the names of the shipped weights: first DATA for those of EfficientMORL, then MODEL/DATA for all."""
    folders = [folder for folder in WEIGHTS.iterdir() if folder.is_dir()]
    cards = [(folder.name, file.name) for folder in folders for file in folder.iterdir() if file.name.endswith(".json")]
    full = sorted(f"{model}/{card.removesuffix('.json')}" for model, card in cards)
    return [name.removeprefix(_DEFAULT) for name in full if name.startswith(_DEFAULT)] + full


def file_of(name: str, suffix: str) -> Traversable:
    """Return a file of shipped weights by its suffix: ``.safetensors``, ``.json`` or ``.png``.

    Raises:
        DataError: if there are none of that name.
    """
    if name not in names():
        expected = f"one of {', '.join(names())}"
        raise DataError.of("pretrained", expected=expected, got=repr(name), remedy="choose one of them")
    return WEIGHTS / f"{name if '/' in name else _DEFAULT + name}{suffix}"
