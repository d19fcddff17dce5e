"""ONNX programs in float32, float16 and int8: size, images per second, FG-ARI and MSE on a data set."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import interleaved
from emorl.data import Scenes
from emorl.export import export
from emorl.metrics.functional import adjusted_rand_index, masks_to_labels
from emorl.pretrained import load_pretrained

BATCH = 32
CALIBRATION = 64  # scenes of the validation split, for static int8


def formats(weights: str, root: Path, rounds: int = 3) -> dict[str, Any]:
    """Convert ``reconstruct`` of shipped weights by onnxruntime's tools, and score each program on the test split.

    Args:
        weights: name of shipped weights that can be exported.
        root: data set of emorl-data, with the splits val and test, in the size of the weights.
        rounds: how often each program takes its turn.
    """
    import onnxruntime  # type: ignore[import-untyped]  # in the extra dev only

    image, label = _scenes(root, "test")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    with TemporaryDirectory() as folder:
        files = _converted(weights, Path(folder), _scenes(root, "val")[0][:CALIBRATION])
        sessions = {name: onnxruntime.InferenceSession(path, options) for name, path in files.items()}
        size = {name: path.stat().st_size for name, path in files.items()}
    batch = {"images": image[:BATCH].numpy()}
    seconds = interleaved({name: lambda s=s: s.run(None, batch) for name, s in sessions.items()}, rounds)
    scores = {name: _score(session, image, label) for name, session in sessions.items()}
    return {
        "weights": weights,
        "scenes": len(image),
        "threads": torch.get_num_threads(),
        "programs": {
            name: {"bytes": size[name], "speed": seconds["float32"] / seconds[name]} | scores[name] for name in files
        },
    }


def _converted(weights: str, folder: Path, calibration: Tensor) -> dict[str, Path]:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static  # type: ignore[import-untyped]
    from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]
    from onnxruntime.transformers.float16 import convert_float_to_float16  # type: ignore[import-untyped]

    logging.getLogger().setLevel(logging.ERROR)  # the quantizers advise on the root logger
    names = "float32", "float16", "int8, dynamic", "int8, static"
    files = {name: folder / f"{place}.onnx" for place, name in enumerate(names)}
    prepared = folder / "prepared.onnx"
    export(load_pretrained(weights), files["float32"], methods=["reconstruct"])
    onnx.save(convert_float_to_float16(onnx.load(files["float32"]), keep_io_types=True), files["float16"])
    quant_pre_process(files["float32"], prepared)
    quantize_dynamic(prepared, files["int8, dynamic"], weight_type=QuantType.QInt8)
    quantize_static(prepared, files["int8, static"], _Calibration(calibration), weight_type=QuantType.QInt8)
    return files


class _Calibration:
    """Batches of images, as onnxruntime's CalibrationDataReader gives them."""

    def __init__(self, image: Tensor) -> None:
        self.batches: Iterator[Tensor] = iter(image.split(BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch.numpy()}


def _scenes(root: Path, split: str) -> tuple[Tensor, Tensor]:
    scenes = [dict(scene) for scene in Scenes(root, split)]
    return (
        torch.stack([scene["image"] for scene in scenes]) / 255,
        torch.stack([scene["segmentation"] for scene in scenes]),
    )


def _score(session: Any, image: Tensor, label: Tensor) -> dict[str, float]:
    outputs = [session.run(["masks", "reconstruction"], {"images": part.numpy()}) for part in image.split(BATCH)]
    masks, reconstruction = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*outputs, strict=True))
    fg_ari = adjusted_rand_index(masks_to_labels(masks), label)
    return {"fg_ari": fg_ari.mean().item(), "mse": (reconstruction - image).square().mean().item()}
