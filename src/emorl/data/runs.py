"""Increasing indices as runs of consecutive ones, such as `0-59999` or `3,5,8-10`: exact, and short in a manifest."""

import re
from collections.abc import Iterable
from itertools import pairwise

from emorl.data.schema import require

Runs = tuple[range, ...]

_NUMBER = "[0-9]{1,15}"
_RUN = f"{_NUMBER}(-{_NUMBER})?"
_RUNS = re.compile(f"{_RUN}(,{_RUN})*")


def to_runs(indices: Iterable[int]) -> Runs:
    """Return the runs of increasing indices.

    Raises:
        ValueError: unless the indices increase.

    >>> to_runs([3, 5, 8, 9, 10])
    (range(3, 4), range(5, 6), range(8, 11))
    """
    return join_runs(range(index, index + 1) for index in indices)


def join_runs(runs: Iterable[range]) -> Runs:
    """Join adjacent runs.

    Returns:
        The joined runs.

    Raises:
        ValueError: unless the indices increase.

    >>> join_runs([range(0, 5), range(5, 8), range(9, 10)])
    (range(0, 8), range(9, 10))
    """
    joined: list[range] = []
    for run in runs:
        if joined and run.start < joined[-1].stop:
            raise ValueError(f"Expected increasing indices, got {run.start} after {joined[-1][-1]}. Sort them.")
        if joined and run.start == joined[-1].stop:
            joined[-1] = range(joined[-1].start, run.stop)
        else:
            joined.append(run)
    return tuple(joined)


def count(runs: Runs) -> int:
    """Return the number of indices.

    >>> count((range(3, 4), range(8, 11)))
    4
    """
    return sum(map(len, runs))


def format_runs(runs: Runs) -> str:
    """Write runs as text: first and last index of each, or its only index.

    Returns:
        The text.

    >>> format_runs((range(3, 4), range(8, 11)))
    '3,8-10'
    """
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def parse_runs(text: str, where: str) -> Runs:
    """Parse the text that `format_runs` writes.

    Args:
        text: the runs.
        where: location of the text, for error messages.

    Returns:
        The runs.

    Raises:
        DataError: on any other text, or on indices that do not increase.

    >>> parse_runs("3,8-10", "train")
    (range(3, 4), range(8, 11))
    """
    expected = "increasing runs of indices such as 3,5,8-10"
    require(_RUNS.fullmatch(text) is not None, where, expected, text)
    bounds = [[int(number) for number in run.split("-")] for run in text.split(",")]
    runs = tuple(range(numbers[0], numbers[-1] + 1) for numbers in bounds)
    gaps = all(before.stop < after.start for before, after in pairwise(runs))
    require(gaps and all(runs) and format_runs(runs) == text, where, expected, text)
    return runs
