"""Runs of increasing indices, and their text format."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emorl.data.runs import count, format_runs, join_runs, parse_runs, to_runs
from emorl.errors import DataError

INDICES = st.sets(st.integers(0, 60), min_size=1).map(sorted)


def test_runs_are_inclusive_and_maximal():
    assert format_runs(to_runs([3, 5, 8, 9, 10])) == "3,5,8-10"
    assert format_runs(to_runs(range(60_000))) == "0-59999"
    assert join_runs([range(2), range(2, 5), range(6, 7)]) == (range(5), range(6, 7))
    assert to_runs([]) == ()


@given(INDICES)
def test_text_and_back(indices):
    runs = parse_runs(format_runs(to_runs(indices)), "here")
    assert [index for run in runs for index in run] == indices
    assert runs == to_runs(indices)
    assert count(runs) == len(indices)


@pytest.mark.parametrize("indices", [[1, 1], [2, 1], [0, 1, 2, 1]])
def test_indices_increase(indices):
    with pytest.raises(ValueError, match="Expected increasing indices, got 1 after"):
        to_runs(indices)


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "1,", "3-1", "1-1", "1,2", "1-3,4", "5,3", "1-5,3", "01", "1 ", "\u0661", "1" * 16, "1-2-3"]
)
def test_any_other_text_is_refused(text):
    with pytest.raises(DataError, match=r"train: expected increasing runs of indices such as 3,5,8-10, got"):
        parse_runs(text, "train")


def test_a_huge_run_needs_no_memory():
    assert count(parse_runs(f"0-{10**14}", "here")) == 10**14 + 1
