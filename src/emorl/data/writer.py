"""Writing shards: atomically, resumably, byte for byte the same for the same records.

A folder without a manifest is unfinished. Its progress file is the manifest of the shards that are whole so far.
"""

import hashlib
import io
import itertools
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.data.errors import DataError
from emorl.data.files import atomic, locked
from emorl.data.manifest import MANIFEST, Manifest, Shard, Split
from emorl.data.records import Record, check_record
from emorl.data.selection import Selection, ShardTask, shard_tasks, streams
from emorl.data.shards import encode_record

SHARD_SIZE = 1000

_PROGRESS = ".progress.json"


def write_shards(
    selections: Mapping[str, Selection], out: str | os.PathLike[str], shard_size: int = SHARD_SIZE
) -> Manifest:
    """Write a data set, resuming what an earlier call began and repairing what was damaged since.

    Args:
        selections: records of each split, not empty; the sources differ at most in what depends on the split.
        out: folder of the data set, new or empty, or left by the same call.
        shard_size: samples in a shard; the last one of a split may have fewer.

    Returns:
        The manifest, which is written last.

    Raises:
        DataError: if the folder holds anything else or is being written to, if a source ends early or yields a
            record that contradicts it, or if the disk is full. Whole shards are kept for the next call.
    """
    folder, header = Path(out), _header(selections)
    tasks = [task for split, selection in selections.items() for task in shard_tasks(split, selection, shard_size)]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        done = _resume(folder, header, tasks)
        missing = [task for task in tasks if task.name not in done]
        samples = sum(len(task.indices) for task in tasks)
        left = sum(len(task.indices) for task in missing)
        with tqdm(total=samples, initial=samples - left, unit="scene", disable=None) as bar:
            for task, records in streams(missing):
                done[task.name] = _write_shard(folder, task, records, bar)
                _write_manifest(folder / _PROGRESS, _manifest(header, tasks, done))
        manifest = _manifest(header, tasks, done)
        _write_manifest(folder / MANIFEST, manifest)
        (folder / _PROGRESS).unlink(missing_ok=True)
    return manifest


def _header(selections: Mapping[str, Selection]) -> Manifest:
    """Return the manifest without splits."""
    if not selections:
        raise DataError("nothing to write: every split has 0 samples; ask for at least one sample")
    source = next(iter(selections.values())).source
    return Manifest(
        dataset=source.dataset,
        variant=source.variant,
        source=source.provenance,
        image_size=source.image_size,
        max_objects=source.max_objects,
        factors=source.factors,
        splits={},
    )


def _write_shard(folder: Path, task: ShardTask, records: Iterator[Record], bar: "tqdm[None]") -> Shard:
    path, count = folder / task.name, 0
    with atomic(path) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for count, record in enumerate(records, start=1):
            _check(record, task, task.indices[count - 1])
            _add_sample(tar, f"{task.split}-{task.first + count - 1:08d}", record)
            bar.update()
        if count < len(task.indices):
            expected = f"{task.selection.indices.stop} records up to the end of the split {task.split}"
            got, remedy = f"{task.indices.start + count}", "choose smaller splits: finished shards are kept"
            raise DataError.of(_name(task), expected=expected, got=got, remedy=remedy)
    return _describe(path, count)


def _check(record: Record, task: ShardTask, index: int) -> None:
    try:
        check_record(record, task.selection.source)
    except DataError as error:
        raise DataError(f"{_name(task)}: record {index}: {error}") from error


def _name(task: ShardTask) -> str:
    source = task.selection.source
    return f"{source.provenance.get('file', source.dataset)}"


def _add_sample(tar: tarfile.TarFile, key: str, record: Record) -> None:
    """Append the members; a `TarInfo` has time 0, owner 0 and mode 0644 unless told otherwise."""
    for extension, content in encode_record(record).items():
        member = tarfile.TarInfo(f"{key}.{extension}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def _describe(path: Path, samples: int) -> Shard:
    with path.open("rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    return Shard(path.name, samples, path.stat().st_size, checksum)


def _manifest(header: Manifest, tasks: list[ShardTask], done: Mapping[str, Shard]) -> Manifest:
    """Return the manifest of each split up to its first missing shard."""
    splits = {}
    for split, group in itertools.groupby(tasks, key=lambda task: task.split):
        whole = list(itertools.takewhile(lambda task: task.name in done, group))
        if whole:
            start, stop = whole[0].indices.start, whole[-1].indices.stop
            splits[split] = Split(stop - start, (start, stop), tuple(done[task.name] for task in whole))
    return replace(header, splits=splits)


def _write_manifest(path: Path, manifest: Manifest) -> None:
    with atomic(path) as stream:
        stream.write(json.dumps(manifest.to_json(), indent=2).encode() + b"\n")


def _resume(folder: Path, header: Manifest, tasks: list[ShardTask]) -> dict[str, Shard]:
    """Return the planned shards that are there and whole, by name; refuse a folder that holds anything else."""
    finished = (folder / MANIFEST).exists()
    if not finished and not (folder / _PROGRESS).exists():
        _require_empty(folder)
        _write_manifest(folder / _PROGRESS, header)
    previous = Manifest.load(folder, MANIFEST if finished else _PROGRESS)
    planned = {(task.name, task.indices) for task in tasks}
    found = dict(_shards(previous))
    if found and (replace(previous, splits={}) != header or (finished and found.keys() != planned)):
        got = f"{'a finished' if finished else 'an unfinished'} one of {previous.dataset} from {previous.source}"
        remedy = "choose another folder, or delete this one"
        raise DataError.of(folder, expected="a new folder, or this data set to go on with", got=got, remedy=remedy)
    if not finished:
        _clear(folder, {task.name for task in tasks})
    whole = (shard for key, shard in found.items() if key in planned and _is_whole(folder, shard))
    return {shard.name: shard for shard in whole}


def _shards(manifest: Manifest) -> Iterator[tuple[tuple[str, range], Shard]]:
    """Yield the shards of a manifest, keyed by name and indices in the source."""
    for split in manifest.splits.values():
        start = split.indices[0]
        for shard in split.shards:
            yield (shard.name, range(start, start + shard.samples)), shard
            start += shard.samples


def _is_whole(folder: Path, shard: Shard) -> bool:
    path = folder / shard.name
    return path.is_file() and _describe(path, shard.samples) == shard


def _require_empty(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if names:
        got, remedy = f"{names[0]} and {len(names) - 1} more in it", "choose another folder"
        raise DataError.of(folder, expected="a new or empty folder", got=got, remedy=remedy)


def _clear(folder: Path, names: set[str]) -> None:
    """Remove what an earlier, unfinished call left and this one does not write."""
    for path in [*folder.glob("*.tar"), *folder.glob(".*.tmp")]:
        if path.name not in names:
            path.unlink()
