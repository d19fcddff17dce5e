"""Writing of shards: atomic, resumable, and with equal bytes for equal records."""

import errno
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from stored import records_of

from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import read_shard, verify
from emorl.data.write.parallel import write_in_parallel
from emorl.data.write.resume import write_manifest
from emorl.data.write.selection import Selection, consecutive, shard_tasks
from emorl.data.write.writer import write_shards
from emorl.errors import DataError
from emorl.files import locked

TRAIN_7_VAL_2 = {"train": Selection(Tetrominoes(7), range(7)), "val": Selection(Tetrominoes(2, split="val"), range(2))}
TRAIN_400 = {"train": Selection(Tetrominoes(400), range(400))}


class Counting(Tetrominoes):
    """Records which scenes were generated."""

    def __init__(self, num_scenes, seed=0):
        super().__init__(num_scenes, seed)
        self.drawn = []

    def scene(self, index):
        self.drawn.append(index)
        return super().scene(index)


class Passes(Tetrominoes):
    """Records the passes in which it was read."""

    random_access = False

    def __init__(self, num_scenes):
        super().__init__(num_scenes)
        self.passes = []

    def select(self, runs):
        self.passes.append(runs)
        return super().select(runs)


class Killer(Tetrominoes):
    """Kills the process that generates scene 7, unless it created the source."""

    def __init__(self, num_scenes):
        super().__init__(num_scenes)
        self.owner = os.getpid()

    def scene(self, index):
        if index == 7 and os.getpid() != self.owner:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().scene(index)


class Stuck(Tetrominoes):
    """Never finishes scene 2, unless in the process that created the source."""

    def __init__(self, num_scenes):
        super().__init__(num_scenes)
        self.owner = os.getpid()

    def scene(self, index):
        if index == 2 and os.getpid() != self.owner:
            threading.Event().wait()
        return super().scene(index)


class Cramped(Tetrominoes):
    """Limits the file size of the process that generates scene 7."""

    def scene(self, index):
        if index == 7:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        return super().scene(index)


class Spoilt(Tetrominoes):
    def __init__(self, num_scenes, spoil):
        super().__init__(num_scenes)
        self.spoil = spoil

    def scene(self, index):
        return self.spoil(super().scene(index)) if index == 3 else super().scene(index)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def recorded(folder):
    """Return the shards in the progress file."""
    if not (folder / ".progress.json").exists():
        return []
    splits = Manifest.load(folder, ".progress.json").splits.values()
    return [shard for split in splits for shard in split.shards]


def assert_unfinished(folder, missing):
    """Check that there is no manifest, not this shard, and only whole shards in the progress file."""
    assert not (folder / "manifest.json").exists()
    assert not (folder / missing).exists()
    for shard in recorded(folder):
        assert len(list(read_shard(folder, shard))) == shard.samples


def test_what_is_written_is_read(tmp_path):
    manifest = write_shards(TRAIN_7_VAL_2, tmp_path / "out", shard_size=3)
    assert Manifest.load(tmp_path / "out") == manifest
    assert [shard.samples for shard in manifest.splits["train"].shards] == [3, 3, 1]
    assert sorted(contents(tmp_path / "out")) == [
        "manifest.json",
        *(f"train-00000{number}.tar" for number in range(3)),
        "val-000000.tar",
    ]
    for split, selection in TRAIN_7_VAL_2.items():
        for record, scene in zip(records_of(tmp_path / "out", split), selection.source.records(), strict=True):
            np.testing.assert_array_equal(record.image, scene.image, strict=True)
            np.testing.assert_array_equal(record.segmentation, scene.segmentation, strict=True)
            assert record.factors == scene.factors
    assert verify(tmp_path / "out") == []


def test_members_have_no_owner_and_no_time(tmp_path):
    write_shards(TRAIN_7_VAL_2, tmp_path, shard_size=3)
    with tarfile.open(tmp_path / "train-000001.tar") as archive:
        members = archive.getmembers()
    assert [member.name for member in members[:4]] == [
        "train-00000003.image.png",
        "train-00000003.segmentation.png",
        "train-00000003.factors.json",
        "train-00000004.image.png",
    ]
    assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {
        (0, 0, 0, "", 0o644)
    }


