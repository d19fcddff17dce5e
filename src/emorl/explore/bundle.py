"""The files of one model for the page: two ONNX graphs, scenes, and its latent dimensions."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from emorl import __version__
from emorl.explore.gallery import SHOWN, Gallery
from emorl.explore.latents import dimensions, objects
from emorl.model import Reconstruction
from emorl.model.describe import describe as model_description
from emorl.pretrained import Pretrained

_BATCH = 16  # images that are reconstructed together
_FORMAT = 4  # version of the folder's format; part of its name in the cache


def write_bundle(model: Pretrained, gallery: Gallery, folder: Path) -> None:
    """Write ``encode.onnx``, ``decode.onnx``, ``scenes/00.png``, ``scenes/01.png``, ..., and ``model.json``.

    Raises:
        DataError: if the model cannot be exported, or the files cannot be written.
    """
    write_graphs(model, folder)
    scenes = folder / "scenes"
    scenes.mkdir()
    names = [f"{place:02}.png" for place in range(min(SHOWN, len(gallery.images)))]
    for name, image in zip(names, gallery.images, strict=False):
        Image.fromarray(image).save(scenes / name)
    (folder / "model.json").write_text(json.dumps(describe(model, gallery, names), indent=1) + "\n")


def write_graphs(model: Pretrained, folder: Path) -> None:
    """Write ``encode.onnx``, from images to slots, and ``decode.onnx``, from any number of slots to masks and colors.

    Raises:
        DataError: if the model cannot be exported, or the exporter is not installed.
    """
    for method in ("encode", "decode"):  # the page composes them, and does not use the whole model
        (file,) = model.export(folder / "model.onnx", methods=[method])
        file.rename(folder / f"{method}.onnx")


@torch.inference_mode()
def describe(model: Pretrained, gallery: Gallery, names: list[str]) -> dict[str, Any]:
    """Return the metadata of a model for the page: sizes, scenes, and all latent dimensions, the active ones first."""
    images = torch.from_numpy(gallery.images).movedim(-1, 1)
    found = Reconstruction(*map(torch.cat, zip(*map(model.reconstruct, torch.split(images, _BATCH)), strict=True)))
    drawn = objects(found.masks)
    errors = (found.reconstruction - images / 255).square().mean(dim=(1, 2, 3))
    network = model.network
    return {
        "data": gallery.title,
        "network": type(network).__name__,
        "image_size": model.image_size,
        "num_slots": network.num_slots,
        "slot_dim": network.slot_dim,
        "scenes": names,
        "start": first_scenes(errors[: len(names)], drawn[: len(names)].sum(dim=1)),
        "dimensions": [dimension._asdict() for dimension in dimensions(found.slots[drawn])],
    }


def first_scenes(errors: Float[Tensor, " scenes"], counts: Int[Tensor, " scenes"]) -> list[int]:
    """Return two scenes to show first: of the three quarters with the lowest errors, those with the most objects.

    >>> first_scenes(torch.tensor([0.1, 0.2, 0.3, 0.9]), torch.tensor([2, 3, 5, 6]))
    [2, 1]
    """
    best = errors.argsort(stable=True)[: max(2, 3 * len(errors) // 4)].tolist()
    chosen = sorted(best, key=lambda scene: -int(counts[scene]))[:2]
    return [chosen[0], chosen[-1]]


def bundle_key(model: Pretrained, gallery: Gallery) -> str:
    """Return the cache key of a bundle: a checksum of its model, scenes and versions.

    Models with the same weights may differ in their configuration, such as K.
    """
    network = model.network
    configuration = json.dumps(model_description(network), sort_keys=True)
    about = f"{_FORMAT} {__version__} {torch.__version__} {configuration} {network.default_steps} {gallery.title}"
    checksum = hashlib.sha256(about.encode())
    for name, value in network.state_dict().items():
        checksum.update(f"{name} {list(value.shape)}".encode())
        checksum.update(value.contiguous().cpu().numpy().tobytes())
    checksum.update(gallery.images.tobytes())
    return checksum.hexdigest()[:20]
