"""Each study with each type of model: with and without I = 0, posteriors and layers."""

import csv
import json
from functools import partial

import pytest
import torch
from stepwise import Stepwise

import tiny
from emorl.callbacks import TestReport
from emorl.evaluation.cli import main
from emorl.evaluation.inputs import infer, load_scenes
from emorl.evaluation.representation.representation import read
from emorl.evaluation.studies import robustness
from emorl.evaluation.studies.changes import UNMODIFIED
from emorl.evaluation.studies.scores import stages
from emorl.model import IODINE, EfficientMORL, SlotAttention, SmallDecoder

MODELS = {
    "EfficientMORL": partial(tiny.network, slot_dim=4, decoder=SmallDecoder),  # others amplify rounding too much
    "SlotAttention": partial(tiny.network, cls=SlotAttention, slot_dim=4),
    "IODINE": partial(tiny.FAMILY["iodine"], slot_dim=4),
    "Stepwise": partial(tiny.network, cls=Stepwise, slot_dim=4),
}
STEPS = 2  # at test


@pytest.fixture(scope="module", params=MODELS)
def module(request):
    torch.manual_seed(0)
    net = tiny.lively(MODELS[request.param]())
    return tiny.module(network=net, test_refinement_steps=STEPS).eval()


@pytest.fixture(scope="module")
def checkpoint(module, tmp_path_factory):
    return tiny.saved(module, tmp_path_factory.mktemp("model") / "last.ckpt")


@pytest.fixture
def study(checkpoint, shards, tmp_path):
    """Run a study; return the rows of a table."""

    def run(name, *options, table=None, data=shards):
        assert main([name, checkpoint, str(data), str(tmp_path), *options]) is None
        if table is not None:
            with (tmp_path / f"{table}.csv").open(newline="") as file:
                return list(csv.DictReader(file))
        return None

    return run


def zero_step(module):
    return module.network.min_steps == 0


def compared(module):
    return ["0", f"{STEPS}"] if zero_step(module) else [f"{STEPS}"]


def test_refinement_scores_every_number_of_steps(module, study):
    rows = study("refinement", "--steps=3", table="refinement")
    assert [row["I"] for row in rows] == (["0", "1", "2", "3"] if zero_step(module) else ["1", "2", "3"])
    expected = set(module.network.score_names) | ({"fg_ari_zero_step_share"} if zero_step(module) else set())
    assert {"nll", "kl", "fg_ari_zero_step_share"} & rows[0].keys() == expected
    assert len({row["mse"] for row in rows}) == len(rows)


def test_a_stage_equals_the_result_of_its_number_of_steps(module, shards):
    (batch,) = load_scenes(str(shards), module).batches()
    found = stages(module, batch, (1, 3), num_slots=5, seed=7)
    assert list(found) == [1, 3]
    for steps, stage in found.items():
        assert stage.step == steps
        torch.testing.assert_close(stage.slots, infer(module, batch, steps, 5, 7).stages[-1].slots)


@pytest.mark.usefixtures("undrawn")
def test_slots(module, study):
    rows = study("slots", "--largest=3", table="slots")
    assert [(row["K"], row["I"]) for row in rows] == [("2", f"{STEPS}"), ("3", f"{STEPS}")]


@pytest.mark.usefixtures("undrawn")
def test_draws(module, study):
    rows = study("draws", "--number=2", table="draws")
    assert [(row["draw"], row["I"]) for row in rows] == [(draw, i) for draw in "01" for i in compared(module)]
    assert rows[0]["mse"] != rows[-1]["mse"]


@pytest.mark.usefixtures("undrawn")
def test_robustness(module, study, monkeypatch):
    every = robustness.changes
    monkeypatch.setattr(
        robustness, "changes", lambda *asked: {name: every(*asked)[name] for name in (UNMODIFIED, "two objects")}
    )
    rows = study("robustness", "--count=3", table="robustness")
    assert [(row["change"], row["I"]) for row in rows] == [
        (change, i) for change in (UNMODIFIED, "two objects") for i in compared(module)
    ]


def test_layers(module, study, shards, monkeypatch):
    rows = study("layers", "--count=3", "--pictures=1", "--test_draws=2", table="layers")
    expected = {
        EfficientMORL: ["layer 1", "layer 2", "layer 3", "step 1", "step 2"],
        SlotAttention: ["layer 1", "layer 2"],
        IODINE: ["step 1", "step 2"],
        Stepwise: ["step 1", "step 2"],
    }
    assert [row["slots"] for row in rows] == expected[type(module.network)]
    monkeypatch.setattr(module, "test_draws", 2)
    batch = load_scenes(str(shards), module, count=3).batch(range(3))
    found = infer(module, batch, STEPS).stages[-1].components.reconstruction
    assert float(rows[-1]["mse"]) == pytest.approx(float((found - batch["image"] / 255).square().mean()), rel=1e-4)


def test_codes_are_posterior_means_or_the_slots_themselves(module, shards):
    scenes = load_scenes(str(shards), module)
    slots, labels = read(module, scenes, STEPS)
    (batch,) = scenes.batches()
    last = infer(module, batch, STEPS).stages[-1]
    assert slots.equal(last.slots if last.posterior is None else last.posterior.mean)
    assert labels.equal(last.components.masks.squeeze(2).argmax(1))


@pytest.mark.usefixtures("undrawn")
def test_representation(module, study, tmp_path, tmp_path_factory, monkeypatch):
    for name, fewer in {"SWEPT": 1, "STEPS": 3}.items():
        monkeypatch.setattr(f"emorl.evaluation.representation.representation.{name}", fewer)
    many = tiny.write(tmp_path_factory.mktemp("scenes"), test=24)
    rows = study("representation", "--factors=[x]", table="activeness", data=many)
    assert sorted(row["dimension"] for row in rows) == ["0", "1", "2", "3"]
    assert (tmp_path / "traversals.gif").exists()


def test_the_report_has_the_scores_of_emorl_test(module, study, shards, tmp_path, monkeypatch):
    study("report", "--score_size=50", "--test_draws=2")
    monkeypatch.setattr(module, "test_draws", 2)
    expected = tmp_path / "test"
    trainer = tiny.trainer(tmp_path, callbacks=TestReport(str(expected)))
    trainer.test(module, tiny.data(shards, score_size=50), verbose=False)
    metrics, others = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path, expected))
    assert list(metrics) == [f"I={i}" for i in compared(module)]
    assert metrics.keys() == others.keys()
    for key, scores in others.items():
        assert metrics[key].keys() == scores.keys()
        for name, score in scores.items():
            assert metrics[key][name] == pytest.approx(score, rel=1e-4)
    text = (tmp_path / "report.html").read_text()
    assert f"{type(module.network).__name__} on Tetrominoes" in text
    assert ("no attention layers" in text) == isinstance(module.network, IODINE | Stepwise)
    assert [f"I = {i}" for i in range(3) if f"I = {i}: quartiles" in text] == [
        key.replace("=", " = ") for key in metrics
    ]


@pytest.mark.parametrize("module", ["SlotAttention", "IODINE"], indirect=True)
@pytest.mark.parametrize("name", ["refinement", "slots", "draws", "robustness"])
def test_too_few_steps_are_one_line_and_status_2(name, checkpoint, shards, tmp_path, capsys):
    assert main([name, checkpoint, str(shards), str(tmp_path), "--steps=0"]) == 2
    assert "steps: Expected 1 or more steps, got 0." in capsys.readouterr().err
