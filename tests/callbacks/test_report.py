"""The report of `emorl test`: the table and metrics.json."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

import tiny
from emorl.callbacks import TestReport
from emorl.callbacks.report import to_table
from emorl.metrics import Summary
from emorl.results import LABELS, to_columns, to_json, with_error

SCORES = {
    *("fg_ari", "ari", "fg_miou", "miou", "fg_mbo", "fg_covering", "active_slots"),
    *("mse", "squared_error", "nll", "log_likelihood", "kl"),
}

TERMS = {f"kl_layers/{layer}" for layer in (1, 2, 3)}


def report(shards, folder, steps, **arguments):
    """Test, and return what ``metrics.json`` says."""
    network = tiny.lively(tiny.network())
    module = tiny.module(network=network, test_refinement_steps=steps, test_means=True, **arguments)
    trainer = tiny.trainer(folder, callbacks=TestReport(str(folder / "out")))
    trainer.test(module, tiny.data(shards), verbose=False)
    return json.loads((folder / "out" / "metrics.json").read_text())


def direct(shards, steps):
    """Return scikit-learn's ARI, the squared error, and the number of slots in use, of each test image."""
    module = tiny.module(network=tiny.lively(tiny.network()), test_refinement_steps=steps).eval()
    values = {"fg_ari": [], "ari": [], "mse": [], "squared_error": [], "active_slots": []}
    for batch in tiny.loaded(shards, "test").test_dataloader():
        with torch.no_grad():
            prediction = module.predict_step(batch, 0)
        labels = prediction.masks.squeeze(2).argmax(1).numpy()
        for image, true, ours, x in zip(
            prediction.image, batch["segmentation"].numpy(), labels, prediction.reconstruction, strict=False
        ):
            values["fg_ari"].append(adjusted_rand_score(true[true > 0], ours[true > 0]))
            values["ari"].append(adjusted_rand_score(true.ravel(), ours.ravel()))
            values["mse"].append((image - x).double().square().mean().item())
            values["squared_error"].append((image - x).double().square().sum().item())
            values["active_slots"].append(len(np.unique(ours)))
    return {name: np.array(numbers) for name, numbers in values.items()}


@pytest.mark.parametrize("steps", [0, 2])
def test_metrics_are_those_of_a_direct_computation(shards, tmp_path, steps):
    written = report(shards, tmp_path, steps)
    assert written.keys() == {"I=0", f"I={steps}"}
    for column in {0, steps}:
        assert written[f"I={column}"].keys() == (SCORES if column else SCORES | TERMS)
        for name, values in direct(shards, column).items():
            score = written[f"I={column}"][name]
            assert len(values) == score["images"] == 5
            assert score["mean"] == pytest.approx(values.mean(), rel=1e-6)
            assert score["standard_error"] == pytest.approx(values.std(ddof=1) / 5**0.5, rel=1e-5)


def test_terms_of_the_kl_and_on_request_attention_are_reported(shards, tmp_path):
    written = report(shards, tmp_path, 1, score_attention=True)
    terms = [written["I=0"][f"kl_layers/{number}"]["mean"] for number in (1, 2, 3)]
    assert sum(terms) == pytest.approx(written["I=0"]["kl"]["mean"])
    assert written["I=0"]["attention/fg_ari"]["images"] == 5
    assert written["I=1"].keys() == SCORES


def test_the_table_is_printed(shards, tmp_path, capsys):
    written = report(shards, tmp_path, 1)
    printed = capsys.readouterr().out
    for text in ("mean ± standard error", "I = 0", "I = 1", *LABELS.values()):
        assert text in printed
    for column in ("I=0", "I=1"):
        assert with_error(written[column]["fg_ari"]["mean"], written[column]["fg_ari"]["standard_error"]) in printed
    assert f"Wrote {tmp_path / 'out' / 'metrics.json'}" in printed


def test_an_undefined_number_is_null(shards, tmp_path):
    """One image has no standard error; NaN would not be JSON."""
    module = tiny.module()
    trainer = tiny.trainer(tmp_path, callbacks=TestReport())
    trainer.test(module, tiny.data(tiny.write(tmp_path / "one", test=1)), verbose=False)
    written = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert written["I=0"]["mse"]["images"] == 1
    assert written["I=0"]["mse"]["standard_error"] is None


def test_scores_of_the_bottom_up_pass_alone_stand_at_zero_steps():
    score = Summary(torch.tensor(1.5).double(), torch.tensor(0.25).double(), torch.tensor(4))
    summary = {"last": {"kl": score}, "zero_step": {"kl": score}, "terms": {"kl_layers/1": score}}
    written = to_json(to_columns(summary, 2))
    assert written.keys() == {"I=0", "I=2"}
    assert written["I=0"].keys() == {"kl", "kl_layers/1"}
    assert to_json(to_columns(summary, 0)).keys() == {"I=0"}
    assert to_json(to_columns(summary, 0))["I=0"] == written["I=0"]
    *_, at_two, _ = to_table(to_columns(summary, 2), tiny.network()).columns
    assert list(at_two.cells) == ["1.50 ± 0.25", ""]


def test_a_second_test_starts_anew(shards, tmp_path):
    assert report(shards, tmp_path, 1) == report(shards, tmp_path, 1)


def test_notes_under_the_table_are_of_the_model():
    score = Summary(torch.tensor(1.5).double(), torch.tensor(0.25).double(), torch.tensor(4))
    columns = {2: {"mse": score, "fg_miou": score}}
    notes = {name: str(to_table(columns, build()).caption) for name, build in tiny.FAMILY.items()}
    assert notes["efficient_morl"].startswith("NLL omits a constant of 0.9189 nats")
    assert "KL at I = 0" in notes["efficient_morl"]
    assert notes["slot_attention"] == notes["iodine"]
    assert notes["iodine"].startswith("mIoU, mBO and covering exclude the background")
    assert to_table({2: {"mse": score}}, tiny.FAMILY["iodine"]()).caption is None