def test_same_input_same_bytes(tmp_path):
    write_shards(TRAIN_7_VAL_2, tmp_path / "one", shard_size=3)
    write_shards(TRAIN_7_VAL_2, tmp_path / "two", shard_size=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_splits_follow_each_other_in_a_stream(tmp_path):
    source = Counting(20)
    manifest = write_shards(consecutive(source, {"train": 5, "val": 0, "test": 4}), tmp_path, shard_size=2)
    assert {name: split.indices for name, split in manifest.splits.items()} == {"train": "0-4", "test": "5-8"}
    assert source.drawn == list(range(9))  # read once, in order
    assert records_of(tmp_path, "test")[0].factors == Tetrominoes(20).scene(5).factors


def test_any_increasing_indices(tmp_path):
    source, scenes = Counting(20), list(Tetrominoes(20).records())
    indices = {"train": [1, 2, 3, 7, 9], "val": (4, 5), "test": [11, 12, 19]}
    selections = {split: Selection(source, chosen) for split, chosen in indices.items()}
    manifest = write_shards(selections, tmp_path, shard_size=2)
    assert {name: split.indices for name, split in manifest.splits.items()} == {
        "train": "1-3,7,9",
        "val": "4-5",
        "test": "11-12,19",
    }
    for split, chosen in indices.items():
        assert [record.factors for record in records_of(tmp_path, split)] == [scenes[i].factors for i in chosen]
    assert verify(tmp_path) == []
    assert write_shards(selections, tmp_path, shard_size=2) == manifest
    assert source.drawn == [1, 2, 3, 7, 9, 4, 5, 11, 12, 19]
    with pytest.raises(DataError, match="choose another folder"):
        write_shards({**selections, "val": Selection(source, (4, 6))}, tmp_path, shard_size=2)


def test_a_source_read_in_order_is_read_once(tmp_path):
    source = Passes(20)
    selections = {"train": Selection(source, [1, 2, 9]), "test": Selection(source, [12, 15, 16])}
    write_shards(selections, tmp_path / "out", shard_size=2)
    assert source.passes == [(range(1, 3), range(9, 10), range(12, 13), range(15, 17))]
    (tmp_path / "out" / "train-000001.tar").unlink()
    write_shards(selections, tmp_path / "out", shard_size=2)
    assert source.passes[1:] == [(range(9, 10),)]

    source = Passes(20)  # repeated records need another pass
    write_shards({"b": Selection(source, range(4, 6)), "a": Selection(source, range(3))}, tmp_path / "back")
    assert source.passes == [(range(4, 6),), (range(3),)]


def test_nothing_to_write(tmp_path):
    for selections in (consecutive(Tetrominoes(1), {"train": 0}), {"train": Selection(Tetrominoes(1), range(0))}):
        with pytest.raises(DataError, match="every split has 0 scenes; ask for at least one"):
            write_shards(selections, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_source_that_ends_early(tmp_path):
    with pytest.raises(DataError, match=r"a record 7, .* split test, got the end of the source; choose smaller"):
        write_shards(consecutive(Tetrominoes(7), {"train": 4, "test": 6}), tmp_path, shard_size=2)
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read"):
        Manifest.load(tmp_path)
    assert not (tmp_path / "test-000001.tar").exists()

    source = Counting(7)  # whole shards are reused with smaller splits
    write_shards(consecutive(source, {"train": 4, "test": 3}), tmp_path, shard_size=2)
    assert source.drawn == [6]
    write_shards(consecutive(Tetrominoes(7), {"train": 4, "test": 3}), tmp_path / "clean", shard_size=2)
    clean = contents(tmp_path / "clean")
    assert {name: (tmp_path / name).read_bytes() for name in clean} == clean
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def unreadable(record):
    raise FileNotFoundError(2, "No such file or directory", "scene.png")


def test_a_source_that_cannot_be_read_is_not_taken_for_a_folder_that_cannot_be_written_to(tmp_path):
    told = "tetrominoes: expected records that can be read, got No such file or directory; check its files, and run"
    with pytest.raises(DataError, match=told):
        write_shards(consecutive(Spoilt(7, unreadable), {"test": 6}), tmp_path, shard_size=2)
    assert_unfinished(tmp_path, "test-000001.tar")
    assert [shard.name for shard in recorded(tmp_path)] == ["test-000000.tar"]


@pytest.mark.parametrize(("count", "shard_size"), [(3, 2), (7, 3), (7, 1)])
def test_finished_shards_are_not_lost_to_other_splits_or_sizes_of_shards(tmp_path, count, shard_size):
    with pytest.raises(DataError, match="choose smaller splits"):
        write_shards(consecutive(Tetrominoes(7), {"train": 10}), tmp_path, shard_size=2)
    before = contents(tmp_path)
    told = "got an unfinished one of tetrominoes with other numbers of scenes or shards; choose another"
    with pytest.raises(DataError, match=told):
        write_shards(consecutive(Tetrominoes(7), {"train": count}), tmp_path, shard_size=shard_size)
    assert contents(tmp_path) == before
    write_shards(consecutive(Tetrominoes(7), {"train": 7}), tmp_path, shard_size=2)
    assert verify(tmp_path) == []


def test_shards_that_were_not_recorded_are_not_lost_to_smaller_splits(tmp_path):
    with pytest.raises(DataError, match="choose smaller splits"):
        write_shards(consecutive(Tetrominoes(3), {"train": 4}), tmp_path, shard_size=2)
    (tmp_path / "train-000001.tar").touch()  # finished, but killed before it was recorded
    with pytest.raises(DataError, match="with other numbers of scenes"):
        write_shards(consecutive(Tetrominoes(3), {"train": 2}), tmp_path, shard_size=2)
    assert (tmp_path / "train-000001.tar").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"{}", b"[]", b"[" * 100_000])
