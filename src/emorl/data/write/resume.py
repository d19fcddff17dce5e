"""Resuming an interrupted call: the finished shards in its folder.

A folder without a manifest is unfinished. Its progress file is the manifest of the shards finished so far.
"""

import itertools
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
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
_CONTENTS = "files", "sha256"  # checksums of the source, by their keys in the manifest

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

    A finished data set must be this one. Of an unfinished one, the plan must contain every shard, so that none is lost;
    but if its source has changed, its shards are worthless. Files of others stay.

    Raises:
        DataError: if the folder contains anything else.
    """
    finished = (folder / MANIFEST).exists()
    if finished:
        previous = Manifest.load(folder)
    elif (folder / PROGRESS).exists():
        previous = _progress(folder)
    else:
        _require_empty(folder)
        previous = header
    planned = {(task.name, task.runs) for task in tasks}
    found = dict(_shards(previous))
    names = {name for name, _ in found}
    files = sorted(path for path in folder.iterdir() if path.is_file())
    written = [path for path in files if path.name in names or _SHARD.fullmatch(path.name)]
    unneeded = [path for path in written if path.name not in {task.name for task in tasks}]
    changed = not finished and _changed(previous, header)
    if changed:
        if found:
            logger.warning("%s: the source has changed; all shards are written again.", folder)
        found = {}
    elif found or written:
        others = _differences(previous, header)
        if found.keys() != planned if finished else unneeded or not found.keys() <= planned:
            others.append("other numbers of scenes or shards")
        if others:
            got = f"{'a finished' if finished else 'an unfinished'} one of {previous.dataset} with {', '.join(others)}"
            remedy = "choose another folder, or delete this one"
            raise DataError.of(folder, expected="a new folder, or this data set to resume", got=got, remedy=remedy)
    if not finished and not found:
        write_manifest(folder / PROGRESS, header)
    remove_temporary(folder)
    if changed and unneeded:
        removed = some([path.name for path in unneeded])
        logger.warning("%s: removing shards that its splits do not need: %s", folder, removed)
        for path in unneeded:
            path.unlink()
    whole = (shard for key, shard in found.items() if _is_whole(folder, shard))
    return {shard.name: shard for shard in whole}


def _progress(folder: Path) -> Manifest:
    """Read the progress file of an unfinished data set."""
    try:
        return Manifest.load(folder, PROGRESS)
    except DataError as error:
        remedy = "choose another folder, or delete this one with that file"
        expected = "the progress file of an interrupted emorl-data"
        raise DataError.of(folder / PROGRESS, expected=expected, got="a damaged one", remedy=remedy) from error


def _differences(previous: Manifest, header: Manifest) -> list[str]:
    """Return in what two data sets differ."""
    if _changed(previous, header):
        return ["images or other source files that have changed since"]
    before, now = ({**vars(each), **each.source} for each in (previous, header))
    keys = (before | now).keys() - {"source", "splits", "factors", *_CONTENTS}
    found = [f"{k} {before.get(k)} instead of {now.get(k)}" for k in sorted(keys) if before.get(k) != now.get(k)]
    return [*found, *(["other factors"] if previous.factors != header.factors else [])]


def _changed(previous: Manifest, header: Manifest) -> bool:
    """Return whether both have the same source, a file or a folder of files, with other contents."""
    before, now = (
        replace(
            each,
            splits={},
            max_objects=header.max_objects,  # counted in the contents
            source={key: value for key, value in each.source.items() if key not in _CONTENTS},
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
