"""``python -m benchmarks CASE``; ``--help`` lists the cases."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import auto_cli
from jsonargparse.typing import NonNegativeInt, Path_fc, PositiveInt
from rich.console import Console
from rich.table import Table

from benchmarks import data as data_benchmark
from benchmarks import engine as engine_benchmark
from benchmarks import export as export_benchmark
from benchmarks import formats as formats_benchmark
from benchmarks import memory as memory_benchmark
from benchmarks import models as models_benchmark
from benchmarks import precision as precision_benchmark
from benchmarks import recipes as recipes_benchmark
from benchmarks import recorded
from benchmarks import strides as strides_benchmark
from benchmarks.cases import CASES, LEAST_STEPS, STEPS
from benchmarks.device import Device, where
from emorl.cpu import tune_cpu
from emorl.errors import DataError, refused
from emorl.figures import Figure
from emorl.mistakes import ShortErrors
from emorl.pretrained import load_pretrained

Case = Literal["clevr6", "multi_dsprites", "tetrominoes"]
SIZES = 64, 96
FIGURES = {name: Path_fc(f"{name}.png") for name in ("models", "memory")}
DATA = "tetrominoes", "multi-dsprites", "clevr6"  # that have fast recipes


def engine(
    case: Case = "clevr6",
    batch: PositiveInt | None = None,
    steps: NonNegativeInt | None = None,
    rounds: PositiveInt = 5,
    model: Literal["efficient_morl", "iodine"] = "efficient_morl",
    device: Device = "cpu",
    json: Path_fc | None = None,
) -> None:
    """Measure one training step of one case: plain, engine in float32, engine in bf16.

    Args:
        case: clevr6, multi_dsprites or tetrominoes.
        batch: number of images; by default the case's.
        steps: number of refinement steps; by default that of the model's training.
        rounds: number of measurements of each variant.
        model: efficient_morl or iodine.
        device: cpu, or cuda, on which memory is that of tensors.
        json: file to write the numbers to.
    """
    steps = STEPS[model] if steps is None else steps
    if steps < (least := LEAST_STEPS[model]):
        expected, got = f"{least} or more for {model}", f"{steps}: it has no slots before"
        raise DataError.of("--steps", expected=expected, got=got, remedy="give more, or another model")
    result = engine_benchmark.engine(case, batch, steps, rounds, model, device)
    _show([result])
    _write(result, json)


def models(
    sizes: tuple[int, ...] = SIZES,
    batch: PositiveInt = 4,
    rounds: PositiveInt = 3,
    precision: Literal["float32", "bf16"] = "float32",
    device: Device = "cpu",
    figure: Path_fc = FIGURES["models"],
    json: Path_fc | None = None,
) -> None:
    """Measure time and memory of inference and training of EfficientMORL, Slot Attention and IODINE.

    Args:
        sizes: sides of the images in pixels, multiples of 16.
        batch: number of images.
        rounds: number of measurements of each model.
        precision: float32, or bf16 by autocast.
        device: cpu, or cuda, on which memory is that of tensors.
        figure: image file to write.
        json: file to write the numbers to.
    """
    if not sizes or any(size < 1 or size % 16 for size in sizes):
        raise DataError.of("--sizes", expected="multiples of 16", got=str([*sizes]), remedy="such as '[64, 96]'")
    _check_figure(figure)
    results = _models(sizes, batch, rounds, precision, device)
    _write(results, json)
    models_benchmark.plot(results, Path(figure))


def inference(case: Case = "clevr6", json: Path_fc | None = None) -> None:
    """Measure zero-step inference in images per second.

    Args:
        case: clevr6, multi_dsprites or tetrominoes.
        json: file to write the numbers to.
    """
    result = engine_benchmark.inference(case)
    Console().print(result)
    _write(result, json)


def memory(case: Case = "clevr6", figure: Path_fc = FIGURES["memory"], json: Path_fc | None = None) -> None:
    """Measure and plot peak memory against I and against the batch size.

    Args:
        case: clevr6, multi_dsprites or tetrominoes.
        figure: image file to write.
        json: file to write the numbers to.
    """
    _check_figure(figure)
    result = memory_benchmark.memory(case)
    Console().print(result)
    _write(result, json)
    memory_benchmark.plot(result, Path(figure))


def precision(checkpoint: str, json: Path_fc | None = None) -> None:
    """Compare the direction of bf16 gradients with float32, for each part of a trained Tetrominoes model.

    Args:
        checkpoint: checkpoint of `emorl fit`, such as demo/run/checkpoints/last.ckpt.
        json: file to write the numbers to.
    """
    result = precision_benchmark.precision(checkpoint)
    Console().print(result)
    _write(result, json)


def strides(case: Case = "tetrominoes", steps: NonNegativeInt = 1, json: Path_fc | None = None) -> None:
    """Measure the speedup of coarser grids in encoder and decoder.

    Args:
        case: clevr6, multi_dsprites or tetrominoes.
        steps: refinement steps I.
        json: file to write the numbers to.
    """
    result = strides_benchmark.strides(case, steps=steps)
    Console().print(result)
    _write(result, json)


def recipes(
    data: Literal["tetrominoes", "multi-dsprites", "clevr6"] = "tetrominoes", json: Path_fc | None = None
) -> None:
    """Measure a training step of each model's fast recipe, without reading data, and print the steps per hour.

    Args:
        data: data set of the recipes.
        json: file to write the numbers to.
    """
    result = recipes_benchmark.recipes(data)
    Console().print(recipes_benchmark.table(result))
    _write(result, json)


def data(case: Literal["tetrominoes", "multi_dsprites"] = "tetrominoes", json: Path_fc | None = None) -> None:
    """Measure reading of shards against HDF5 and raw arrays, and the fraction of time that training waits for data.

    Args:
        case: tetrominoes or multi_dsprites.
        json: file to write the numbers to.
    """
    result = data_benchmark.data(case)
    Console().print(result)
    _write(result, json)


def export(
    weights: tuple[str, ...] = export_benchmark.COMPARED, rounds: PositiveInt = 5, json: Path_fc | None = None
) -> None:
    """Measure images per second of shipped weights: eager, torch.compile, onnxruntime, at batch 1 and 32.

    Args:
        weights: names of shipped weights.
        rounds: number of measurements of each runtime.
        json: file to write the numbers to.
    """
    if not weights:
        remedy = "such as '[tetrominoes, multi_dsprites]'"
        raise DataError.of("--weights", expected="names of shipped weights", got="none", remedy=remedy)
    for name in weights:
        load_pretrained(name)  # an unknown name is refused before the measurement
    results = [export_benchmark.rates(name, rounds) for name in weights]
    table = Table(title="reconstruct, images per second: larger is better")
    for column in ("weights", "steps", "batch", "eager", "torch.compile", "onnxruntime"):
        table.add_column(column)
    for result in results:
        for batch, rates in result["images_per_second"].items():
            cells = [f"{rates[way]:.0f}" if way in rates else "-" for way in ("eager", "torch.compile", "onnxruntime")]
            table.add_row(result["weights"], str(result["steps"]), str(batch), *cells)
    Console(width=120).print(table)
    _write(results, json)


def formats(root: Path, weights: str = "tetrominoes", rounds: PositiveInt = 3, json: Path_fc | None = None) -> None:
    """Score exported ONNX programs in float32, float16 and int8, and measure their sizes and speeds.

    Args:
        root: data set of emorl-data, such as data/tetrominoes.
        weights: name of shipped weights.
        rounds: number of measurements of each program.
        json: file to write the numbers to.
    """
    result = formats_benchmark.formats(weights, root, rounds)
    table = Table(title=f"reconstruct of {weights}, {result['scenes']} test scenes; speed relative to float32")
    for column in ("program", "KiB", "speed", "FG-ARI", "MSE"):
        table.add_column(column)
    for name, found in result["programs"].items():
        size, speed = f"{found['bytes'] / 1024:.0f}", f"{found['speed']:.2f}"
        table.add_row(name, size, speed, f"{found['fg_ari']:.3f}", f"{found['mse']:.5f}")
    Console(width=120).print(table)
    _write(result, json)


def all_cases(json: Path_fc | None = None) -> None:
    """Measure every case with I = 0, 1, 3, inference, and the fast recipes; print recorded minutes to a FG-ARI.

    Args:
        json: file to write the numbers to.
    """
    results = [engine_benchmark.engine(case, steps=steps) for case in CASES for steps in (0, 1, 3)]
    _show(results)
    rates = [engine_benchmark.inference(case) for case in CASES]
    Console().print(rates)
    steps = [recipes_benchmark.recipes(data) for data in DATA]
    reached = recorded.minutes_to()
    for shown in (*map(recipes_benchmark.table, steps), recorded.table(reached)):
        Console(width=120).print(shown)
    _write({"engine": results, "inference": rates, "recipes": steps, "minutes_to": reached}, json)


def _models(sizes: Sequence[int], *arguments: Any) -> list[dict[str, Any]]:
    results = []
    for size in sizes:
        results.append(models_benchmark.models(size, *arguments))
        Console(width=150).print(models_benchmark.table(results[-1]))
    return results


def _show(results: list[dict[str, Any]]) -> None:
    table = Table(title=f"training step, plain / engine: larger is better\n{where(results[0])}")
    columns = (
        "case",
        "batch",
        "steps",
        "variant",
        "seconds",
        "time ratio",
        "GiB",
        "memory ratio",
        "to one step",
        "GFLOP",
        "share of peak",
    )
    for column in columns:
        table.add_column(column)
    for r in results:
        for v in r["seconds"]:
            numbers = (f"{r['seconds'][v]:.3g}", f"{r['time_ratio'][v]:.2f}", f"{r['peak_memory'][v] / 2**30:.2f}")
            numbers += (
                f"{r['memory_ratio'][v]:.2f}",
                f"{r['memory_to_one_step'][v]:.2f}",
                f"{r['flops'][v] / 1e9:.0f}",
            )
            share = f"{r['share_of_convolution_peak'][v]:.2f}"
            table.add_row(r["case"], str(r["batch"]), str(r["refinement_steps"]), v, *numbers, share)
    Console(width=150).print(table)


def _check_figure(path: Path_fc) -> None:
    kinds = Figure().canvas.get_supported_filetypes()
    if (kind := Path(path).suffix.removeprefix(".")) not in kinds:
        expected, remedy = f"one of the endings {', '.join(kinds)}", "such as models.png"
        raise DataError.of("--figure", expected=expected, got=repr(kind), remedy=remedy)


def _write(result: Any, path: Path_fc | None) -> None:
    if path is not None:
        Path(path).write_text(json_.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    tune_cpu()
    commands = {"engine": engine, "models": models, "inference": inference, "memory": memory, "precision": precision}
    commands |= {"strides": strides, "recipes": recipes, "data": data, "export": export, "formats": formats}
    commands["all"] = all_cases
    try:
        auto_cli(commands, prog="python -m benchmarks", parser_class=ShortErrors)
    except (DataError, OSError) as error:
        sys.exit(refused("benchmarks", error))
