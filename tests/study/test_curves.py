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


def styles(lines):
    """The dashes of each line; `get_linestyle` says only whether it is dashed."""
    return [line._unscaled_dash_pattern[1] or "solid" for line in lines]


def test_every_run_is_a_line_over_minutes_in_the_color_of_its_case_and_the_style_of_its_seed(curve):
    figure = training_figure({"a": {0: curve("1"), 1: curve("2", 0.5)}, "b": {1: curve("3")}})
    left, right = figure.axes
    assert [line.get_color() for line in left.lines] == [CYCLE[0], CYCLE[0], CYCLE[1]]
    solid, dashed, also = styles(left.lines)
    assert solid != dashed == also
    assert left.lines[1].get_xdata().tolist() == [1.5, 2.0]
    assert list(left.lines[1].get_ydata()) == [0.25, 0.5]
    assert list(right.lines[0].get_ydata()) == [0.04, 0.03]
    legend = left.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "seed 0", "seed 1"]
    assert [line.get_color() for line in legend.get_lines()] == [CYCLE[0], CYCLE[1], "black", "black"]
    assert styles(legend.get_lines()) == [solid, solid, solid, dashed]


def test_six_seeds_differ(curve):
    lines = training_figure({"a": {seed: curve(f"{seed}") for seed in range(6)}}).axes[0].lines
    assert len({str(style) for style in styles(lines)}) == 6


def test_cases_of_one_color_have_other_markers(curve):
    lines = training_figure({f"{number}": {0: curve(f"{number}")} for number in range(len(CYCLE) + 1)}).axes[0].lines
    assert lines[0].get_color() == lines[-1].get_color()
    assert lines[0].get_marker() != lines[-1].get_marker()


def test_one_seed_needs_no_legend_of_seeds(curve):
    legend = training_figure({"a": {0: curve("1")}, "b": {0: curve("2")}}).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]


def test_each_score_that_was_logged_has_a_panel_in_a_fixed_order(tmp_path):
    names = ("mse", "fg_miou", "ari", "fg_ari")
    header = ",".join(f"val/{name}" for name in names)
    (tmp_path / "full").write_text(f"step,time/minutes,{header}\n9,1.0,,,,\n14,,0.1,0.2,0.3,0.4\n19,2.0,,,,\n")
    panels = training_figure({"a": {0: tmp_path / "full"}}).axes
    assert [panel.get_ylabel().partition(",")[0] for panel in panels] == [
        "FG-ARI",
        "ARI with background",
        "mIoU",
        "MSE",
    ]
    assert [float(panel.lines[0].get_ydata()[0]) for panel in panels] == [0.4, 0.3, 0.2, 0.1]


def test_a_run_that_was_never_scored_has_no_line(tmp_path, curve):
    (tmp_path / "new").write_text("step,time/minutes\n9,1.0\n")
    figure = training_figure({"a": {0: tmp_path / "new"}, "b": {0: curve("1")}})
    assert [line.get_color() for line in figure.axes[0].lines] == [CYCLE[1]]


def test_a_run_without_a_clock_has_no_line(tmp_path, curve):
    (tmp_path / "bare").write_text("step,val/zero_step/fg_ari\n9,0.5\n")
    assert len(training_figure({"a": {0: tmp_path / "bare"}, "b": {0: curve("1")}}).axes[0].lines) == 1


def test_without_masks_there_is_no_panel_of_fg_ari(tmp_path):
    (tmp_path / "unmasked").write_text("step,time/minutes,val/mse\n9,1.0,\n14,,0.25\n19,2.0,\n")
    (panel,) = training_figure({"a": {0: tmp_path / "unmasked"}}).axes
    assert panel.get_ylabel() == "MSE, validation"
    assert list(panel.lines[0].get_ydata()) == [0.25]