def test_a_damaged_progress_file(tmp_path, content):
    (tmp_path / ".progress.json").write_bytes(content)
    (tmp_path / "train-000000.tar").touch()
    told = r"\.progress\.json: expected the progress file .*, got a damaged one; choose another folder, or delete this"
    with pytest.raises(DataError, match=told):
        write_shards(TRAIN_7_VAL_2, tmp_path)
    assert (tmp_path / "train-000000.tar").exists()


def test_files_of_others_stay(tmp_path):
    with pytest.raises(DataError, match="choose smaller splits"):
        write_shards(consecutive(Tetrominoes(1), {"train": 2}), tmp_path)
    others = {"originals.tar": b"a", ".notes.tmp": b"b", "photos-202601.tar": b"c"}
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    for name in ("folder.tar", "train-000009.tar", ".folder.tmp"):
        (tmp_path / name).mkdir()
    write_shards(consecutive(Tetrominoes(1), {"train": 1}), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in others} == others
    assert (tmp_path / "train-000009.tar").is_dir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda scene: scene._replace(image=scene.image[1:]), r"image: expected \(35, 35\) pixels, got \(34, 35\)"),
        (lambda scene: scene._replace(factors=scene.factors[:2]), "segmentation: .*got label 3 of 2 objects"),
        (lambda scene: scene._replace(factors=scene.factors * 2), "segmentation: .*got label 3 of 6 objects"),
        (lambda scene: scene._replace(factors=[{"x": 1.0}] * 3), r"factors: expected .*'shape'.*, got \['x'\]"),
        (
            lambda scene: scene._replace(factors=[{**f, "color": "beige"} for f in scene.factors]),
            "factor 'color': expected one of red, .*, got 'beige'",
        ),
        (
            lambda scene: scene._replace(factors=[{**f, "x": float("nan")} for f in scene.factors]),
            "factor 'x': expected a finite number, got nan",
        ),
    ],
)
def test_records_that_violate_their_source_specification(tmp_path, spoil, message):
    with pytest.raises(DataError, match=f"record 3: {message}"):
        write_shards(consecutive(Spoilt(6, spoil), {"train": 6}), tmp_path, shard_size=2)
    assert not (tmp_path / "manifest.json").exists()
    assert not (tmp_path / "train-000001.tar").exists()


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A folder of 400 scenes that were written without a pause."""
    folder = tmp_path_factory.mktemp("clean")
    write_shards(TRAIN_400, folder, shard_size=25)
    return folder


@pytest.mark.parametrize("processes", [1, 2])
def test_resumes_after_a_kill(tmp_path, clean, processes):
    out = tmp_path / "out"
    command = f"generate tetrominoes {out} --train 400 --val 0 --test 0 --shard_size 25 --processes {processes}"
    code = f"from emorl.data.cli import main; main({command.split()})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    while len(recorded(out)) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=600)  # the output ends when no process can write to it
    assert not (out / "manifest.json").exists()
    before = {out / shard.name: (out / shard.name).stat().st_mtime_ns for shard in recorded(out)}

    write_shards(TRAIN_400, out, shard_size=25)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(out) == contents(clean)


def test_any_number_of_processes_writes_the_same(tmp_path):
    write_shards(TRAIN_7_VAL_2, tmp_path / "one", shard_size=2)
    write_shards(TRAIN_7_VAL_2, tmp_path / "three", shard_size=2, processes=3)
    assert contents(tmp_path / "three") == contents(tmp_path / "one")


def test_shards_in_progress_are_given_up(tmp_path):
    """They may take minutes."""
    shards = write_in_parallel(tmp_path, list(shard_tasks("train", Selection(Stuck(4), range(4)), 2)), 2)
    assert next(shards).name == "train-000000.tar"
    shards.close()
    assert [path.name for path in tmp_path.iterdir()] == ["train-000000.tar"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_keeps_its_shards(tmp_path, number):
    out = tmp_path / "out"
    command = f"generate tetrominoes {out} --train 4000 --val 0 --test 0 --shard_size 25 --processes 2"
    code = f"import sys; from emorl.data.cli import main; sys.exit(main({command.split()}))"
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stderr=subprocess.PIPE, text=True)
    while not recorded(out):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    last = process.communicate()[1].splitlines()[-1]
    assert (process.returncode, last) == (130, "emorl-data: interrupted: run the same command again")
    assert recorded(out)


def test_shards_that_were_not_recorded_are_not_written_over_with_others(tmp_path):
    killed = consecutive(Killer(8), {"train": 8})
    with pytest.raises(DataError, match="a process that died"):
        write_shards(killed, tmp_path, shard_size=4, processes=2)
    progress = Manifest.load(tmp_path, ".progress.json")
    write_manifest(tmp_path / ".progress.json", replace(progress, splits={}))
    (tmp_path / "train-000000.tar").touch()  # finished, but killed before it was recorded
    other = {"train": Selection(Tetrominoes(8, seed=1), range(8))}
    with pytest.raises(DataError, match="got an unfinished one of tetrominoes with seed 0 instead of 1; choose"):
        write_shards(other, tmp_path, shard_size=4)
    (tmp_path / "train-000000.tar").unlink()
    write_shards(other, tmp_path, shard_size=4)


@pytest.mark.parametrize("name", ["file", "file/out"])
def test_a_folder_that_cannot_be_made_is_one_error(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"expected a folder that exists or can be made, got .*; choose another path"):
        write_shards(TRAIN_7_VAL_2, tmp_path / name)


def test_a_process_that_dies(tmp_path):
    selections = consecutive(Killer(12), {"train": 12})
    with pytest.raises(DataError, match="expected 2 processes to finish, got a process that died; run the same"):
        write_shards(selections, tmp_path / "out", shard_size=2, processes=2)
    assert_unfinished(tmp_path / "out", "train-000003.tar")
    write_shards(selections, tmp_path / "out", shard_size=2)
    write_shards(selections, tmp_path / "clean", shard_size=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")


def test_an_error_in_a_process(tmp_path):
    with pytest.raises(DataError, match=r"expected a record 7, counted from 0, .* got the end of the source; choose"):
        write_shards(consecutive(Tetrominoes(7), {"train": 8}), tmp_path, shard_size=2, processes=2)
    assert_unfinished(tmp_path, "train-000003.tar")


def test_kept_shards_are_verified(tmp_path):
    with pytest.raises(DataError, match="choose smaller splits"):
        write_shards(consecutive(Tetrominoes(6), {"train": 8}), tmp_path, shard_size=2)
    damaged = bytearray((tmp_path / "train-000001.tar").read_bytes())
    damaged[600] ^= 1
    (tmp_path / "train-000001.tar").write_bytes(damaged)
    source = Counting(8)
    write_shards(consecutive(source, {"train": 8}), tmp_path, shard_size=2)
    assert source.drawn == [2, 3, 6, 7]
    assert verify(tmp_path) == []


def test_full_disk(tmp_path, monkeypatch):
    append, count = tarfile.TarFile.addfile, 0

    def addfile(self, *args):
        nonlocal count
        count += 1
        if count > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "addfile", addfile)
        with pytest.raises(DataError, match=r"train-000001\.tar: cannot be written .*No space left.*; free some space"):
            write_shards(TRAIN_7_VAL_2, tmp_path / "out", shard_size=3)
    visible = [
        path.name for path in (tmp_path / "out").iterdir() if not path.name.endswith((".lock", ".progress.json"))
    ]
    assert visible == ["train-000000.tar"]
    write_shards(TRAIN_7_VAL_2, tmp_path / "out", shard_size=3)
    write_shards(TRAIN_7_VAL_2, tmp_path / "clean", shard_size=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_limit_of_file_size(tmp_path, processes):
    """Errors of the system as on a full disk, in this process and in others."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(DataError, match=r"train-000000\.tar: cannot be written .*too large.*; free some space"):
            write_shards(consecutive(Cramped(20), {"val": 5, "train": 9}), tmp_path, 9, processes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_unfinished(tmp_path, "train-000000.tar")
    write_shards(consecutive(Tetrominoes(20), {"val": 5, "train": 9}), tmp_path, 9)
    assert verify(tmp_path) == []


def test_one_writer_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(DataError, match="another process writes there; wait for it"):
        write_shards(TRAIN_7_VAL_2, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_taken_again_if_its_file_was_removed_in_between(tmp_path, monkeypatch):
    """By the process that held it."""
    flock = fcntl.flock

    def late(stream, operation):
        monkeypatch.undo()
        (tmp_path / ".lock").unlink()
        flock(stream, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path):
        with pytest.raises(DataError, match="another process writes there"), locked(tmp_path):
            pass
        assert (tmp_path / ".lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_another_process_on_a_new_folder_stays(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with locked(folder):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / ".lock").touch()
    assert (folder / ".lock").exists()


def test_a_url_is_not_written_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="s3://bucket/mine: expected a local path to write to, got a URL; write"):
        write_shards(TRAIN_7_VAL_2, "s3://bucket/mine")
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DataError, match=r"expected a new or empty folder, got thesis\.tex .*; choose another folder"):
        write_shards(TRAIN_7_VAL_2, tmp_path)
    assert "manifest.json" not in contents(tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        consecutive(Tetrominoes(7, seed=1), {"train": 7, "val": 2}),
        consecutive(Tetrominoes(7), {"train": 6}),
        consecutive(Tetrominoes(7), {"train": 7, "test": 2}),
    ],
)
def test_refuses_a_folder_of_another_data_set(tmp_path, other):
    write_shards(TRAIN_7_VAL_2, tmp_path, shard_size=3)
    before = contents(tmp_path)
    told = (
        "expected a new folder, .* got a finished one of tetrominoes with (seed 0 instead of 1|other numbers of scenes)"
    )
    with pytest.raises(DataError, match=told):
        write_shards(other, tmp_path, shard_size=3)
    assert {name: content for name, content in contents(tmp_path).items() if name != ".lock"} == before


