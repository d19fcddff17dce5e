"""Which records of which source go into which shard."""

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from emorl.data.manifest import shard_name
from emorl.data.records import Record, Source


class Selection(NamedTuple):
    """The records of a split: a range of indices of a source."""

    source: Source
    indices: range


class ShardTask(NamedTuple):
    """One shard to write: the part `indices` of what is selected for a split."""

    split: str
    name: str
    selection: Selection
    indices: range

    @property
    def first(self) -> int:
        """Index of the shard's first sample in its split."""
        return self.indices.start - self.selection.indices.start


def consecutive(source: Source, samples: Mapping[str, int]) -> dict[str, Selection]:
    """Select splits from a source one after the other, in order; splits of 0 samples are left out."""
    stops = list(itertools.accumulate(samples.values(), initial=0))
    ranges = itertools.starmap(range, itertools.pairwise(stops))
    return {split: Selection(source, indices) for split, indices in zip(samples, ranges, strict=True) if indices}


def shard_tasks(split: str, selection: Selection, shard_size: int) -> Iterator[ShardTask]:
    """Cut a split into shards."""
    for number, first in enumerate(range(0, len(selection.indices), shard_size)):
        yield ShardTask(split, shard_name(split, number), selection, selection.indices[first : first + shard_size])


def streams(tasks: list[ShardTask]) -> Iterator[tuple[ShardTask, Iterator[Record]]]:
    """Pair each shard with its records, reading on in a source where the shard before it stopped."""
    reached: tuple[Source, int] | None = None
    records: Iterator[Record] = iter(())
    for task in tasks:
        source = task.selection.source
        if reached != (source, task.indices.start):
            records = source.records(task.indices.start)
        yield task, itertools.islice(records, len(task.indices))
        reached = source, task.indices.stop
