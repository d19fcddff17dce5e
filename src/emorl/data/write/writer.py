"""Writing of data sets of shards: atomic, resumable, and with equal bytes for equal records."""

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.data.records import Record
from emorl.data.shards.manifest import MANIFEST, Manifest, Shard
from emorl.data.write.parallel import write_in_parallel
from emorl.data.write.resume import PROGRESS, resume, with_shards, write_manifest
from emorl.data.write.selection import Selection, ShardTask, shard_tasks, streams
from emorl.data.write.shard_writer import write_shard
from emorl.errors import DataError, reason
from emorl.files import locked, to_write

SHARD_SIZE = 1000


def write_shards(
    selections: Mapping[str, Selection],
    out: str | os.PathLike[str],
    shard_size: int = SHARD_SIZE,
    processes: int = 1,
) -> Manifest:
    """Write a data set; resume an interrupted call, and rewrite damaged shards.

    Args:
        selections: records of each split; the sources may differ only in properties of the split.
        out: local folder of the data set: new, empty, or left by an earlier, equal call.
        shard_size: scenes per shard; the last shard of a split may have fewer.
        processes: number of processes that write if the sources have random access; other sources are read by this
            process only. The shards are equal for any number, if the records are.

    Returns:
        The manifest, which is written last.

    Raises:
        DataError: if there is nothing to write, if the folder is a URL, contains anything else or another process
            writes to it, if a source ends early or yields an invalid record, if the disk is full, or if a process dies.
            Finished shards are kept for the next call.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> selections = {"train": Selection(Tetrominoes(num_scenes=10, seed=0), range(10))}
    >>> manifest = write_shards(selections, tempfile.mkdtemp(), shard_size=4)
    >>> [shard.name for shard in manifest.splits["train"].shards]
    ['train-000000.tar', 'train-000001.tar', 'train-000002.tar']
    """
    folder, header = to_write(out), _header(selections)
    tasks = [task for split, selection in selections.items() for task in shard_tasks(split, selection, shard_size)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got, remedy = reason(error), "choose another path"
        raise DataError.of(folder, expected="a folder that exists or can be made", got=got, remedy=remedy) from error
    with locked(folder):
        done = resume(folder, header, tasks)
        missing = [task for task in tasks if task.name not in done]
        samples, left = (sum(task.samples for task in group) for group in (tasks, missing))
        with (
            tqdm(total=samples, initial=samples - left, unit="scene", disable=None) as bar,
            closing(_write(folder, missing, processes, bar)) as shards,
        ):
            for shard in shards:
                done[shard.name] = shard
                write_manifest(folder / PROGRESS, with_shards(header, tasks, done))
        manifest = with_shards(header, tasks, done)
        write_manifest(folder / MANIFEST, manifest)
        (folder / PROGRESS).unlink(missing_ok=True)
    return manifest


def _header(selections: Mapping[str, Selection]) -> Manifest:
    """Return the manifest without splits."""
    sources = [selection.source for selection in selections.values() if len(selection.indices)]
    if not sources:
        raise DataError("nothing to write: every split has 0 scenes; ask for at least one scene")
    source = sources[0]
    return Manifest(
        dataset=source.dataset,
        variant=source.variant,
        source=source.provenance,
        image_size=source.image_size,
        max_objects=source.max_objects,
        factors=source.factors,
        splits={},
    )


def _write(folder: Path, tasks: list[ShardTask], processes: int, bar: tqdm) -> Generator[Shard, None, None]:
    """Write the shards and yield each when it is finished."""
    processes = min(processes, len(tasks))
    if processes > 1 and all(task.source.random_access for task in tasks):
        for shard in write_in_parallel(folder, tasks, processes):
            bar.update(shard.samples)
            yield shard
    else:
        for task, records in streams(tasks):
            yield write_shard(folder, task, _counted(records, bar))


def _counted(records: Iterator[Record], bar: tqdm) -> Iterator[Record]:
    for record in records:
        yield record
        bar.update()