def test_refuses_unfinished_work_on_another_data_set(tmp_path):
    with pytest.raises(DataError, match="choose smaller splits"):
        write_shards(consecutive(Tetrominoes(3), {"train": 4}), tmp_path, shard_size=2)
    with pytest.raises(DataError, match="got an unfinished one of tetrominoes"):
        write_shards(consecutive(Tetrominoes(4, seed=1), {"train": 4}), tmp_path, shard_size=2)


def test_a_start_without_shards_can_be_changed(tmp_path):
    with pytest.raises(DataError, match="choose smaller splits"):
        write_shards(consecutive(Tetrominoes(1), {"train": 2}), tmp_path)
    write_shards(consecutive(Tetrominoes(2, seed=1), {"train": 2}), tmp_path)
    assert verify(tmp_path) == []


def test_writing_again_repairs(tmp_path):
    write_shards(TRAIN_7_VAL_2, tmp_path, shard_size=3)
    before = contents(tmp_path)
    (tmp_path / "train-000001.tar").unlink()
    (tmp_path / "val-000000.tar").write_bytes(b"")
    (tmp_path / f".{uuid4().hex}.tmp").write_bytes(b"left by a repair that was killed")
    assert len(verify(tmp_path)) == 2
    write_shards(TRAIN_7_VAL_2, tmp_path, shard_size=3)
    assert contents(tmp_path) == before
