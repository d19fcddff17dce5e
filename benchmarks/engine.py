"""The engine against the plain training step: time, memory and numbers of operations."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.cases import CASES, MODELS, VARIANTS
from benchmarks.device import Device, name_of
from benchmarks.measure import convolution_peak, interleaved, step_memory, workers
from emorl.model import gaussian_noise


def engine(
    case: str,
    batch: int | None = None,
    steps: int = 3,
    rounds: int = 5,
    model: str = "efficient_morl",
    device: Device = "cpu",
) -> dict[str, Any]:
    """Measure one case; ratios are plain / variant, larger is better, except the ratio of memory to a single step's."""
    named, variants = name_of(device), VARIANTS[device]
    batch = MODELS[model][case].batch if batch is None else batch
    common = {"case": case, "batch": batch, "steps": steps, "model": model, "device": device}
    arguments: dict[str, dict[str, object]] = {variant: common | {"variant": variant} for variant in variants}
    with workers(arguments) as started:
        seconds = interleaved(started, rounds)
        memory = {variant: worker("memory") for variant, worker in started.items()}
        work = {variant: worker("flops") for variant, worker in started.items()}
    one_step = {variant: step_memory(**(arguments[variant] | {"steps": 1})) for variant in variants}
    peak = {dtype: convolution_peak(getattr(torch, dtype), device) for dtype in ("float32", "bfloat16")}
    rate = {variant: work[variant] / seconds[variant] for variant in variants}
    share = {v: rate[v] / peak["bfloat16" if v == "engine_bf16" else "float32"] for v in variants}
    return {
        "model": model,
        "case": case,
        "batch": batch,
        "refinement_steps": steps,
        "device": named,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "peak_memory": memory,
        "flops": work,
        "convolution_peak_flops_per_second": peak,
        "share_of_convolution_peak": share,
        "time_ratio": {variant: seconds["plain"] / seconds[variant] for variant in variants},
        "memory_to_one_step": {variant: memory[variant] / one_step[variant] for variant in variants},
        "memory_ratio": {variant: memory["plain"] / memory[variant] for variant in variants},
    }


def inference(case: str, rounds: int = 5) -> dict[str, Any]:
    """Measure zero-step inference in images per second, in float32."""
    model = CASES[case].build().eval()
    rates: dict[str, float] = {}
    for batch in (1, 32):
        image = torch.rand(batch, 3, CASES[case].size, CASES[case].size)
        with torch.inference_mode():
            calls = {
                "encode": lambda image=image: model.infer(image, 0, model.num_slots, gaussian_noise),
                "encode_decode": lambda image=image: model(image),
            }
            seconds = interleaved(calls, rounds)
        rates |= {f"{name}_batch_{batch}": batch / value for name, value in seconds.items()}
    return {"case": case, "images_per_second": rates}
