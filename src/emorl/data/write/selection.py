"""Which records of which source go into which shard."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from emorl.data.records import Record, Source
from emorl.data.runs import Runs, count, join_runs, to_runs
from emorl.data.shards.manifest import shard_name


class Selection(NamedTuple):
    """The records of a split: increasing indices of a source."""

    source: Source
    indices: Sequence[int]


class ShardTask(NamedTuple):
    """One shard to write.

    Attributes:
        split: the split that it is a part of.
        name: its file name.
        source: where its records come from.
        first: index of its first sample in the split.
        runs: indices of its records in the source.
    """

    split: str
    name: str
    source: Source
    first: int
    runs: Runs

    @property
    def samples(self) -> int:
        """Number of samples."""
        return count(self.runs)


def consecutive(source: Source, samples: Mapping[str, int]) -> dict[str, Selection]:
    """Select splits from a source one after the other, in order; splits of 0 samples are left out."""
    stops = list(itertools.accumulate(samples.values(), initial=0))
    ranges = itertools.starmap(range, itertools.pairwise(stops))
    return {split: Selection(source, indices) for split, indices in zip(samples, ranges, strict=True) if indices}


def shard_tasks(split: str, selection: Selection, shard_size: int) -> Iterator[ShardTask]:
    """Cut a split into shards."""
    source, indices = selection
    for number, first in enumerate(range(0, len(indices), shard_size)):
        runs = to_runs(indices[first : first + shard_size])
        yield ShardTask(split, shard_name(split, number), source, first, runs)


def streams(tasks: list[ShardTask]) -> Iterator[tuple[ShardTask, Iterator[Record]]]:
    """Pair each shard with its records, reading on in a source where the shard before it stopped."""
    for sweep in _sweeps(tasks):
        records = sweep[0].source.select(join_runs(run for task in sweep for run in task.runs))
        for task in sweep:
            yield task, itertools.islice(records, task.samples)


def _sweeps(tasks: list[ShardTask]) -> list[list[ShardTask]]:
    """Group neighbors that go on in the same source."""
    sweeps: list[list[ShardTask]] = []
    for task in tasks:
        before = sweeps[-1][-1] if sweeps else None
        if before is not None and before.source is task.source and before.runs[-1].stop <= task.runs[0].start:
            sweeps[-1].append(task)
        else:
            sweeps.append([task])
    return sweeps
