"""Tables and figures of studies as files."""

import csv
import math

import pytest
from matplotlib.figure import Figure
from PIL import Image

from emorl.errors import DataError
from emorl.evaluation.outputs import cell, show, tell, write_figure, write_table

ROWS = [{"K": 2, "ARI": 0.123456789, "model": "a|b"}, {"K": 3, "ARI": None, "share": 1e-7 / 3}]


def test_csv_has_full_precision_and_markdown_four_digits(tmp_path):
    paths = write_table(ROWS, tmp_path / "new" / "folder", "slots")
    assert [path.name for path in paths] == ["slots.csv", "slots.md"]
    with paths[0].open(newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == ["K", "ARI", "model", "share"]
    assert float(first["ARI"]) == 0.123456789
    assert (first["model"], first["share"], second["ARI"], second["model"]) == ("a|b", "", "", "")
    assert float(second["share"]) == 1e-7 / 3
    assert paths[1].read_text().splitlines() == [
        "| K | ARI | model | share |",
        "| --- | --- | --- | --- |",
        "| 2 | 0.1235 | a\\|b |  |",
        "| 3 |  |  | 3.333e-08 |",
    ]


def test_undefined_numbers_are_marked():
    assert (cell(math.nan), cell(math.inf), cell(True), cell(1234567.0)) == ("nan", "inf", "True", "1234567")


def test_a_figure_is_a_png_of_its_size(tmp_path):
    figure = Figure(figsize=(4, 2), layout="constrained")
    figure.add_subplot().plot([0, 1], [1, 0])
    path = write_figure(figure, tmp_path, "slots")
    with Image.open(path) as image:
        assert (path.name, image.format, image.size) == ("slots.png", "PNG", (600, 300))


def test_a_failed_write_keeps_the_previous_file(tmp_path, monkeypatch):
    write_table(ROWS, tmp_path, "slots")
    former = (tmp_path / "slots.csv").read_text()
    figure = Figure()
    monkeypatch.setattr(figure, "savefig", lambda stream, **_: stream.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_figure(figure, tmp_path, "slots")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slots.csv", "slots.md"]
    assert (tmp_path / "slots.csv").read_text() == former


def test_a_file_in_place_of_the_folder_is_one_error(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match=r"slots\.csv: cannot be written"):
        write_table(ROWS, tmp_path / "out", "slots")


def test_a_table_shows_labels_and_errors_with_their_scores(capsys):
    rows = [{"K": 2, "fg_ari": 0.5, "fg_ari_se": 0.01234, "empty": None}, {"K": 3, "fg_ari": None, "mse_sd": 0.25}]
    show(rows, "A title")
    text = capsys.readouterr().out
    for expected in ("A title", "FG-ARI", "0.500 ± 0.012", "MSE sd", "0.25"):
        assert expected in text
    assert "empty" not in text
    assert "fg_ari" not in text


def test_an_error_of_one_scene_is_left_out(tmp_path, capsys):
    rows = [{"fg_ari": 0.5, "fg_ari_se": math.nan}, {"fg_ari": math.nan, "fg_ari_se": math.nan}]
    show(rows)
    assert "±" not in capsys.readouterr().out
    csv_, markdown = write_table(rows, tmp_path, "one")
    assert csv_.read_text() == "fg_ari,fg_ari_se\n0.5,\nnan,\n"
    assert markdown.read_text().splitlines()[2:] == ["| 0.5 |  |", "| nan |  |"]


def test_a_wide_table_is_not_wrapped_without_a_terminal(capsys):
    show([dict.fromkeys(("fg_ari", "ari", "fg_miou", "mse", "nll", "kl", "active_slots"), 1.0)])
    assert "ARI with background" in capsys.readouterr().out


def test_the_files_are_named_with_their_folder(tmp_path, capsys):
    tell([tmp_path / "a.csv", tmp_path / "a.md"])
    assert capsys.readouterr().out == f"Wrote a.csv, a.md to {tmp_path}\n"
