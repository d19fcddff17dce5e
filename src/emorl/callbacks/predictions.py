"""What ``emorl predict`` leaves behind: an array file and a picture for each image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from emorl.callbacks.folder import run_folder
from emorl.errors import DataError
from emorl.files import atomic
from emorl.module import Prediction
from emorl.viz import decomposition, save_png


class PredictionWriter(Callback):
    """Writes ``NAME.npz`` and ``NAME.png`` for each image.

    The npz file holds ``image`` [3, H, W], ``slots`` and, unless they are points, their ``scale`` [K, D], ``masks``
    [K, 1, H, W], ``components`` [K, 3, H, W] and ``reconstruction`` [3, H, W], float32, masks in [0, 1], and so are
    colors but IODINE's. The picture shows image, reconstruction, segmentation and components.

    Args:
        output_dir: folder to write to; by default ``predictions/`` in the run's folder.
    """

    def __init__(self, output_dir: str | None = None) -> None:
        self.output_dir = output_dir

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folder.

        Raises:
            DataError: if it is the one that the images are read from.
        """
        self.written = 0
        self.folder = Path(self.output_dir) if self.output_dir else run_folder(trainer) / "predictions"
        root = getattr(getattr(trainer, "datamodule", None), "root", None)
        if root is not None and self.folder.resolve() == Path(root).resolve():
            expected, got = "a folder other than that of the images", "the same, whose images would be lost"
            raise DataError.of(self.folder, expected=expected, got=got, remedy="choose another --output_dir")
        self.folder.mkdir(parents=True, exist_ok=True)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Write a batch."""
        write_prediction(outputs, self.folder)
        self.written += len(outputs.key)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where things are, of all processes."""
        written = trainer.strategy.reduce(torch.tensor(self.written, device=pl_module.device), reduce_op="sum")
        if trainer.is_global_zero:
            print(f"Wrote slots, masks and a picture of {int(written)} images to {self.folder.resolve()}")


def write_prediction(prediction: Prediction, folder: Path) -> None:
    """Write one npz file and one picture for each image, each of them whole or not at all."""
    _, *values = prediction
    known = zip(prediction._fields[1:], values, strict=True)
    arrays = {name: value.float().cpu() for name, value in known if value is not None}
    for i, key in enumerate(prediction.key):
        with atomic(folder / f"{key}.npz") as stream:
            np.savez_compressed(stream, **{name: array[i].numpy() for name, array in arrays.items()})  # type: ignore[arg-type]
        one = {name: arrays[name][i : i + 1] for name in ("image", "reconstruction", "masks", "components")}
        save_png(decomposition(**one), folder / f"{key}.png")
