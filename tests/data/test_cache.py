"""The local cache of shards: fetched once, compared with the manifest, replaced if damaged."""

import errno
import multiprocessing
import os

import pytest
from failing_server import SPOIL, UNMARKED, serve

from emorl.data.shards.cache import fetch_shard
from emorl.data.shards.manifest import Manifest
from emorl.errors import DataError


@pytest.fixture(scope="module")
def shard(shards):
    return Manifest.load(shards).splits["train"].shards[0]


@pytest.fixture(scope="module")
def content(shards, shard):
    return (shards / shard.name).read_bytes()


def test_a_shard_is_fetched_once(shards, shard, content, tmp_path):
    with serve(shards) as (url, requests):
        assert [fetch_shard(url, shard, tmp_path / "new" / "cache") for _ in range(2)] == [content] * 2
    assert requests == [f"/{shard.name}"]
    assert [path.name for path in (tmp_path / "new" / "cache").iterdir()] == [f"{shard.sha256}.tar"]


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"x" + content[1:], lambda _: b""])
def test_a_damaged_file_is_fetched_again(shards, shard, content, tmp_path, caplog, damage):
    kept = tmp_path / f"{shard.sha256}.tar"
    kept.write_bytes(damage(content))
    with serve(shards) as (url, requests):
        assert fetch_shard(url, shard, tmp_path) == content
    assert kept.read_bytes() == content
    assert len(requests) == 1
    assert f"{kept}: expected " in caplog.text


def test_without_a_cache_and_from_a_path_nothing_is_kept(shards, shard, content, tmp_path):
    with serve(shards) as (url, requests):
        assert [fetch_shard(url, shard) for _ in range(2)] == [content] * 2
    assert len(requests) == 2
    assert fetch_shard(shards, shard, tmp_path) == content
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("fault", [SPOIL, UNMARKED])
def test_an_altered_shard_is_fetched_again_once(shards, shard, content, tmp_path, caplog, fault, cached):
    cache = tmp_path / "cache" if cached else None
    with serve(shards, lambda requests: fault if len(requests) == 1 else None) as (url, requests):
        assert fetch_shard(url, shard, cache) == content
        assert len(requests) == 2
    assert f"{url}/{shard.name}: expected" in caplog.text
    with serve(shards, lambda _: fault) as (url, requests):
        with pytest.raises(DataError, match=rf"{url}/{shard.name}: expected .*; fetch the shard again, or delete it"):
            fetch_shard(url, shard)
        assert len(requests) == 2


def test_an_altered_shard_is_not_kept(shards, shard, tmp_path):
    with serve(shards, lambda _: SPOIL) as (url, _), pytest.raises(DataError, match="expected SHA-256"):
        fetch_shard(url, shard, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_share_a_cache(shards, shard, content, tmp_path):
    with serve(shards) as (url, requests), multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.starmap(fetch_shard, [(url, shard, tmp_path)] * 12, chunksize=1) == [content] * 12
        pool.close()
        pool.join()
    assert 1 <= len(requests) <= 4
    assert [path.name for path in tmp_path.iterdir()] == [f"{shard.sha256}.tar"]


def test_a_full_disk_is_one_error_and_keeps_nothing(shards, shard, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with (
        serve(shards) as (url, _),
        pytest.raises(DataError, match=rf"{shard.sha256}\.tar: cannot be written .*No space left.*; free some space"),
    ):
        fetch_shard(url, shard, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_made(shards, shard, tmp_path):
    (tmp_path / "file").touch()
    with serve(shards) as (url, _), pytest.raises(DataError, match=r"file/.*\.tar: cannot be written"):
        fetch_shard(url, shard, tmp_path / "file")
