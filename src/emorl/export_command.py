"""The command ``emorl export``."""

from __future__ import annotations

from pathlib import Path

from emorl.command import run_command
from emorl.errors import DataError
from emorl.export import export as export_model
from emorl.pretrained import load_pretrained


def export(model: str, out: Path, num_slots: int | None = None, steps: int | None = None) -> None:
    """Write a trained model as ONNX, or as an archive of torch.export.

    Args:
        model: name of shipped weights, or path of a checkpoint of emorl fit.
        out: file for reconstruct, OUT.onnx or OUT.pt2; encode and decode go to OUT_encode and OUT_decode beside it.
        num_slots: slots K of encode and reconstruct; by default the model's. decode takes any number.
        steps: iterations of Slot Attention; by default the model's. EfficientMORL has 0.
    """
    try:
        files = export_model(load_pretrained(model), out, steps, num_slots, model)
    except DataError:
        raise
    except ValueError as error:  # of numbers
        raise DataError(str(error)) from error
    print("\n".join(f"wrote {file}" for file in files))


def main(args: list[str] | None = None) -> int | None:
    """Run the command; returns its status."""
    return run_command("emorl export", "Write a trained model for use without emorl.", f"{__name__}:export", args)
