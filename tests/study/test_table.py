"""Tables and figures of the scores of a study."""

import pytest

from emorl.study.table import Scored, score_rows, seeds_figure, summary_rows
from ticks import overlapping


def scored(case, seed, *means, failed=False):
    stages = {f"I={3 * i}": {"fg_ari": {"mean": m, "standard_error": 0.0, "images": 2}} for i, m in enumerate(means)}
    return Scored(case, seed, stages, failed)


RUNS = [scored("a", 0, 0.5, 0.6), scored("a", 1, 0.7, None), scored("a", 2, failed=True), scored("b", 0, 0.25)]


def test_every_score_of_every_run_is_a_row():
    rows = score_rows(RUNS)
    assert [(row["case"], row["seed"], row["I"], row["mean"]) for row in rows] == [
        ("a", 0, "0", 0.5),
        ("a", 0, "3", 0.6),
        ("a", 1, "0", 0.7),
        ("a", 1, "3", None),
        ("b", 0, "0", 0.25),
    ]


def test_the_summary_has_mean_and_spread_by_case_and_lists_failures():
    rows = summary_rows([*RUNS, scored("c", 0, failed=True), scored("d", 0)])
    assert [tuple(row.values())[:6] for row in rows] == [
        ("a", "0", 2, "2", pytest.approx(0.6), pytest.approx(0.02**0.5)),
        ("a", "3", 2, "2", None, None),  # one of the two is undefined
        ("b", "0", 1, "", 0.25, None),
        ("c", "", 0, "0", None, None),
        ("d", "", 0, "", None, None),
    ]
    assert [*rows[0]][:6] == ["case", "I", "runs", "failed seeds", "fg_ari", "fg_ari_sd"]


def test_every_run_is_a_marker_in_the_row_of_its_case():
    left, _ = seeds_figure(RUNS).axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["a", "b"]
    zero, three = left.lines
    assert list(zero.get_xdata()) == [0.5, 0.7, 0.25]
    assert list(zero.get_ydata()) == [0, 0, 1]
    assert list(three.get_xdata()) == [0.6]
    assert list(three.get_ydata()) == pytest.approx([0.15])


@pytest.mark.parametrize("values", [(0.04692, 0.04698), (0.0123, 0.0456, 0.09), (0.0004, 0.3), (0.005,), (0.0, 1.0)])
def test_the_ticks_of_mse_can_be_read(values):
    runs = [
        Scored("a", seed, {"I=0": {"fg_ari": {"mean": 0.5}, "mse": {"mean": value}}})
        for seed, value in enumerate(values)
    ]
    assert not overlapping(seeds_figure(runs))


def test_a_study_without_scores_yet_has_a_figure():
    assert len(seeds_figure([scored("a", 0)]).axes) == 2


def test_scores_that_need_truth_have_no_column_and_no_panel_where_no_run_has_them():
    runs = [Scored("a", 0, {"I=0": {"mse": {"mean": 0.5}, "nll": {"mean": 1.0}}}), Scored("a", 1, {})]
    (row,) = summary_rows(runs)
    assert {"fg_ari", "ari_sd", "fg_miou"} & row.keys() == set()
    assert row["mse"] == 0.5
    (panel,) = seeds_figure(runs).axes
    assert panel.get_xlabel() == "MSE"
    assert "fg_ari" in summary_rows([Scored("a", 0, {})])[0]  # no scores yet
