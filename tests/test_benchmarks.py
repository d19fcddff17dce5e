"""Benchmarks: rows, ratios of one run, parameters and answers of workers. No test asserts a time."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
import warm
from benchmarks import engine, export, memory, models, recipes, recorded
from benchmarks.cases import MODELS, Step
from benchmarks.device import finished, peak_memory, start_memory, where
from benchmarks.measure import flops, interleaved, workers
from benchmarks.worker import answers
from emorl.errors import DataError
from emorl.provenance import processor


def parameters(step: Step) -> int:
    return sum(parameter.numel() for parameter in step.model.parameters())


class InProcess:
    """A worker without a process, for tiny images of few objects; its peak memory is its number of parameters."""

    def __init__(self, **arguments: Any) -> None:
        self.step = Step(**(arguments | {"size": 16, "batch": 1, "num_slots": 2}))
        self.known = answers(self.step, before=0)
        self.known["memory"] = lambda: parameters(self.step)
        self.requests: list[str] = []

    def __call__(self, request: str = "step") -> int:
        self.requests.append(request)
        return self.known[request]() or 0


@pytest.fixture(scope="module")
def measured() -> tuple[dict[str, Any], dict[str, InProcess]]:
    made: dict[str, InProcess] = {}

    @contextmanager
    def in_process(arguments: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, InProcess]]:
        made.update({name: InProcess(**each) for name, each in arguments.items()})
        yield made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "workers", in_process)
        return models.models(size=16, batch=1, rounds=1), made


def test_every_model_is_measured_and_shown(measured: Any, tmp_path: Path) -> None:
    result, _ = measured
    table = models.table(result)
    assert list(table.columns[0].cells) == list(models.COMPARED)
    assert models.REFERENCE in str(table.title)
    assert processor() in str(table.title)
    models.plot([result, result], tmp_path / "models.png")
    assert (tmp_path / "models.png").read_bytes().startswith(b"\x89PNG")


def test_ratios_are_those_of_the_same_run(measured: Any) -> None:
    result, _ = measured
    for cost in models.COSTS:
        reference = result[cost][models.REFERENCE]
        assert result["ratio"][cost][models.REFERENCE] == 1
        assert result["ratio"][cost] == {name: value / reference for name, value in result[cost].items()}


def test_parameters_are_those_of_the_models(measured: Any) -> None:
    result, made = measured
    assert result["parameters"] == {name: parameters(worker.step) for name, worker in made.items()}
    assert result["parameters"]["EfficientMORL, I = 0"] == result["parameters"]["EfficientMORL, I = 3"]


def test_memory_is_read_after_training_and_before_inference(measured: Any) -> None:
    for worker in measured[1].values():
        order = list(dict.fromkeys(worker.requests))
        assert order[:4] == ["step", "gradients", "memory", "forward"]


def test_more_steps_are_more_arithmetic_and_training_more_than_inference(measured: Any) -> None:
    result, _ = measured
    work = [result["flops"][f"EfficientMORL, I = {steps}"] for steps in (0, 1, 3)]
    assert work == sorted(set(work))
    assert all(result["forward_flops"][name] < result["flops"][name] for name in result["flops"])


def test_all_models_of_a_case_have_its_slots_and_size() -> None:
    cases = [cases["clevr6"] for cases in MODELS.values()]
    assert {case.size for case in cases} == {96}
    assert {(case.build().num_slots, case.build().slot_dim) for case in cases} == {(7, 64)}


def test_turns_alternate_after_a_round_of_warm_up() -> None:
    called: list[str] = []
    seconds = interleaved({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=2)
    assert called == ["a", "b"] * 3
    assert list(seconds) == ["a", "b"]


def test_inference_leaves_the_model_in_training_and_without_gradients() -> None:
    step = Step("clevr6", "engine_float32", batch=1, steps=1, size=16)
    step.forward()
    assert step.model.training
    assert all(parameter.grad is None for parameter in step.model.parameters())


def test_inference_counts_as_much_arithmetic_as_evaluation_with_gradients_enabled() -> None:
    step = Step("clevr6", "engine_float32", batch=1, steps=3, size=16, model="slot_attention")
    assert flops(step.forward) == flops(step.loss)  # Slot Attention's inference is the same in both


@pytest.mark.slow
def test_a_worker_answers() -> None:
    arguments = {"case": "clevr6", "variant": "engine_bf16", "batch": 1, "steps": 3, "size": 16}
    with workers({"one": arguments | {"model": "slot_attention"}}) as started:
        worker = started["one"]
        assert [worker(request) for request in ("step", "gradients", "forward")] == [0, 0, 0]
        assert worker("parameters") == parameters(Step(**arguments, model="slot_attention"))
        assert worker("flops") > worker("forward_flops") > 0
    assert worker.process.returncode == 0


def test_a_worker_that_ends_is_one_error() -> None:
    with (
        workers({"one": {"case": "no"}}) as started,
        pytest.raises(DataError, match="got a process that ended; see its"),
    ):
        started["one"]()


def test_engine_compares_its_variants_on_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    @contextmanager
    def in_process(arguments: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, InProcess]]:
        asked.extend(map(dict, arguments.values()))
        yield {name: InProcess(**each) for name, each in arguments.items()}

    monkeypatch.setattr(engine, "workers", in_process)
    monkeypatch.setattr(engine, "step_memory", lambda **arguments: arguments["steps"])
    monkeypatch.setattr(engine, "convolution_peak", lambda *_: 1.0)
    result = engine.engine("tetrominoes", batch=2, steps=2, rounds=1, model="iodine")
    assert [each.pop("variant") for each in asked] == list(result["seconds"])
    assert all(
        each == {"case": "tetrominoes", "batch": 2, "steps": 2, "model": "iodine", "device": "cpu"} for each in asked
    )
    assert processor() in where(result)
    assert result["time_ratio"]["plain"] == result["memory_ratio"]["plain"] == 1
    assert result["flops"]["plain"] > result["flops"]["engine_float32"] == result["flops"]["engine_bf16"]


def test_on_a_gpu_a_measurement_waits_for_its_work_and_counts_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, partial(calls.append, name))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7 if "reset_peak_memory_stats" in calls else 9)
    finished(partial(calls.append, "work"), "cuda")()
    assert calls == ["work", "synchronize"]
    assert start_memory("cuda") == peak_memory("cuda") == 7


def test_a_gpu_that_is_not_there_is_one_error() -> None:
    for benchmark in (partial(engine.engine, "clevr6"), partial(models.models, 16)):
        with pytest.raises(DataError, match="expected a GPU that torch can use, got none; use --device cpu"):
            benchmark(device="cuda")


def test_memory_requests_possible_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def step_memory(**arguments: Any) -> int:
        asked = inspect.signature(Step).bind(**arguments).arguments
        return int(asked["batch"] * (asked["decode_chunk"] or 1) * 2**30)

    monkeypatch.setattr(memory, "step_memory", step_memory)
    result = memory.memory("clevr6")
    assert result["against_batch"]["engine"] == {2: 2, 4: 4, 8: 8, 16: 16, 32: 32}
    assert result["against_batch"]["engine, decode_chunk 4"][32] == 128


def test_a_step_of_a_recipe_counts_each_phase_with_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: dict[str, recipes.RecipeStep] = {}

    def seconds(calls: Mapping[str, recipes.RecipeStep], rounds: int) -> dict[str, float]:
        steps.update(calls)
        return {name: float(name[-1]) + 1 for name in calls}  # a second, plus one per refinement step

    monkeypatch.setattr(recipes, "interleaved", seconds)
    result = recipes.recipes("multi-dsprites")
    assert list(steps) == [*(f"efficient_morl, {i}" for i in (1, 0)), "slot_attention, 3", "iodine, 5"]
    assert result["seconds"] == pytest.approx(
        {"efficient_morl": (35 * 2 + 3 * 1) / 38} | {"slot_attention": 4, "iodine": 6}
    )
    assert result["ratio"]["efficient_morl"] == 1
    assert result["steps_in_an_hour"]["iodine"] == 600
    assert [len(step.image) for step in steps.values()] == [16] * 4
    before = [parameter.detach().clone() for parameter in steps["slot_attention, 3"].module.network.parameters()]
    steps["slot_attention, 3"]()
    after = steps["slot_attention, 3"].module.network.parameters()
    assert not any(torch.equal(p, q) for p, q in zip(before, after, strict=True))
    assert list(recipes.table(result).columns[0].cells) == list(recipes.MODELS)


def test_minutes_to_a_score_are_those_of_the_cards() -> None:
    rows = {(row["weights"], row["steps"]): row["minutes"] for row in recorded.minutes_to()}
    assert rows["efficient_morl/tetrominoes", "I = 0"] == pytest.approx(
        {0.8: 1.1626, 0.9: 2.2653, 0.95: 2.2653, 0.98: 20}, abs=0.5
    )
    further = rows["efficient_morl/multi_dsprites", "I = 0"]  # after a training of 132 minutes and one of 122
    assert further[0.8] < 132
    assert further[0.98] is None
    assert ("slot_attention/tetrominoes", "I = 0") not in rows
    assert len(list(recorded.table(recorded.minutes_to()).columns[0].cells)) == len(rows)


def test_machines_are_those_of_the_minutes() -> None:
    xeon, epyc = "Intel(R) Xeon(R) Processor, 2 cores", "AMD EPYC, 2 cores"
    rows = {(row["weights"], row["steps"]): row["machines"] for row in recorded.minutes_to()}
    assert rows["efficient_morl/multi_dsprites", "I = 0"] == [xeon]  # later trainings, on another, reach no next level
    assert rows["efficient_morl/tetrominoes", "I = 0"] == [epyc]
    assert epyc in str([*recorded.table(recorded.minutes_to()).columns[-1].cells])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["inference", "--case=foo"], "--case: expected one of clevr6, multi_dsprites, tetrominoes, got 'foo'"),
        (["engine", "--rounds=0"], "--rounds: expected a whole number above 0, got 0"),
        (["engine", "--batch=0"], "--batch: expected a whole number above 0 or null, got 0"),
        (["all", "--json=no/x.json"], "--json: expected a file in a folder that exists or null, got "),
        (["memory", "--figure=no/x.png"], "--figure: expected a file in a folder that exists, got "),
        (["models", "--sizes=[64, 17]"], "--sizes: expected multiples of 16, got [64, 17]; such as '[64, 96]'"),
        (["models", "--sizes=16"], "--sizes: expected a list such as '[a, b]', got '16'"),
        (["models", "--figure=models.foo"], "--figure: expected one of the endings "),
        (["engine", "--model=iodine", "--steps=0"], "--steps: expected 1 or more for iodine, got 0"),
        (["export", "--weights=[]"], "--weights: expected names of shipped weights, got none; such as"),
        (["export", "--weights=[tetrominoes, tetrominos]"], "tetrominos: expected a checkpoint"),
        (["precision", "no.ckpt"], "no.ckpt: No such file or directory"),
    ],
)
def test_what_cannot_be_measured_or_written_is_refused_first(words: list[str], told: str) -> None:
    ran = warm.module("benchmarks", *words)
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert told in line


def test_shipped_weights_that_cannot_be_exported_run_in_eager_alone() -> None:
    result = export.rates("iodine/tetrominoes", rounds=1, batches=(1,))
    assert result["images_per_second"].keys() == {1}
    assert result["images_per_second"][1].keys() == {"eager"}


def test_float16_keeps_the_scores_in_half_the_size(tmp_path: Path) -> None:
    """As a command: the types that the tests check have no place for the symbols of an export."""
    root, out = tiny.write(tmp_path / "data", val=4, test=4), tmp_path / "formats.json"
    weights = "slot_attention/tetrominoes"  # are exported sooner than those of more layers
    ran = warm.module("benchmarks", "formats", root, f"--weights={weights}", "--rounds=1", f"--json={out}")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(out.read_text())
    full, half = (result["programs"][name] for name in ("float32", "float16"))
    assert result["scenes"] == 4
    assert result["programs"].keys() == {"float32", "float16", "int8, dynamic", "int8, static"}
    assert half["bytes"] < 0.6 * full["bytes"]
    assert half["fg_ari"] == pytest.approx(full["fg_ari"], abs=0.01)
    assert half["mse"] == pytest.approx(full["mse"], rel=0.1)
