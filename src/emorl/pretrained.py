"""Shipped weights: a trained model by name, ready to decompose images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor, nn

from emorl.errors import DataError, did_you_mean
from emorl.files import atomic
from emorl.model import Components, Encoding, Reconstruction, SlotModel
from emorl.model.build import build
from emorl.model.describe import difference
from emorl.preprocess import Picture, preprocess
from emorl.released import UNREADABLE

if TYPE_CHECKING:
    from emorl.data.transforms import Crop
    from emorl.module import SlotModule  # which imports Lightning

WEIGHTS = resources.files("emorl.weights")
_NETWORK = "network."  # the module's prefix in a checkpoint
_DEFAULT = "efficient_morl/"  # whose weights have names without it, too


class Weights(NamedTuple):
    """Trained weights, and the model that they belong to."""

    name: str  # of shipped weights, or the path of a checkpoint
    model: dict[str, Any]  # arguments of `SlotModule`
    state: dict[str, Tensor]  # of its network


class Listed(NamedTuple):
    """Shipped weights in a few words."""

    name: str  # that `load_pretrained` takes
    data_set: str  # and its variant
    model: str  # the class
    image_size: int  # side in pixels
    num_slots: int  # K
    slot_dim: int  # D
    megabytes: float  # of the file of weights
    scores: dict[str, float]  # test means, of slots by posterior means: FG-ARI, ARI, MSE and others, at the most steps


class Pretrained(nn.Module):
    """A trained model behind a few methods, all of which work under ``torch.inference_mode``.

    Downstream, `encode` is what a project builds on: ``slots`` [B, K, D] (posterior means, a set without order),
    ``scale`` (their standard deviations, None for Slot Attention) and ``attention`` [B, K, H, W]; `decode` adds the
    masks. It stays in evaluation mode, so that an image keeps its slots. To freeze it, ``requires_grad_(False)``; to
    fine-tune it, pass its parameters to an optimizer: `encode` is differentiable.

    Args:
        network: the model.
        image_size: side of the images that it was trained on, in pixels; it decodes to that size by default.
        card: what is known about the weights.
        crop: what was cut out of the images that it was trained on, see `emorl.data.transforms`.

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
        """Stay in evaluation mode, within a model that trains too."""
        return super().train(False)

    def preprocess(
        self, images: Picture | Sequence[Picture], crop: Crop | None = None
    ) -> Float[Tensor, "batch 3 size size"]:
        """Crop and resize pictures as those of training were, ``crop`` apart; see `emorl.preprocess.preprocess`."""
        return preprocess(images, self.image_size, crop or self.crop).to(next(self.parameters()))

    def export(self, path: str | Path, steps: int | None = None, num_slots: int | None = None) -> list[Path]:
        """Write encode, decode and reconstruct as ONNX or torch.export programs, see `emorl.export.export`."""
        from emorl.export import export  # which loading does not need

        return export(self, path, steps, num_slots, self.card.get("weights", "model"))

    def save_pretrained(self, folder: str | Path) -> None:
        """Save as a folder of safetensors, JSON and a model card, see `emorl.hub.HubModel`."""
        _hub().HubModel.of(self).save_pretrained(folder)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload to the Hugging Face Hub, with the options of its mixin; returns the address of the commit."""
        return str(_hub().HubModel.of(self).push_to_hub(repo_id, **options))

    def encode(
        self, images: Tensor, steps: int | None = None, num_slots: int | None = None, draws: int = 1
    ) -> Encoding:
        """Infer the slots of images, see `SlotModel.encode`."""
        return self.network.encode(images, steps, num_slots, draws)

    def decode(self, slots: Float[Tensor, "batch slots dim"], size: tuple[int, int] | None = None) -> Components:
        """Render slots at ``size`` = (height, width), by default that of training; see `SlotModel.decode`."""
        return self.network.decode(slots, size or (self.image_size, self.image_size))

    def reconstruct(
        self, images: Tensor, steps: int | None = None, num_slots: int | None = None, draws: int = 1
    ) -> Reconstruction:
        """Decompose images and put them together again, see `SlotModel.reconstruct`."""
        return self.network.reconstruct(images, steps, num_slots, draws)


def load_pretrained(name: str) -> Pretrained:
    """Load shipped weights, or a checkpoint, on the CPU and in evaluation mode.

    Args:
        name: name of shipped weights, or path of a checkpoint of ``emorl fit``, which has no card.

    Raises:
        DataError: if it is neither.
    """
    return assembled(read_weights(name), {**load_card(name), "weights": name} if name in names() else {})


@torch.inference_mode(mode=False)  # weights made in it have no gradients to refine with
def assembled(weights: Weights, card: dict[str, Any]) -> Pretrained:
    """Return the model of trained weights, on the CPU and in evaluation mode.

    Raises:
        DataError: if the weights are those of another model.
    """
    network = build(weights.model.get("network") or {"class_path": "emorl.model.EfficientMORL"})
    load_weights(network, weights)
    size, crop = weights.model.get("image_size", 35), weights.model.get("crop", "square")
    return Pretrained(network, size, card, crop).eval()


def from_pretrained(name: str | Path, **options: Any) -> Pretrained:
    """Load shipped weights, a folder of ``save_pretrained``, or a repository ``user/repo`` of the Hugging Face Hub.

    Args:
        name: name, folder or repository, looked for in this order.
        options: those of the hub's mixin, such as ``revision`` and ``token``.

    Raises:
        DataError: if it is none of them, if huggingface_hub is missing, or if a file is damaged or of another kind.
    """
    if name in names():
        return load_pretrained(str(name))
    return _hub().HubModel.from_pretrained(name, **options)  # type: ignore[no-any-return]


def _hub() -> Any:
    try:
        import huggingface_hub  # noqa: F401  # an option of the installation
    except ImportError as error:
        remedy = "pip install 'emorl[hub]'"
        raise DataError.of("hub", expected="the package huggingface_hub", got=f"{error}", remedy=remedy) from error
    return import_module("emorl.hub")


def list_pretrained() -> list[Listed]:
    """Return what is known in short about all shipped weights, by name.

    >>> [listed.name for listed in list_pretrained() if listed.model == "IODINE"]
    ['iodine/tetrominoes']
    """
    return [_listed(name) for name in names() if "/" in name]


def _listed(name: str) -> Listed:
    card, size = load_card(name), len(_file(name, ".safetensors").read_bytes())
    model, network = card["model"], card["model"]["network"]
    scores = card.get("tests", {}).get("means", {}).get("scores", {})
    means = {score: value["mean"] for score, value in scores[max(scores)].items()} if scores else {}
    kind, init_args = network["class_path"].rpartition(".")[2], network["init_args"]
    places = model["image_size"], init_args["num_slots"], init_args["slot_dim"]
    return Listed(name, card.get("trained_on", ""), kind, *places, size / 1e6, means)


@torch.inference_mode(mode=False)  # likewise
def load_module(name: str) -> SlotModule:
    """Load shipped weights, or a checkpoint, as the module that trained them, on the CPU and in evaluation mode.

    Args:
        name: name of shipped weights, or path of a checkpoint of ``emorl fit``.

    Raises:
        DataError: if it is neither.
    """
    from pytorch_lightning.cli import instantiate_module  # which models alone do not need

    from emorl.module import SlotModule

    weights = read_weights(name)
    module: SlotModule = instantiate_module(SlotModule, weights.model)
    load_weights(module.network, weights)
    return module.eval()


def load_weights(network: SlotModel, weights: Weights, objective: bool = True) -> None:
    """Fill a model with trained weights.

    Args:
        network: the model.
        weights: the weights.
        objective: whether GECO comes with them, to whose multiplier refinement is fitted; without, it starts anew.

    Raises:
        DataError: if the model is another one.
    """
    state = weights.state
    if not objective:
        state = {key: value for key, value in state.items() if not key.startswith(network.objective_names)}
        own = network.state_dict()
        state |= {key: value for key, value in own.items() if key.startswith(network.objective_names)}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        of, remedy = _class_path(weights.model).rpartition(".")[2], "leave the model's configuration as theirs"
        got = f"{type(network).__name__} with {difference(network.state_dict(), state)}"
        raise DataError.of(weights.name, expected=f"the {of} of these weights", got=got, remedy=remedy) from error


def read_weights(name: str) -> Weights:
    """Return shipped weights, or those of a checkpoint.

    Args:
        name: name of shipped weights, or path of a checkpoint of ``emorl fit``.

    Raises:
        DataError: if it is neither.
    """
    if name not in names():
        return read_checkpoint(name)
    return Weights(name, load_card(name)["model"], load(_file(name, ".safetensors").read_bytes()))


def load_card(name: str) -> dict[str, Any]:
    """Return what is known about shipped weights: the model's configuration, its training, its scores.

    Raises:
        DataError: if there are none of that name.
    """
    return json.loads(_file(name, ".json").read_text())  # type: ignore[no-any-return]


def picture_of(card: dict[str, Any]) -> bytes | None:
    """Return the PNG picture that shipped weights have, None for others."""
    if card.get("weights") not in names() or not (file := _file(card["weights"], ".png")).is_file():
        return None
    return file.read_bytes()


def save_pretrained(checkpoint: str | Path, name: str, folder: str | Path, card: dict[str, Any]) -> None:
    """Turn a checkpoint of ``emorl fit`` into weights that `load_pretrained` reads from ``emorl/weights``.

    Args:
        checkpoint: the checkpoint.
        name: name of the weights, MODEL/DATA.
        folder: where ``NAME.safetensors`` and ``NAME.json`` go; the folder MODEL is there.
        card: what is to be known about them; the model's configuration is added under ``model``.

    Raises:
        DataError: if the file is no checkpoint, or these files cannot be written.
    """
    weights = read_checkpoint(checkpoint)
    with atomic(Path(folder) / f"{name}.safetensors") as stream:
        stream.write(save(weights.state))
    with atomic(Path(folder) / f"{name}.json") as stream:
        stream.write((json.dumps({**card, "model": weights.model}, indent=2) + "\n").encode())


def read_checkpoint(path: str | Path) -> Weights:
    """Return the weights in a checkpoint of ``emorl fit``, of a path or a URL.

    Raises:
        DataError: if the file is no checkpoint, or that of another project.
    """
    import fsspec  # type: ignore[import-untyped]  # what only checkpoints need

    from emorl.module import SlotModule

    try:
        with fsspec.open(str(path)) as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
        arguments, state = content["hyper_parameters"], content["state_dict"]
    except (OSError, *UNREADABLE) as error:
        told = isinstance(error, OSError | RuntimeError)  # the others' words would mislead
        got = str(error).partition("\n")[0] if told else "an empty file, or one of another kind"
        known = ", ".join(names())
        remedy = f"give the path of a .ckpt file of emorl fit, or the name of shipped weights: {known}"
        remedy += did_you_mean(str(path), names())
        raise DataError.of(path, expected="a checkpoint", got=got, remedy=remedy) from error
    model = {name: value for name, value in arguments.items() if not name.startswith("_")}
    if unknown := model.keys() - signature(SlotModule).parameters.keys():
        got, remedy = f"one with {', '.join(sorted(unknown))}", "use the version and project that it was made with"
        raise DataError.of(path, expected="a checkpoint of this version's emorl fit", got=got, remedy=remedy)
    _check_class(path, _class_path(model))
    network = {name.removeprefix(_NETWORK): state[name] for name in state if name.startswith(_NETWORK)}
    return Weights(str(path), model, network)


def _class_path(model: dict[str, Any]) -> str:
    """Return the path of the network's class in a module's arguments; without one it is the default."""
    network = model.get("network")
    return network["class_path"] if isinstance(network, dict) else "emorl.model.EfficientMORL"


def _check_class(checkpoint: str | Path, class_path: str) -> None:
    """Check that Python finds the class that a checkpoint is of, which may be of a package of its own."""
    module, _, name = class_path.rpartition(".")
    try:
        getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        remedy = f"put the folder of {module.partition('.')[0]} on PYTHONPATH, or install it"
        raise DataError.of(checkpoint, expected=f"the class {class_path}", got=str(error), remedy=remedy) from error


def names() -> list[str]:
    """Return the names of the shipped weights: MODEL/DATA of each, and before them DATA alone for EfficientMORL's."""
    folders = [folder for folder in WEIGHTS.iterdir() if folder.is_dir()]
    cards = [(folder.name, file.name) for folder in folders for file in folder.iterdir() if file.name.endswith(".json")]
    full = sorted(f"{model}/{card.removesuffix('.json')}" for model, card in cards)
    return [name.removeprefix(_DEFAULT) for name in full if name.startswith(_DEFAULT)] + full


def _file(name: str, suffix: str) -> Traversable:
    if name not in names():
        expected = f"one of {', '.join(names())}"
        raise DataError.of("pretrained", expected=expected, got=repr(name), remedy="choose one of them")
    return WEIGHTS / f"{name if '/' in name else _DEFAULT + name}{suffix}"
