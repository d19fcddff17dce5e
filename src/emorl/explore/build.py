"""Build of the explorer as a folder of static files, for any web server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from emorl import __version__
from emorl.errors import DataError, reason
from emorl.explore.bundle import bundle_key, write_bundle
from emorl.explore.cache import cached
from emorl.explore.gallery import example_scenes, from_folder
from emorl.export import check_exportable
from emorl.pretrained import load_pretrained

MODELS = {  # shown by default, with their titles
    "tetrominoes": "Tetrominoes",
    "multi_dsprites": "Multi-dSprites",
    "clevr6": "CLEVR6",
}
_MARK = "meta.json"  # identifies the folder of an explorer


def build(
    folder: Path, models: Sequence[str] = (*MODELS,), images: Path | None = None, classes: Sequence[type] = ()
) -> None:
    """Write the page with its models and scenes; nothing is written until all models are exported.

    Args:
        folder: output folder; it must not exist, or be empty, or contain an explorer, whose files are replaced. Other
            files beside them stay, such as those of a repository.
        models: names of shipped weights, or paths of folders of ``save_pretrained`` or checkpoints.
        images: a folder of images to show as scenes, for all models; by default test scenes of the data set with the
            model's image size.
        classes: classes outside `emorl.model` that the models of folders may consist of.

    Raises:
        DataError: if a model or the images cannot be read, if a model cannot be exported, or if the folder contains
            other files or cannot be written.
    """
    _check(folder)
    bundles = {name: _bundle(name, images, classes) for name in models}
    try:
        shutil.rmtree(folder / "models", ignore_errors=True)
        with resources.as_file(resources.files("emorl.explore") / "page") as page:
            shutil.copytree(page, folder, dirs_exist_ok=True)
        entries = []
        for number, (name, bundle) in enumerate(bundles.items()):
            place = f"models/{number}"
            shutil.copytree(bundle, folder / place)
            about = json.loads((bundle / "model.json").read_text())
            entries.append({"title": MODELS.get(name, name), "folder": place, **about})
        meta = {"version": __version__, "models": entries}
        (folder / _MARK).write_text(json.dumps(meta, indent=1) + "\n")
    except OSError as error:
        remedy = "free some space, or choose another folder"
        raise DataError.of(folder, expected="a folder to write to", got=reason(error), remedy=remedy) from error


def _bundle(name: str, images: Path | None, classes: Sequence[type]) -> Path:
    """Return the cached folder of one model's files, which are created if necessary."""
    model = load_pretrained(name, classes=classes)
    check_exportable(model, None, name)
    gallery = example_scenes(model.image_size, name) if images is None else from_folder(images, model.image_size)
    return cached(bundle_key(model, gallery), lambda folder: write_bundle(model, gallery, folder))


def _check(folder: Path) -> None:
    """Raise an error if the folder contains anything but an explorer."""
    if folder.exists() and not (folder.is_dir() and (_has_explorer(folder) or not any(folder.iterdir()))):
        got, remedy = "one with other files", "choose another folder"
        raise DataError.of(folder, expected="a new or empty folder", got=got, remedy=remedy)


def _has_explorer(folder: Path) -> bool:
    """Return whether the metadata are those that `build` writes; other web sites have a file of that name, too."""
    try:
        meta = json.loads((folder / _MARK).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(meta, dict) and meta.keys() == {"version", "models"}
