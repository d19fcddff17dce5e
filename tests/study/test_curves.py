"""Training curves of a study against time."""

import pytest

from emorl.figures import CYCLE
from emorl.study.curves import training_figure

HISTORY = """step,time/minutes,val/zero_step/fg_ari,val/zero_step/mse
9,1.0,,
14,,0.25,0.04
19,2.0,,
19,,{fg_ari},0.03
"""


@pytest.fixture
def curve(tmp_path):
    def write(name, fg_ari=0.75):
        (tmp_path / name).write_text(HISTORY.format(fg_ari=fg_ari))
        return tmp_path / name

    return write


def test_every_run_is_a_line_over_minutes_in_the_color_of_its_case(curve):
    figure = training_figure({"a": [curve("1"), curve("2", 0.5)], "b": [curve("3")]})
    left, right = figure.axes
    assert [line.get_color() for line in left.lines] == [CYCLE[0], CYCLE[0], CYCLE[1]]
    assert left.lines[1].get_xdata().tolist() == [1.5, 2.0]
    assert list(left.lines[1].get_ydata()) == [0.25, 0.5]
    assert list(right.lines[0].get_ydata()) == [0.04, 0.03]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["a", "b"]


def test_each_score_that_was_logged_has_a_panel_in_a_fixed_order(tmp_path):
    names = ("mse", "fg_miou", "ari", "fg_ari")
    header = ",".join(f"val/{name}" for name in names)
    (tmp_path / "full").write_text(f"step,time/minutes,{header}\n9,1.0,,,,\n14,,0.1,0.2,0.3,0.4\n19,2.0,,,,\n")
    panels = training_figure({"a": [tmp_path / "full"]}).axes
    assert [panel.get_ylabel().partition(",")[0] for panel in panels] == [
        "FG-ARI",
        "ARI with background",
        "mIoU",
        "MSE",
    ]
    assert [float(panel.lines[0].get_ydata()[0]) for panel in panels] == [0.4, 0.3, 0.2, 0.1]


def test_a_run_that_was_never_scored_has_no_line(tmp_path, curve):
    (tmp_path / "new").write_text("step,time/minutes\n9,1.0\n")
    figure = training_figure({"a": [tmp_path / "new"], "b": [curve("1")]})
    assert [line.get_color() for line in figure.axes[0].lines] == [CYCLE[1]]


def test_a_run_without_a_clock_has_no_line(tmp_path, curve):
    (tmp_path / "bare").write_text("step,val/zero_step/fg_ari\n9,0.5\n")
    assert len(training_figure({"a": [tmp_path / "bare"], "b": [curve("1")]}).axes[0].lines) == 1


def test_without_masks_there_is_no_panel_of_fg_ari(tmp_path):
    (tmp_path / "unmasked").write_text("step,time/minutes,val/mse\n9,1.0,\n14,,0.25\n19,2.0,\n")
    (panel,) = training_figure({"a": [tmp_path / "unmasked"]}).axes
    assert panel.get_ylabel() == "MSE, validation"
    assert list(panel.lines[0].get_ydata()) == [0.25]
