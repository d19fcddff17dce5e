"""The files of ``emorl predict``: arrays, a picture and a label map of each image, and an overview."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from emorl.callbacks.folder import run_folder
from emorl.errors import DataError, printable
from emorl.files import atomic, too_long
from emorl.metrics.functional import masks_to_labels
from emorl.module import Prediction
from emorl.ranges import counts
from emorl.types import Batch
from emorl.viz import decomposition, save_labels, save_png, sheet, summary_tiles

OVERVIEW = "overview.png"
ARRAYS, PICTURE, LABELS = ".npz", ".png", "_labels.png"  # after an image's key


class PredictionWriter(Callback):
    """Writes ``NAME.npz``, ``NAME.png`` and ``NAME_labels.png`` for each image, and ``overview.png`` of the first ones.

    The npz file contains in float32 ``image`` [3, H, W], ``slots`` [K, D], their ``scale`` [K, D] unless slots are
    points, ``masks`` [K, 1, H, W] in [0, 1], ``components`` [K, 3, H, W] in [0, 1] (unbounded for IODINE) and
    ``reconstruction`` [3, H, W]; and in int64 ``crop_box``: top, left, bottom and right of the model's input, in pixels
    of the stored image. The picture is that of `emorl.viz.decomposition`. The label map is a PNG with a palette, H x W
    pixels, with labels 1 to K: label k is slot k of the pictures, which has index k - 1 in the arrays. Files of the
    same names are replaced; a line is printed if the folder contains other files of an earlier prediction.

    Args:
        output_dir: folder to write to; by default ``predictions/`` in the run's folder.
        arrays: whether to write the npz files.
        overview: number of images in ``overview.png``; 0 for no overview.

    Raises:
        ValueError: if ``overview`` is negative or not whole.

    >>> from pytorch_lightning import Trainer
    >>> trainer = Trainer(callbacks=[PredictionWriter("out", overview=4)], logger=False, accelerator="cpu")
    >>> any(isinstance(callback, PredictionWriter) for callback in trainer.callbacks)
    True
    """

    def __init__(self, output_dir: str | None = None, arrays: bool = True, overview: int = 12) -> None:
        counts(0, overview=overview)
        self.output_dir = output_dir
        self.arrays = arrays
        self.overview = overview

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the folder.

        Raises:
            DataError: if it is the input folder, if a file would replace an input image, if two files would have the
                same name, or if a name would be too long.
        """
        self.written = 0
        self.names = {OVERVIEW} if self.overview else set[str]()
        self.rows: list[Row] = []
        self.folder = Path(self.output_dir) if self.output_dir else run_folder(trainer) / "predictions"
        self._check_names(getattr(trainer, "datamodule", None))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.earlier = {path: version(path) for path in earlier_files(self.folder)}
        trainer.strategy.barrier("earlier predictions")  # before another process writes

    def _check_names(self, data: Any) -> None:
        """Check that all files can be written under distinct names, and that none replaces an input image."""
        if (images := getattr(data, "images", None)) is None:
            return
        ends = (PICTURE, LABELS, *([ARRAYS] if self.arrays else []))
        names = [*self.names, *(f"{key}{end}" for key in images.keys for end in ends)]
        read = {path.resolve() for path in (Path(data.root), *images.paths)}
        if any(path.resolve() in read for path in (self.folder, *map(self.folder.joinpath, names))):
            got, remedy = "the input folder, whose images could be overwritten", "choose another --output_dir"
            raise DataError.of(self.folder, expected="a folder without the images", got=got, remedy=remedy)
        if name := next((name for name, count in Counter(names).items() if count > 1), None):
            raise _twins(self.folder / name)
        if name := too_long(self.folder, names):
            expected, got = "a name that the file system allows", "one that is too long"
            raise DataError.of(self.folder / name, expected=expected, got=got, remedy="rename the image")

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Write a batch.

        Raises:
            DataError: if two files would have the same name.
        """
        boxes = crop_boxes(batch)
        for place, arrays in enumerate(split(outputs)):
            key = outputs.key[place]
            found = {name: array.numpy() for name, array in arrays.items()}
            box = {} if boxes is None else {"crop_box": boxes[place].numpy()}
            if self.arrays:
                with atomic(self._new(f"{key}{ARRAYS}")) as stream:
                    np.savez_compressed(stream, **found, **box)  # type: ignore[arg-type]
            image, reconstruction, masks, components = (
                arrays[name][None] for name in ("image", "reconstruction", "masks", "components")
            )
            save_png(decomposition(image, reconstruction, masks, components), self._new(f"{key}{PICTURE}"))
            save_labels(masks_to_labels(masks)[0] + 1, self._new(f"{key}{LABELS}"))
            if trainer.is_global_zero and len(self.rows) < self.overview:
                self.rows.append(Row(key, *summary_tiles(image, reconstruction, masks)))
        self.written += len(outputs.key)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the overview, and print the number of images of all processes and their folder."""
        written = trainer.strategy.reduce(torch.tensor(self.written, device=pl_module.device), reduce_op="sum")
        if not trainer.is_global_zero:
            return
        if self.rows:
            tiles = torch.cat([row.tiles for row in self.rows])
            save_png(sheet(tiles, self.rows[0].columns, [row.key for row in self.rows]), self.folder / OVERVIEW)
        what = "slots, masks and a picture" if self.arrays else "a picture and a label map"
        images = f"{int(written)} image{'s' if written > 1 else ''}"
        first = "it is" if written == 1 else f"the first {len(self.rows)} are"
        shown = f"; {first} in {OVERVIEW}" if self.rows else ""
        print(f"Wrote {what} of {images} to {self.folder.resolve()}{shown}")
        left = [path for path, before in self.earlier.items() if path.exists() and version(path) == before]
        if left:
            first = printable(str(left[0].relative_to(self.folder)))
            print(f"This folder also contains {len(left)} files of an earlier prediction, such as {first}")

    def _new(self, name: str) -> Path:
        """Return the path of a new file of this prediction."""
        path = self.folder / name
        if name in self.names:
            raise _twins(path)
        self.names.add(name)
        return path


def _twins(path: Path) -> DataError:
    got, remedy = "two of this name", "rename the image that it belongs to"
    return DataError.of(path, expected="one file of each name", got=got, remedy=remedy)


class Row(NamedTuple):
    """An image in the overview."""

    key: str
    columns: list[str]
    tiles: UInt8[Tensor, "1 columns 3 h w"]


def split(prediction: Prediction) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors of each image of a batch by name, float32 and on the CPU."""
    _, *values = prediction
    known = zip(prediction._fields[1:], values, strict=True)
    tensors = {name: value.float().cpu() for name, value in known if value is not None}
    for place in range(len(prediction.key)):
        yield {name: tensor[place] for name, tensor in tensors.items()}


def earlier_files(folder: Path) -> list[Path]:
    """Return the files of earlier predictions in a folder and its subfolders, sorted by name."""
    keys = [str(path).removesuffix(LABELS) for path in sorted(folder.rglob(f"*{LABELS}"))]
    paths = [Path(f"{key}{end}") for key in keys for end in (ARRAYS, PICTURE, LABELS)]
    return [path for path in (*paths, folder / OVERVIEW) if path.exists()] if keys else []


def version(path: Path) -> tuple[int, int]:
    """Return a key that changes when a file is rewritten."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def crop_boxes(batch: Batch) -> Tensor | None:
    """Return top, left, bottom and right of each crop in its stored image, without padding, or None if unknown."""
    if "box" not in batch:
        return None
    return batch["box"][batch["index"] >= 0][:, [1, 0, 3, 2]].cpu()
