"""Shipped weights: a trained model by name, ready to decompose images."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import import_module
from os.path import exists, expanduser, isdir
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.data.transforms import BOXES
from emorl.errors import DataError, did_you_mean, reason
from emorl.model import Components, Encoding, Reconstruction, SlotModel
from emorl.model.build import build
from emorl.model.describe import describe
from emorl.preprocess import Picture, preprocess
from emorl.provenance import record_of
from emorl.results import LABELS, rounded
from emorl.saved import Weights
from emorl.stored import class_path_of, file_of, load_card, load_weights, names, read_shipped, read_weights

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)  # user/repo of the hub

if TYPE_CHECKING:
    from emorl.data.transforms import Crop
    from emorl.module import SlotModule  # which imports Lightning


_SHORT = "fg_ari", "mse"  # scores in a summary


class Listed(NamedTuple):
    """A summary of shipped weights.

    >>> list_pretrained()[0].image_size
    96
    """

    name: str  # that `load_pretrained` takes
    data_set: str  # and its variant
    model: str  # the class
    image_size: int  # side in pixels
    num_slots: int  # K
    slot_dim: int  # D
    megabytes: float  # of the file of weights
    scores: dict[str, float]  # means over test images, of posterior means after the last step: FG-ARI, MSE and others

    def __repr__(self) -> str:
        """Return a readable line."""
        known = [f"{LABELS[score]} {rounded(self.scores[score])}" for score in _SHORT if score in self.scores]
        sizes = f"{self.image_size}x{self.image_size} pixels, K = {self.num_slots}, D = {self.slot_dim}"
        scores = f"; posterior means: {', '.join(known)}" if known else ""
        return f"<{self.name}: {self.model}, {self.data_set}; {sizes}, {self.megabytes:.1f} MB{scores}>"


class Pretrained(nn.Module):
    """A trained model with a few methods, all of which work under ``torch.inference_mode``.

    `encode` is the method for downstream tasks. It returns ``slots`` [B, K, D] (posterior means, a set without order),
    ``scale`` (their standard deviations, None for Slot Attention) and ``attention`` [B, K, H, W]; `decode` adds the
    masks. The model stays in evaluation mode, so that an image always has the same slots. To freeze it, call
    ``requires_grad_(False)``; to fine-tune it, pass its parameters to an optimizer: `encode` is differentiable.

    Args:
        network: the model.
        image_size: side of the images that it was trained on, in pixels; it decodes to that size by default.
        card: metadata of the weights.
        crop: crop of the training images, see `emorl.data.transforms`.

    >>> model = load_pretrained("tetrominoes")
    >>> with torch.inference_mode():
    ...     found = model.reconstruct(torch.zeros(2, 3, 35, 35))
    >>> found.masks.shape
    torch.Size([2, 4, 1, 35, 35])
    """

    def __init__(self, network: SlotModel, image_size: int, card: dict[str, Any], crop: Crop = "square") -> None:
        super().__init__()
        self.network = network
        self.image_size = image_size
        self.card = card
        self.crop = crop

    def train(self, mode: bool = True) -> Pretrained:
        """Stay in evaluation mode, even as a part of a model in training mode."""
        return super().train(False)

    def preprocess(
        self, images: Picture | Sequence[Picture], crop: Crop | None = None
    ) -> Float[Tensor, "batch 3 size size"]:
        """Crop and resize pictures, by default like the training images; see `emorl.preprocess.preprocess`."""
        return preprocess(images, self.image_size, crop or self.crop).to(next(self.parameters()))

    def export(
        self,
        path: str | Path,
        steps: int | None = None,
        num_slots: int | None = None,
        methods: Sequence[str] = ("reconstruct", "encode", "decode"),
    ) -> list[Path]:
        """Write methods as ONNX or torch.export programs, see `emorl.export.export`."""
        from emorl.export import export  # not needed for loading

        model = published(self)
        return export(model, path, steps, num_slots, model.card.get("weights", "model"), methods)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save as a folder of safetensors, JSON and a model card, see `emorl.hub.HubModel`.

        The file has the weights' precision; loading them gives a model in float32, the precision of its construction,
        as for other models of huggingface_hub. Convert it, such as by ``.half()``.

        Raises:
            DataError: if the model cannot be stored, the folder cannot be written to, or huggingface_hub is missing.
        """
        _hub().HubModel.of(self).save_pretrained(folder)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload to the Hugging Face Hub, with the options of its mixin; returns the address of the commit.

        Raises:
            DataError: if the model cannot be stored, the name is not valid, the hub cannot be reached or refuses the
                upload, or huggingface_hub is missing.
        """
        return str(_hub().HubModel.of(self).push_to_hub(repo_id, **options))

    def encode(
        self, images: Tensor, steps: int | None = None, num_slots: int | None = None, draws: int = 1
    ) -> Encoding:
        """Infer the slots of images, see `SlotModel.encode`."""
        return self.network.encode(images, steps, num_slots, draws)

    def decode(self, slots: Float[Tensor, "batch slots dim"], size: tuple[int, int] | None = None) -> Components:
        """Render slots at ``size`` = (height, width), by default that of training; see `SlotModel.decode`."""
        return self.network.decode(slots, (self.image_size, self.image_size) if size is None else size)

    def reconstruct(
        self, images: Tensor, steps: int | None = None, num_slots: int | None = None, draws: int = 1
    ) -> Reconstruction:
        """Encode and decode images, see `SlotModel.reconstruct`."""
        return self.network.reconstruct(images, steps, num_slots, draws)


def load_pretrained(name: str | Path, *, classes: Sequence[type] = ()) -> Pretrained:
    """Load shipped weights, a folder of ``save_pretrained``, or a checkpoint, on the CPU and in evaluation mode.

    Args:
        name: name of shipped weights, or path of a folder of ``save_pretrained`` or of a checkpoint of ``emorl fit``. A
            Path is never a name. A name that is also that of a folder of ``save_pretrained`` gives the shipped weights,
            with a warning; ``./NAME`` is the folder.
        classes: classes outside `emorl.model` that the model of a folder may consist of, see `from_pretrained`.

    Returns:
        The model. Its ``card`` is a dictionary that records the training. That of a checkpoint contains ``model``, the
        configuration, ``total_steps`` and, if they are known, ``trained_on``, the data set, and ``started_from``, the
        weights that the training started from.

    Raises:
        DataError: if it is none of them, or damaged, or if the model of a folder contains a class that is neither in
            `emorl.model` nor in ``classes``.
        TypeError: if it is neither text nor a path, or ``classes`` is not a list of classes.

    >>> model = load_pretrained("tetrominoes")
    >>> model.reconstruct(torch.zeros(2, 3, 35, 35)).masks.shape
    torch.Size([2, 4, 1, 35, 35])
    """
    return assembled(read_weights(name, _checked(classes)))


def published(model: Pretrained) -> Pretrained:
    """Return a model with the card to publish.

    If shipped weights or their configuration, such as K, were changed, their scores, training, license and picture do
    not apply: the card contains their name as ``base_weights``, and what the user added to it. Other weights keep their
    card. A conversion to another precision is no change.

    >>> model = load_pretrained("tetrominoes")
    >>> _ = model.network.requires_grad_(False).apply(lambda part: [value.mul_(2) for value in part.parameters()])
    >>> published(model).card
    {'base_weights': 'tetrominoes'}
    """
    if not (name := model.card.get("weights")):
        return model
    card: dict[str, Any] = {}
    if name in names():
        with torch.random.fork_rng(devices=[]):
            known = assembled(read_shipped(name))
        if _same(model, known):
            return model
        card = known.card
    own = {key: value for key, value in model.card.items() if key not in card or value != card[key]}
    own.pop("weights", None)
    return Pretrained(model.network, model.image_size, own | {"base_weights": name}, model.crop).eval()


def _same(model: Pretrained, known: Pretrained) -> bool:
    ours, theirs = model.network.state_dict(), known.network.state_dict()
    facts = [(json.dumps(describe(each.network)), each.image_size, each.crop) for each in (model, known)]
    return (
        facts[0] == facts[1]
        and ours.keys() == theirs.keys()
        and all(torch.equal(value.cpu(), theirs[key].to(value.dtype)) for key, value in ours.items())
    )


@torch.inference_mode(mode=False)  # weights created in inference mode have no gradients, which refinement needs
def assembled(weights: Weights) -> Pretrained:
    """Return the model of trained weights, on the CPU and in evaluation mode.

    Raises:
        DataError: if the weights are those of another model, or its configuration is not valid.

    >>> assembled(read_shipped("slot_attention/tetrominoes")).network.num_slots
    4
    """
    network = _network(weights)
    size, crop = weights.model.get("image_size", 35), weights.model.get("crop", "square")
    remedy = "correct the configuration, or save the model again"
    for name, value in {"image_size": size, "num_slots": network.num_slots, "slot_dim": network.slot_dim}.items():
        if type(value) is not int or value < 1:
            raise DataError.of(
                weights.name, expected=f"{name} of 1 or more, an integer", got=repr(value), remedy=remedy
            )
    if crop not in list(BOXES):
        expected = f"one of the crops {', '.join(BOXES)}"
        raise DataError.of(weights.name, expected=expected, got=repr(crop), remedy=remedy)
    load_weights(network, weights)
    return Pretrained(network, size, weights.card, crop).eval()


def _network(weights: Weights) -> SlotModel:
    """Build the network of trained weights, whose configuration and class may be of any origin."""
    try:
        network = build(weights.model.get("network") or {"class_path": class_path_of({})})
    except Exception as error:  # raised by the class
        expected = f"a class and arguments that build {class_path_of(weights.model)}"
        got = f"{type(error).__name__}: {reason(error).rstrip('.')}"
        remedy = "correct its arguments, all by name; annotate a parameter that takes a class X as Callable[..., X]"
        raise DataError.of(weights.name, expected=expected, got=got, remedy=remedy) from error
    if not isinstance(network, SlotModel):
        got, remedy = type(network).__name__, "derive its class from emorl.model.SlotModel"
        raise DataError.of(weights.name, expected="a slot model", got=got, remedy=remedy)
    return network


def from_pretrained(
    name: str | Path,
    *,
    classes: Sequence[type] = (),
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Pretrained:
    """Load shipped weights, a folder of ``save_pretrained``, or a repository ``user/repo`` of the Hugging Face Hub.

    Args:
        name: name, folder or repository, looked for in this order. A Path is always a folder; a name that is also that
            of a folder gives the shipped weights, with a warning, and ``./NAME`` the folder.
        classes: classes outside `emorl.model` that the model may consist of, such as your own; others are refused,
            because a configuration that could name any class could run any code.
        revision: branch, tag or commit of the repository; by default its main branch.
        token: access token of the hub; by default that of ``hf auth login``.
        cache_dir: folder for downloads; by default that of huggingface_hub.
        force_download: download again.
        local_files_only: do not connect to the hub; use what was downloaded before.

    Returns:
        The model, on the CPU and in evaluation mode.

    Raises:
        DataError: if it is none of them, if huggingface_hub is missing, if a file is damaged or of another kind, or if
            the model contains a class that is neither in `emorl.model` nor in ``classes``.
        TypeError: if ``classes`` is not a list of classes.

    >>> from_pretrained("slot_attention/tetrominoes").image_size
    35

    Example:
        A model of your own class, from the hub:

        ```python
        model = from_pretrained("user/repo", classes=[own_model.SoftKMeans])
        ```
    """
    classes = _checked(classes)
    if not isinstance(name, str | Path) or name in ("", *names()) or isdir(expanduser(name)):
        return assembled(read_weights(name, classes))
    is_file = exists(expanduser(name))
    if is_file or isinstance(name, Path) or not _REPOSITORY.fullmatch(name):
        got = "a file" if is_file else "none of them"
        remedy = "load a checkpoint with emorl.load_pretrained" if is_file else "check the path"
        expected = f"a folder of save_pretrained, a repository user/repo of the hub, or one of {', '.join(names())}"
        raise DataError.of(name, expected=expected, got=got, remedy=remedy + did_you_mean(str(name), names()))
    return _hub().HubModel.from_pretrained(  # type: ignore[no-any-return]
        name,
        classes=classes,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        force_download=force_download,
        local_files_only=local_files_only,
    )


def _checked(classes: Sequence[type]) -> Sequence[type]:
    if not isinstance(classes, list | tuple) or not all(isinstance(each, type) for each in classes):
        raise TypeError(f"Expected a list of classes, got {classes!r}. Give it as classes=[own_model.SoftKMeans].")
    return classes


def _hub() -> Any:
    try:
        import huggingface_hub  # noqa: F401  # an optional dependency
    except ImportError as error:
        remedy = "pip install 'emorl[hub]'"
        raise DataError.of("hub", expected="the package huggingface_hub", got=f"{error}", remedy=remedy) from error
    return import_module("emorl.hub")


def list_pretrained() -> list[Listed]:
    """Return a summary of all shipped weights, sorted by name.

    >>> list_pretrained()[0]  # doctest: +ELLIPSIS
    <efficient_morl/clevr6: EfficientMORL, clevr, ...; 96x96 pixels, ...; posterior means: FG-ARI ...>
    >>> [listed.name for listed in list_pretrained() if listed.model == "IODINE"]
    ['iodine/tetrominoes']
    """
    return [_listed(name) for name in names() if "/" in name]


def _listed(name: str) -> Listed:
    card, size = load_card(name), len(file_of(name, ".safetensors").read_bytes())
    model, network = card["model"], card["model"]["network"]
    scores = card.get("tests", {}).get("means", {}).get("scores", {})
    means = {score: value["mean"] for score, value in scores[max(scores)].items()} if scores else {}
    kind, init_args = network["class_path"].rpartition(".")[2], network["init_args"]
    places = model["image_size"], init_args["num_slots"], init_args["slot_dim"]
    return Listed(name, card.get("trained_on", ""), kind, *places, size / 1e6, means)


@torch.inference_mode(mode=False)  # see `assembled`
def load_module(name: str | Path, *, classes: Sequence[type] = ()) -> SlotModule:
    """Load what `load_pretrained` takes as the module that trained it, on the CPU and in evaluation mode.

    Returns:
        The module, with the model as ``network``.

    Raises:
        DataError: as `load_pretrained`.
        TypeError: as `load_pretrained`.

    >>> load_module("tetrominoes").test_refinement_steps
    3
    """
    from pytorch_lightning.cli import instantiate_module  # not needed for models without Lightning

    from emorl.module import SlotModule

    weights = read_weights(name, _checked(classes))
    try:
        module: SlotModule = instantiate_module(SlotModule, weights.model)
    except Exception as error:  # raised by a class
        expected, got = "arguments of SlotModule", f"{type(error).__name__}: {reason(error).rstrip('.')}"
        remedy = "correct the configuration, or save the model again"
        raise DataError.of(weights.name, expected=expected, got=got, remedy=remedy) from error
    load_weights(module.network, weights)
    module.started_from = record_of(weights.card)
    return module.eval()
