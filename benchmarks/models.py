"""Time and memory of inference and training by model: figure 10 of EfficientMORL's paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from matplotlib.axes import Axes
from rich.table import Table

from benchmarks.device import Device, name_of, where
from benchmarks.measure import interleaved, workers
from emorl.figures import Figure

CASE = "clevr6"
COMPARED: dict[str, dict[str, Any]] = {
    "EfficientMORL, I = 0": {"model": "efficient_morl", "steps": 0},
    "EfficientMORL, I = 1": {"model": "efficient_morl", "steps": 1},
    "EfficientMORL, I = 3": {"model": "efficient_morl", "steps": 3},
    "Slot Attention, 3 iterations": {"model": "slot_attention", "steps": 3},
    "IODINE (sizes of its authors' code), 5 steps": {"model": "iodine", "steps": 5},
}
"""The published architectures for CLEVR6; details of the paper's port of IODINE are unknown (docs/engine.md)."""

REFERENCE = "EfficientMORL, I = 1"
VARIANTS = {"float32": "engine_float32", "bf16": "engine_bf16"}
COSTS = {"forward": "forward", "gradients": "forward and backward", "memory": "peak memory, training step"}
"""Titles of the measured costs."""


def models(
    size: int,
    batch: int = 4,
    rounds: int = 3,
    precision: Literal["float32", "bf16"] = "float32",
    device: Device = "cpu",
) -> dict[str, Any]:
    """Measure all models on images of one size; every ratio is model / reference of one run, smaller is cheaper.

    Args:
        size: side of the images in pixels.
        batch: number of images.
        rounds: number of measurements of each model.
        precision: float32, or bf16 by autocast.
        device: cpu or cuda.
    """
    named = name_of(device)
    common = {"case": CASE, "variant": VARIANTS[precision], "batch": batch, "size": size}
    with workers({model: common | each | {"device": device} for model, each in COMPARED.items()}) as started:
        costs: dict[str, Mapping[str, float]] = {}
        for worker in started.values():
            worker("step")  # the whole training step, before its memory is read
        costs["gradients"] = turns(started, "gradients", rounds)
        costs["memory"] = ask(started, "memory")
        costs["forward"] = turns(started, "forward", rounds)
        more = {request: ask(started, request) for request in ("parameters", "flops", "forward_flops")}
    return {
        **common,
        "device": named,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "reference": REFERENCE,
        "unit": {"forward": "s", "gradients": "s", "memory": "bytes"},
        **costs,
        **more,
        "ratio": {cost: relative(values) for cost, values in costs.items()},
    }


def turns(started: Mapping[str, Any], request: str, rounds: int) -> dict[str, float]:
    """Return the median seconds of each worker for the request, measured alternately."""
    return interleaved({name: partial(worker, request) for name, worker in started.items()}, rounds)


def ask(started: Mapping[str, Any], request: str) -> dict[str, int]:
    """Return each worker's answer."""
    return {name: worker(request) for name, worker in started.items()}


def relative(values: Mapping[str, float]) -> dict[str, float]:
    """Divide by the reference's value."""
    return {name: value / values[REFERENCE] for name, value in values.items()}


def table(result: Mapping[str, Any]) -> Table:
    """Return a row for each model."""
    size, batch = result["size"], result["batch"]
    shown = Table(
        title=f"cost relative to {result['reference']}, ratios of one run, smaller is cheaper\n"
        f"{size}x{size}, batch {batch}, {result['precision']}, {where(result)}"
    )
    for column in ("model", "parameters", "forward", "s", "forward and backward", "s ", "memory", "GiB", "GFLOP"):
        shown.add_column(column)
    for name in result["parameters"]:
        cells = [f"{result['parameters'][name]:,}"]
        for cost, unit in (("forward", 1), ("gradients", 1), ("memory", 2**30)):
            cells += [f"{result['ratio'][cost][name]:.2f} x", f"{result[cost][name] / unit:.3g}"]
        work = f"{result['forward_flops'][name] / 1e9:.0f}, {result['flops'][name] / 1e9:.0f}"
        shown.add_row(name, *cells, work)
    return shown


def plot(results: Sequence[Mapping[str, Any]], figure: Path) -> None:
    """Draw a panel for each cost, a bar for each model and size."""
    canvas = Figure(figsize=(13, 4.2), layout="constrained")
    axes = canvas.subplots(1, len(COSTS), sharey=True)
    for axis, (cost, title) in zip(axes, COSTS.items(), strict=True):
        bars(axis, results, cost)
        axis.set(title=title, xlabel="GiB" if cost == "memory" else "seconds")
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=len(results))
    first = results[0]
    canvas.suptitle(
        f"Batch {first['batch']}, 7 slots, {first['precision']}, {where(first)}; "
        f"labels: ratios to {first['reference']} in one run"
    )
    canvas.savefig(figure, dpi=120)


def bars(axis: Axes, results: Sequence[Mapping[str, Any]], cost: str) -> None:
    """Draw one cost, with each bar labeled with its ratio."""
    thick, unit = 0.8 / len(results), 2**30 if cost == "memory" else 1
    names = list(results[0][cost])
    for number, result in enumerate(results):
        places = [place + thick * (number - (len(results) - 1) / 2) for place in range(len(names))]
        lengths = [result[cost][name] / unit for name in names]
        drawn = axis.barh(places, lengths, thick, label=f"{result['size']} x {result['size']} pixels")
        axis.bar_label(drawn, [f"{result['ratio'][cost][name]:.2g} x" for name in names], padding=3, fontsize=9)
    axis.set_yticks(range(len(names)), [name.replace(", ", "\n").replace(" (", "\n(") for name in names])
    axis.margins(x=0.18)
    axis.spines[["top", "right"]].set_visible(False)
