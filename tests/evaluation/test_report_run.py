"""Training curves for the report, from the files of a run."""

import re

import pytest
import yaml

import tiny
from emorl import stored
from emorl.errors import DataError
from emorl.evaluation.report.run import Run, read_history, read_run


@pytest.fixture
def history(tmp_path):
    def read(text):
        (tmp_path / "metrics.csv").write_text(text)
        return read_history(tmp_path / "metrics.csv")

    return read


def test_a_column_has_the_values_that_its_rows_have(history):
    found = history("epoch,step,train/a,val/b,test/c\n0,9,1.5,,\n0,9,,2,\n,19,3,,\n,0,,,4\n")
    assert found == {"train/a": [(9, 1.5), (19, 3.0)], "val/b": [(9, 2.0)]}


@pytest.mark.parametrize("half", ["0,29,1.5e-", "0,29,1", "0,2"])
def test_a_last_line_that_is_still_being_written_does_not_count(history, half):
    assert history(f"epoch,step,val/a\n0,19,7\n{half}") == {"val/a": [(19, 7.0)]}


def test_repeated_steps_of_a_resumed_run_count_once(history):
    """The run reached step 39, and resumed from its checkpoint at 19."""
    found = history("step,train/a,val/b\n9,1,\n19,2,3\n29,8,\n39,9,8\n29,3,\n39,4,\n39,,6\n")
    assert found == {"train/a": [(9, 1.0), (19, 2.0), (29, 3.0), (39, 4.0)], "val/b": [(19, 3.0), (39, 6.0)]}


def test_a_resumed_run_may_log_at_other_steps(history):
    """After 19 it logs only the learning rate at 25, which is not read, and continues at 34."""
    found = history("step,train/a,lr\n9,1,\n19,2,\n29,8,\n39,9,\n25,,0.1\n28,3,\n34,4,\n")
    assert found == {"train/a": [(9, 1.0), (19, 2.0), (28, 3.0), (34, 4.0)]}


def test_switches_are_where_another_number_of_refinement_steps_begins(history):
    text = "step,train/refinement_steps\n49,3\n99,1\n149,1\n99,1\n149,0\n"
    assert Run("", {}, history(text)).switches == [99, 149]


def test_shipped_weights_have_the_record_on_their_card():
    run, card = read_run("tetrominoes"), stored.load_card("tetrominoes")
    assert yaml.safe_load(run.config)["model"] == card["model"]
    assert run.versions == card["versions"]
    assert run.history["time/minutes"][-1] == (card["steps"] - 1, pytest.approx(card["minutes"], abs=1))
    last = run.history["val/zero_step/fg_ari"][-1][1]
    assert last == pytest.approx(card["tests"]["samples"]["scores"]["I=0"]["fg_ari"]["mean"], abs=0.02)
    assert run.switches == sorted(run.switches)
    assert len(run.switches) == 2


@pytest.fixture
def run(tmp_path):
    """A run with a record; returns its checkpoint."""
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    files = {"config.yaml": "model: {}", "versions.json": "{}", "metrics.csv": "step,train/a\n9,1\n"}
    for name, text in files.items():
        (tmp_path / "run" / name).write_text(text)
    return tiny.saved(tiny.module(), tmp_path / "run/checkpoints/last.ckpt")


def test_the_home_folder_is_expanded(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_run("~/run/checkpoints/last.ckpt") == read_run(run) == Run("model: {}", {}, {"train/a": [(9, 1.0)]})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", "name: Zürich".encode("latin-1")),
        ("versions.json", b'{"torch": '),
        ("metrics.csv", b"step,train/a\n9,one\n"),
        ("metrics.csv", b"\xff\xff\n9,1\n"),
    ],
)
def test_a_damaged_record_is_one_line_that_names_the_file(name, content, run, tmp_path):
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"^{re.escape(str(tmp_path / 'run' / name))}: expected [^\n]*, got [^\n]*; "):
        read_run(run)
