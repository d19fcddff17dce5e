"""The assignment of a source's records to shards."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from emorl.data.records import Record, Source
from emorl.data.runs import Runs, count, join_runs, to_runs
from emorl.data.shards.manifest import shard_name


class Selection(NamedTuple):
    """The records of a split: a source and increasing indices.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> Selection(Tetrominoes(num_scenes=10), range(2, 8)).indices[0]
    2
    """

    source: Source
    indices: Sequence[int]


class ShardTask(NamedTuple):
    """One shard to write.

    Attributes:
        split: its split.
        name: its file name.
        source: source of its records.
        first: index of its first scene in the split.
        runs: indices of its records in the source.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> ShardTask("train", "train-000000.tar", Tetrominoes(num_scenes=10), first=0, runs=(range(4),)).samples
    4
    """

    split: str
    name: str
    source: Source
    first: int
    runs: Runs

    @property
    def samples(self) -> int:
        """Number of scenes."""
        return count(self.runs)


def consecutive(source: Source, samples: Mapping[str, int]) -> dict[str, Selection]:
    """Select splits from a source one after the other; splits of 0 scenes are omitted.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> splits = consecutive(Tetrominoes(num_scenes=10), {"train": 8, "val": 0, "test": 2})
    >>> {split: selection.indices for split, selection in splits.items()}
    {'train': range(0, 8), 'test': range(8, 10)}
    """
    stops = list(itertools.accumulate(samples.values(), initial=0))
    ranges = itertools.starmap(range, itertools.pairwise(stops))
    return {split: Selection(source, indices) for split, indices in zip(samples, ranges, strict=True) if indices}


def shard_tasks(split: str, selection: Selection, shard_size: int) -> Iterator[ShardTask]:
    """Divide a split into shards.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> tasks = shard_tasks("train", Selection(Tetrominoes(num_scenes=10), range(10)), shard_size=4)
    >>> [(task.name, task.samples) for task in tasks]
    [('train-000000.tar', 4), ('train-000001.tar', 4), ('train-000002.tar', 2)]
    """
    source, indices = selection
    for number, first in enumerate(range(0, len(indices), shard_size)):
        runs = to_runs(indices[first : first + shard_size])
        yield ShardTask(split, shard_name(split, number), source, first, runs)


def streams(tasks: list[ShardTask]) -> Iterator[tuple[ShardTask, Iterator[Record]]]:
    """Pair each shard with its records, reading each source sequentially across consecutive shards.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> tasks = list(shard_tasks("train", Selection(Tetrominoes(num_scenes=5), range(5)), shard_size=4))
    >>> [len(list(records)) for _, records in streams(tasks)]
    [4, 1]
    """
    for sweep in _sweeps(tasks):
        records = sweep[0].source.select(join_runs(run for task in sweep for run in task.runs))
        for task in sweep:
            yield task, itertools.islice(records, task.samples)


def _sweeps(tasks: list[ShardTask]) -> list[list[ShardTask]]:
    """Group consecutive shards that continue in the same source."""
    sweeps: list[list[ShardTask]] = []
    for task in tasks:
        before = sweeps[-1][-1] if sweeps else None
        if before is not None and before.source is task.source and before.runs[-1].stop <= task.runs[0].start:
            sweeps[-1].append(task)
        else:
            sweeps.append([task])
    return sweeps
