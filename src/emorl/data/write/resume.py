"""Resuming an interrupted call: the finished shards in its folder.

A folder without a manifest is unfinished. Its progress file is the manifest of the shards finished so far.
"""

import itertools
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path

from emorl.data.folders import some
from emorl.data.runs import Runs, count, format_runs, join_runs, parse_runs, to_runs
from emorl.data.shards.manifest import MANIFEST, Manifest, Shard, Split
from emorl.data.write.selection import ShardTask
from emorl.data.write.shard_writer import describe
from emorl.errors import DataError
from emorl.files import atomic, remove_temporary

PROGRESS = ".progress.json"

_SHARD = re.compile(r"(train|val|test)-\d{6}\.tar")
_PARTS = [field.name for field in fields(Manifest) if field.name != "splits"]

logger = logging.getLogger(__name__)


def with_shards(header: Manifest, tasks: list[ShardTask], done: Mapping[str, Shard]) -> Manifest:
    """Return the manifest with the shards of each split up to its first missing one."""
    splits = {}
    for split, group in itertools.groupby(tasks, key=lambda task: task.split):
        whole = list(itertools.takewhile(lambda task: task.name in done, group))
        if whole:
            runs = join_runs(run for task in whole for run in task.runs)
            splits[split] = Split(count(runs), format_runs(runs), tuple(done[task.name] for task in whole))
    return replace(header, splits=splits)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest, or a progress file.

    Raises:
        DataError: if the disk is full.
    """
    with atomic(path) as stream:
        stream.write(json.dumps(manifest.to_json(), indent=2).encode() + b"\n")


def resume(folder: Path, header: Manifest, tasks: list[ShardTask]) -> dict[str, Shard]:
    """Return the planned shards that are already in the folder and undamaged, by name.

    Removes what an earlier call left and this one does not need; files of others stay.

    Raises:
        DataError: if the folder contains anything else.
    """
    finished = (folder / MANIFEST).exists()
    if finished or (folder / PROGRESS).exists():
        previous = Manifest.load(folder, MANIFEST if finished else PROGRESS)
    else:
        _require_empty(folder)
        previous = header
    planned = {(task.name, task.runs) for task in tasks}
    found = dict(_shards(previous))
    files = [path for path in folder.iterdir() if path.is_file()]
    if not finished and _changed(previous, header):
        if found:
            logger.warning("%s: the source has changed; all shards are written again.", folder)
        found = {}
    elif found or any(_SHARD.fullmatch(path.name) for path in files):
        others = [name for name in _PARTS if getattr(previous, name) != getattr(header, name)]
        if finished and found.keys() != planned:
            others.append("numbers of scenes")
        if others:
            got = f"{'a finished' if finished else 'an unfinished'} one of {_described(previous, header, others)}"
            remedy = "choose another folder, or delete this one"
            raise DataError.of(folder, expected="a new folder, or this data set to resume", got=got, remedy=remedy)
    if not finished and not found:
        write_manifest(folder / PROGRESS, header)
    remove_temporary(folder)
    if not finished:
        written = {shard.name for split in previous.splits.values() for shard in split.shards}
        written |= {path.name for path in files if _SHARD.fullmatch(path.name)}
        unneeded = sorted(path for path in files if path.name in written - {task.name for task in tasks})
        if unneeded:  # left by a call with larger splits
            names = some([path.name for path in unneeded])
            logger.warning("%s: removing shards that these splits do not need: %s", folder, names)
            _remove(unneeded)
    whole = (shard for key, shard in found.items() if key in planned and _is_whole(folder, shard))
    return {shard.name: shard for shard in whole}


def _described(previous: Manifest, header: Manifest, others: list[str]) -> str:
    """Return the name of the previous data set, and in what it differs."""
    if _changed(previous, header):
        return f"{previous.dataset}, whose images or other source files have changed since"
    origin = ", ".join(f"{key} {value}" for key, value in previous.source.items())
    return f"{previous.dataset} from {origin}, with other {' and '.join(others).replace('_', ' ')}"


def _changed(previous: Manifest, header: Manifest) -> bool:
    """Return whether both have the same source, a file or a folder of files, with other contents."""
    before, now = (
        replace(
            each,
            splits={},
            max_objects=header.max_objects,  # counted in the contents
            source={key: value for key, value in each.source.items() if key not in ("files", "sha256")},
        )
        for each in (previous, header)
    )
    return before == now and previous.source != header.source


def _shards(manifest: Manifest) -> Iterator[tuple[tuple[str, Runs], Shard]]:
    """Yield the shards of a manifest, keyed by name and indices in the source."""
    for name, split in manifest.splits.items():
        indices = itertools.chain.from_iterable(parse_runs(split.indices, name))
        for shard in split.shards:
            yield (shard.name, to_runs(itertools.islice(indices, shard.samples))), shard


def _is_whole(folder: Path, shard: Shard) -> bool:
    path = folder / shard.name
    return path.is_file() and describe(path, shard.samples) == shard


def _require_empty(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if names:
        got = f"{some(names)} in it"
        raise DataError.of(folder, expected="a new or empty folder", got=got, remedy="choose another folder")


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
