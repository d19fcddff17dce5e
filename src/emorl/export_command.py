"""The command ``emorl export``."""

from __future__ import annotations

from pathlib import Path

from emorl.classes import ClassPaths, imported
from emorl.errors import DataError
from emorl.export import export as export_model
from emorl.pretrained import load_pretrained


def export(
    model: str, out: Path, num_slots: int | None = None, steps: int | None = None, classes: ClassPaths = ()
) -> None:
    """Write a trained model as ONNX, or as an archive of torch.export.

    Args:
        model: Name of shipped weights, or path of a folder of save_pretrained or a checkpoint.
        out: File for reconstruct, OUT.onnx or OUT.pt2; encode and decode are written to OUT_encode and OUT_decode.
        num_slots: Number of slots K of encode and reconstruct; by default the model's. decode accepts any number.
        steps: Iterations of Slot Attention; by default the model's. EfficientMORL is exported with 0 steps.
        classes: Classes outside emorl.model that the model of a folder may consist of: own_model.SoftKMeans, or
            several: '[own_model.A, own_model.B]'.
    """
    try:
        files = export_model(load_pretrained(model, classes=imported(classes)), out, steps, num_slots, model)
    except DataError:
        raise
    except ValueError as error:  # a number out of range
        raise DataError(str(error)) from error
    print("\n".join(f"wrote {file}" for file in files))
