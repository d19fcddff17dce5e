import errno
import os
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest

from emorl.data.errors import DataError
from emorl.data.files import locked
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.manifest import Manifest
from emorl.data.selection import Selection, consecutive
from emorl.data.shards import decode_sample, read_shard, verify
from emorl.data.writer import write_shards

TRAIN_7_VAL_2 = {"train": Selection(Tetrominoes(7), range(7)), "val": Selection(Tetrominoes(2, split="val"), range(2))}


class Counting(Tetrominoes):
    """Remembers which scenes were drawn."""

    def __init__(self, num_scenes, seed=0):
        super().__init__(num_scenes, seed)
        self.drawn = []

    def scene(self, index):
        self.drawn.append(index)
        return super().scene(index)


class Spoilt(Tetrominoes):
    def __init__(self, num_scenes, spoil):
        super().__init__(num_scenes)
        self.spoil = spoil

    def scene(self, index):
        return self.spoil(super().scene(index)) if index == 3 else super().scene(index)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def records(folder, split):
    shards = Manifest.load(folder).splits[split].shards
    return [decode_sample(sample) for shard in shards for sample in read_shard(folder, shard)]


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
        for record, scene in zip(records(tmp_path / "out", split), selection.source.records(), strict=True):
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
    assert {name: split.indices for name, split in manifest.splits.items()} == {"train": (0, 5), "test": (5, 9)}
    assert source.drawn == list(range(9))  # read once, in order
    assert records(tmp_path, "test")[0].factors == Tetrominoes(20).scene(5).factors


def test_nothing_to_write(tmp_path):
    with pytest.raises(DataError, match="every split has 0 samples; ask for at least one"):
        write_shards(consecutive(Tetrominoes(1), {"train": 0}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_source_that_ends_early(tmp_path):
    with pytest.raises(DataError, match="expected 10 records up to the end of the split test, got 7; choose smaller"):
        write_shards(consecutive(Tetrominoes(7), {"train": 4, "test": 6}), tmp_path, shard_size=2)
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read"):
        Manifest.load(tmp_path)
    assert not (tmp_path / "test-000001.tar").exists()

    source = Counting(7)  # with smaller splits the whole shards count
    write_shards(consecutive(source, {"train": 4, "test": 3}), tmp_path, shard_size=2)
    assert source.drawn == [6]
    write_shards(consecutive(Tetrominoes(7), {"train": 4, "test": 3}), tmp_path / "clean", shard_size=2)
    clean = contents(tmp_path / "clean")
    assert {name: (tmp_path / name).read_bytes() for name in clean} == clean
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_shards_that_a_smaller_split_does_not_need_are_removed(tmp_path):
    with pytest.raises(DataError, match="choose smaller splits"):
        write_shards(consecutive(Tetrominoes(7), {"train": 10}), tmp_path, shard_size=2)
    write_shards(consecutive(Tetrominoes(7), {"train": 3}), tmp_path, shard_size=2)
    assert sorted(contents(tmp_path)) == ["manifest.json", "train-000000.tar", "train-000001.tar"]
    assert verify(tmp_path) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda scene: scene._replace(image=scene.image[1:]), r"image: expected \(35, 35\) pixels, got \(34, 35\)"),
        (lambda scene: scene._replace(factors=scene.factors[:2]), "scene: .*got label 3 of 2 objects"),
        (lambda scene: scene._replace(factors=scene.factors * 2), "scene: .*got label 3 of 6 objects"),
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
def test_records_that_contradict_their_source(tmp_path, spoil, message):
    with pytest.raises(DataError, match=f"record 3: {message}"):
        write_shards(consecutive(Spoilt(6, spoil), {"train": 6}), tmp_path, shard_size=2)
    assert not (tmp_path / "manifest.json").exists()
    assert not (tmp_path / "train-000001.tar").exists()


def test_resumes_after_a_kill(tmp_path):
    out, clean = tmp_path / "out", tmp_path / "clean"
    command = "generate tetrominoes {} --train 1500 --val 0 --test 0 --shard_size 100"
    code = f"from emorl.data.cli import main; main({command.format(out).split()})"
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (out / "train-000002.tar").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.json").exists()
    before = {path: path.stat().st_mtime_ns for path in sorted(out.glob("*.tar"))[:2]}

    selection = {"train": Selection(Tetrominoes(1500), range(1500))}
    write_shards(selection, out, shard_size=100)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    write_shards(selection, clean, shard_size=100)
    assert contents(out) == contents(clean)


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


def test_one_writer_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(DataError, match="another process writes there; wait for it"):
        write_shards(TRAIN_7_VAL_2, tmp_path)
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
    with pytest.raises(
        DataError, match=r"expected a new folder, .* got a finished one of tetrominoes from .*'seed': 0"
    ):
        write_shards(other, tmp_path, shard_size=3)
    assert {name: content for name, content in contents(tmp_path).items() if name != ".lock"} == before


def test_refuses_unfinished_work_on_another_data_set(tmp_path):
    with pytest.raises(DataError, match="choose smaller splits"):
        write_shards(consecutive(Tetrominoes(3), {"train": 4}), tmp_path, shard_size=2)
    with pytest.raises(DataError, match="got an unfinished one of tetrominoes"):
        write_shards(consecutive(Tetrominoes(4, seed=1), {"train": 4}), tmp_path, shard_size=2)


def test_a_start_that_yielded_nothing_binds_to_nothing(tmp_path):
    with pytest.raises(DataError, match="choose smaller splits"):
        write_shards(consecutive(Tetrominoes(1), {"train": 2}), tmp_path)
    write_shards(consecutive(Tetrominoes(2, seed=1), {"train": 2}), tmp_path)
    assert verify(tmp_path) == []


def test_writing_again_repairs(tmp_path):
    write_shards(TRAIN_7_VAL_2, tmp_path, shard_size=3)
    before = contents(tmp_path)
    (tmp_path / "train-000001.tar").unlink()
    (tmp_path / "val-000000.tar").write_bytes(b"")
    assert len(verify(tmp_path)) == 2
    write_shards(TRAIN_7_VAL_2, tmp_path, shard_size=3)
    assert contents(tmp_path) == before
