"""Reading of files by path or URL: retries, errors and quoted names."""

import logging
import socket
import sys

import aiohttp
import fsspec
import pytest
from failing_server import CUT, DROP, STALL, serve

from emorl.data.shards import remote
from emorl.data.shards.remote import TRIES, fetch, locate
from emorl.errors import DataError

CONTENT = bytes(range(256)) * 100
REQUESTS = {DROP: 2}  # requests per try: aiohttp itself retries if a connection is closed without an answer


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(remote, "BACKOFF", 0.002)
    monkeypatch.setitem(remote._HTTP, "timeout", aiohttp.ClientTimeout(total=None, sock_read=20))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "some.tar").write_bytes(CONTENT)
    return tmp_path


@pytest.mark.parametrize("root", ["/data/set", "/data/set/", "s3://bucket/set", "https://host/set/"])
def test_a_file_is_in_its_folder(root):
    assert locate(root, "a.tar") == f"{root.rstrip('/')}/a.tar"


def test_reads_from_paths_and_urls(folder):
    fsspec.filesystem("memory").pipe_file("/set/some.tar", CONTENT)
    with serve(folder) as (url, requests):
        for root in (folder, str(folder), f"file://{folder}", "memory://set", url, url + "/"):
            assert fetch(root, "some.tar", len(CONTENT)) == CONTENT
        assert requests == ["/some.tar"] * 2


def test_reads_names_that_a_url_has_to_quote(folder):
    (folder / "my ü+%").mkdir()
    (folder / "my ü+%" / "some.tar").write_bytes(CONTENT)
    with serve(folder) as (url, _):
        assert fetch(f"{url}/my ü+%25", "some.tar", len(CONTENT)) == CONTENT


def test_a_large_local_file_is_not_read_to_its_end(folder):
    with (folder / "large").open("wb") as stream:
        stream.truncate(1 << 30)
    assert len(fetch(folder, "large", 100)) <= 1 << 20


@pytest.mark.parametrize("fault", [408, 429, 500, 503, DROP, CUT, STALL])
def test_transient_faults_are_retried(folder, caplog, fault, monkeypatch):
    if fault is STALL:
        monkeypatch.setitem(remote._HTTP, "timeout", aiohttp.ClientTimeout(total=None, sock_read=1))
    failing = 2 * REQUESTS.get(fault, 1)
    with serve(folder, lambda requests: fault if len(requests) <= failing else None) as (url, requests):
        assert fetch(url, "some.tar", len(CONTENT)) == CONTENT
    assert len(requests) == failing + 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    first, second = caplog.messages
    assert first.startswith(f"{url}/some.tar: ")
    assert f"; try 2 of {TRIES} in 0.0 s" in first
    assert f"; try 3 of {TRIES} in 0.0 s" in second
    assert ("Timeout" in first) == (fault is STALL)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(500, "HTTP status 500"), (DROP, "Server disconnected"), (CUT, "Response payload is not completed")],
)
def test_a_transient_fault_that_persists_is_one_error(folder, fault, reason):
    with serve(folder, lambda _: fault) as (url, requests):
        message = rf"^{url}/some\.tar: cannot be read in {TRIES} tries \({reason}.*\); check the network and the server"
        with pytest.raises(DataError, match=message):
            fetch(url, "some.tar", len(CONTENT))
    assert len(requests) == TRIES * REQUESTS.get(fault, 1)


def test_an_unreachable_server_is_one_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # without listening
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(DataError, match=rf"{url}/some\.tar: cannot be read in {TRIES} tries \(Connect"):
            fetch(url, "some.tar", 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_lasting_faults_are_not_retried(folder, caplog, status):
    with serve(folder, lambda _: status) as (url, requests):
        reason = r"No such file or directory" if status == 404 else f"HTTP status {status}"
        with pytest.raises(DataError, match=rf"{url}/some\.tar: cannot be read \({reason}\); check the path"):
            fetch(url, "some.tar", len(CONTENT))
    assert (len(requests), caplog.messages) == (1, [])


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("{}/nowhere", "No such file or directory"),
        ("file://{}/nowhere", "No such file or directory"),
        ("memory://nowhere", "No such file or directory"),
        ("gopher://host", "Protocol not known: gopher"),
    ],
)
def test_a_root_that_does_not_exist(tmp_path, root, reason):
    with pytest.raises(DataError, match=rf"some\.tar: cannot be read \({reason}.*\); check the path"):
        fetch(root.format(tmp_path), "some.tar", 1)


def test_the_library_of_a_file_system_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(DataError, match=r"gs://bucket/some\.tar: cannot be read \(Please install gcsfs"):
        fetch("gs://bucket", "some.tar", 1)


def test_the_waits_increase_and_vary(folder, monkeypatch):
    waits = []
    monkeypatch.setattr(remote, "BACKOFF", 1.0)
    monkeypatch.setattr(remote.time, "sleep", waits.append)
    with serve(folder, lambda _: 503) as (url, _):
        for _ in range(2):
            with pytest.raises(DataError):
                fetch(url, "some.tar", 1)
    one, other = waits[: TRIES - 1], waits[TRIES - 1 :]
    assert one != other
    assert all(2**n / 2 <= wait <= 2**n for half in (one, other) for n, wait in enumerate(half))


def test_reads_from_s3(folder, monkeypatch):
    """The local server answers the request of s3fs, a GET of `/bucket/key`."""
    pytest.importorskip("s3fs", reason="s3:// needs s3fs: pip install emorl[s3]")
    (folder / "bucket" / "set").mkdir(parents=True)
    (folder / "bucket" / "set" / "some.tar").write_bytes(CONTENT)
    with serve(folder, lambda requests: CUT if len(requests) == 1 else None) as (url, requests):
        monkeypatch.setitem(fsspec.config.conf, "s3", {"anon": True, "endpoint_url": url})
        assert fetch("s3://bucket/set", "some.tar", len(CONTENT)) == CONTENT
        assert requests == ["/bucket/set/some.tar"] * 2
        with pytest.raises(DataError, match=r"s3://nowhere/set/some\.tar: cannot be read \(No such file"):
            fetch("s3://nowhere/set", "some.tar", 1)
