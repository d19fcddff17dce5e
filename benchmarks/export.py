"""Images per second of shipped weights: eager, compiled, and exported to onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.measure import interleaved
from emorl.export import export
from emorl.pretrained import Pretrained, load_pretrained

BATCHES = 1, 32
COMPARED = "tetrominoes", "multi_dsprites", "slot_attention/tetrominoes", "iodine/tetrominoes"


@torch.inference_mode()
def rates(name: str, rounds: int = 5, batches: tuple[int, ...] = BATCHES) -> dict[str, Any]:
    """Measure ``reconstruct`` with posterior means, alternately; models that cannot be exported run only in eager mode.

    Args:
        name: name of shipped weights.
        rounds: how often each way takes its turn.
        batches: numbers of images at once.
    """
    model = load_pretrained(name)
    steps = model.network.default_steps
    found: dict[int, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        for batch in batches:
            images = torch.rand(batch, 3, model.image_size, model.image_size)
            ways = {"eager": lambda images=images: model.reconstruct(images)}
            if model.network.unrecordable(steps) is None:
                ways |= _exported(model, images, Path(folder) / "model.onnx")
            seconds = interleaved(ways, rounds)
            found[batch] = {way: batch / value for way, value in seconds.items()}
    return {"weights": name, "steps": steps, "threads": torch.get_num_threads(), "images_per_second": found}


def _exported(model: Pretrained, images: torch.Tensor, path: Path) -> dict[str, Callable[[], object]]:
    import onnxruntime  # type: ignore[import-untyped]  # in the extra dev only

    compiled = torch.compile(model.reconstruct)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with torch.inference_mode(mode=False):
        export(model, path)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {"images": images.numpy()}
    return {"torch.compile": lambda: compiled(images), "onnxruntime": lambda: session.run(None, given)}
