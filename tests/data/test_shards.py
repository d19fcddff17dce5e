"""Shards and manifests: samples, checks, and damaged files."""

import contextlib
import functools
import gzip
import hashlib
import io
import json
import pickle
import re
import shutil
import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest
from failing_server import CUT, serve
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.records import ALL_LABELS, Record
from emorl.data.shards import remote
from emorl.data.shards.manifest import Manifest, Shard
from emorl.data.shards.samples import encode_record, read_record, read_shard, verify
from emorl.data.stream.scenes import ShardReader
from emorl.data.write.selection import consecutive
from emorl.data.write.writer import write_shards
from emorl.errors import DataError

SCENE = Tetrominoes(1).scene(0)
MEMBERS = encode_record(SCENE)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine")
    write_shards(consecutive(Tetrominoes(6), {"train": 4, "test": 2}), folder, shard_size=2)
    return folder


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "set")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def tar(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def complete(key="a", **changes):
    return [(f"{key}.{extension}", content) for extension, content in {**MEMBERS, **changes}.items()]


def read(folder, content, samples=1):
    """Read a shard with a manifest entry that matches its content."""
    (folder / "train-000000.tar").write_bytes(content)
    shard = Shard("train-000000.tar", samples, len(content), hashlib.sha256(content).hexdigest())
    return list(read_shard(folder, shard))


def decode(**changes):
    return read_record({"__key__": "k", "__url__": "some.tar", **MEMBERS, **changes}, Tetrominoes(1))


def test_samples_carry_their_key_and_place(pristine):
    shard = Manifest.load(str(pristine)).splits["train"].shards[1]
    samples = list(read_shard(str(pristine), shard))
    assert [sample["__key__"] for sample in samples] == ["train-00000002", "train-00000003"]
    assert {sample["__url__"] for sample in samples} == {str(pristine / "train-000001.tar")}
    assert set(samples[0]) == {"__key__", "__url__", "image.png", "segmentation.png", "factors.json"}


@settings(deadline=None)
@given(data=st.data())
def test_damaged_shards_are_refused(pristine, scratch, data):
    shard = Manifest.load(pristine).splits["train"].shards[0]
    content = bytearray((pristine / shard.name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1), label="place")
    if data.draw(st.booleans(), label="cut"):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255), label="flip")
    (scratch / shard.name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{shard.name}: expected .*; fetch the shard again"):
        next(read_shard(scratch, shard))


@settings(deadline=None)
@given(place=st.integers(0, 10239), byte=st.integers(0, 255), size=st.integers(0, 10240))
def test_any_tar_with_the_right_checksum_is_read_or_refused(scratch, place, byte, size):
    content = bytearray(tar(complete("a") + complete("b")))
    content[place % len(content)] = byte
    with contextlib.suppress(DataError):
        samples = read(scratch, bytes(content[: size + 1]), samples=2)
        assert len(samples) == 2
        for sample in samples:
            assert isinstance(read_record(sample, Tetrominoes(1)), Record)


@settings(deadline=None)
@given(content=st.binary(max_size=2000))
def test_any_bytes_with_the_right_checksum_are_refused(scratch, content):
    with pytest.raises(DataError):
        read(scratch, content or b"x")


def link(name):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def negative():
    """A header with a negative size, which refers back to itself."""
    content = bytearray(tar(complete()))
    header = tarfile.TarInfo("a.image.png").tobuf(tarfile.GNU_FORMAT)
    header = bytearray(header[:124] + b"\xff" * 10 + b"\xfc\x00" + header[136:])  # -1024 in base 256
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    return bytes(header) + bytes(content)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (tar([("../a.image.png", b"")]), r"the member '\.\./a\.image\.png'"),
        (tar([("/a.image.png", b"")]), r"the member '/a\.image\.png'"),
        (tar([*complete(), ("a.exe", b"")]), r"the member 'a\.exe'"),
        (tar([(link("a.image.png"), b"")]), "of type b'2'"),
        (tar(complete()[:2]), r"scene a with the members \['image\.png', 'segmentation\.png'\]"),
        (tar(complete() + complete()[2:]), "duplicate"),
        (tar(complete("a") + complete("b")), "expected 1 scenes, got 2"),
        (tar([]), "expected 1 scenes, got 0"),
        (gzip.compress(tar(complete())), "expected a tar file of scenes"),
        (negative(), "and size -1024"),
    ],
)
def test_tar_files_of_anything_else(tmp_path, content, got):
    with pytest.raises(DataError, match=rf"train-000000\.tar: .*{got}"):
        read(tmp_path, content)


def test_missing_shard(folder):
    shard = Manifest.load(folder).splits["test"].shards[0]
    (folder / shard.name).unlink()
    with pytest.raises(DataError, match=r"test-000000\.tar: cannot be read \(No such file or directory\)"):
        next(read_shard(folder, shard))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image.png": png(SCENE.segmentation)}, r"image\.png: expected a PNG of mode RGB, got the mode L"),
        ({"segmentation.png": png(SCENE.image)}, r"segmentation\.png: expected a PNG of mode L, got the mode RGB"),
        ({"segmentation.png": png(np.zeros((35, 34), np.uint8))}, r"of one size, got \(35, 35\) and \(35, 34\)"),
        ({"image.png": b"GIF89a"}, "cannot identify image file"),
        ({"image.png": MEMBERS["image.png"][:-30]}, r"image\.png: expected a PNG"),
        ({"factors.json": b"[{]"}, r"factors\.json: expected JSON"),
        ({"factors.json": b"[" * 100_000}, r"factors\.json: expected JSON"),
        ({"factors.json": b'{"x": 1}'}, r"factors\.json: expected a list of objects"),
    ],
)
def test_samples_that_cannot_be_decoded(changes, message):
    with pytest.raises(DataError, match=rf"some\.tar: scene k.*{message}"):
        decode(**changes)


@pytest.mark.parametrize("side", [5000, 10_000, 50_000])
def test_decompression_bombs(side):
    content = bytearray(png(np.zeros((2, 2, 3), np.uint8)))
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with pytest.raises(DataError, match=r"image\.png: expected a PNG of mode RGB, got .* pixels"):
        decode(**{"image.png": bytes(content)})


def chunk(kind, content):
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


@pytest.mark.parametrize("place", [33, -12], ids=["before the pixels", "after the pixels"])
@pytest.mark.parametrize(
    "head", [(b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")], ids=["zTXt", "iTXt", "iCCP"]
)
def test_text_and_profiles_are_no_bombs_either(head, place):
    """Pillow decompresses at most a megabyte of each."""
    kind, start = head
    whole = png(SCENE.image)
    bomb = chunk(kind, start + zlib.compress(bytes(20 << 20)))
    tracemalloc.start()
    with contextlib.suppress(DataError):
        decode(**{"image.png": whole[:place] + bomb + whole[place:]})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(bomb) < 200_000
    assert peak < 8 << 20


def test_manifest_describes_the_data_set(pristine):
    manifest = Manifest.load(pristine)
    assert (manifest.dataset, manifest.variant, manifest.image_size) == ("tetrominoes", "standard", (35, 35))
    assert (manifest.max_objects, manifest.slots) == (3, 4)
    assert manifest.source == {"generator": "emorl.data.generate.tetrominoes", "version": 1, "seed": 0}
    assert [factor.name for factor in manifest.factors] == ["x", "y", "shape", "color"]
    assert manifest.factors[3].encode("blue") == 2
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
    assert len(manifest.checksum) == 64
    sizes = {split: (value.samples, value.indices, len(value.shards)) for split, value in manifest.splits.items()}
    assert sizes == {"train": (4, "0-3", 2), "test": (2, "4-5", 1)}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format_version"], 2, r"format_version: expected 1, the version that this emorl reads, got 2"),
        (["format_version"], None, "format_version: expected 1"),
        (["dataset"], ..., "manifest: expected the keys"),
        (["extra"], 1, "manifest: expected the keys"),
        (["dataset"], 3, r"manifest\.dataset: expected str, got 3"),
        (["image_size"], [35], r"manifest\.image_size: expected 2 values"),
        (["image_size"], [35, "35"], r"manifest\.image_size\[1\]: expected int, got '35'"),
        (["image_size"], [35, 0], "image_size: expected positive"),
        (["max_objects"], True, "expected int, got True"),
        (["max_objects"], 256, "max_objects: expected 1 to 255, got 256"),
        (["slots"], 3, r"slots: expected max_objects \+ 1 = 4, got 3"),
        (["slots"], ..., "slots: expected int, got None"),
        (["factors", 0, "kind"], "fuzzy", r"factors\[0\]\.kind: expected one of"),
        (["factors", 0, "classes"], ["a"], "factors: expected classes if discrete"),
        (["splits"], [], r"manifest\.splits: expected an object"),
        (["splits", "train", "samples"], 5, "train: expected 5 indices"),
        (["splits", "train", "indices"], "0-4", "train: expected 4 indices"),
        (["splits", "train", "shards"], {}, r"splits\.train\.shards: expected a list"),
        (["splits", "train", "shards", 0, "samples"], 1, "train: expected shards of 4 scenes together, got 3"),
        (["splits", "train", "shards", 0, "name"], "../x.tar", r"expected the shard train-000000\.tar, got '\.\./x"),
        (["splits", "train", "shards", 0, "bytes"], 0, "train: expected positive scenes and bytes"),
        (["splits", "train", "shards", 0, "sha256"], "0", "train: expected a SHA-256"),
    ],
)
def test_manifest_is_strict(folder, path, value, message):
    manifest = json.loads((folder / "manifest.json").read_text())
    place = functools.reduce(lambda node, key: node[key], path[:-1], manifest)
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=rf"manifest\.json: invalid manifest: .*{message}"):
        Manifest.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_manifest_is_json(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.json: invalid manifest"):
        Manifest.load(tmp_path)


def test_manifest_names_an_unknown_split(folder):
    content = (folder / "manifest.json").read_text().replace('"train"', '"../up"')
    (folder / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"splits: expected lower-case names, got '\.\./up'"):
        Manifest.load(folder)


def test_verify_reports_every_problem(folder):
    (folder / "old.tar").touch()
    (folder / "train-000000.tar").write_bytes(b"short")
    (folder / "test-000000.tar").unlink()
    old, short, missing = verify(folder)
    assert "old.tar: not in the manifest" in old
    assert "train-000000.tar: expected 5" not in short
    assert "train-000000.tar: expected" in short
    assert "test-000000.tar: cannot be read" in missing


def replace_test_shard(folder, content):
    (folder / "test-000000.tar").write_bytes(content)
    shard = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change_manifest(folder, ["splits", "test", "shards", 0], shard)


def change_manifest(folder, path, change):
    """Update a part of the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    functools.reduce(lambda node, key: node[key], path, manifest).update(change)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_verify_checks_the_samples(folder):
    labels = SCENE.segmentation * 2
    content = tar(complete("a", **{"segmentation.png": png(labels)}) + complete("b", **{"image.png": b"no"}))
    replace_test_shard(folder, content)
    label, image = verify(folder)
    assert "test-000000.tar: scene a: segmentation: expected labels" in label
    assert "test-000000.tar: scene b: image.png: expected a PNG" in image


def stream(folder, split):
    """Read a split with all its labels, as a loader does."""
    manifest = Manifest.load(folder)
    read = ShardReader(str(folder), manifest, split, "square", 35, 35, ALL_LABELS)
    return [decode() for _, decode in read(np.arange(manifest.splits[split].samples))]


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        ([], {"image_size": [36, 35]}, r"scene test-0000000\d: image: expected \(36, 35\) pixels, got \(35, 35\)"),
        ([], {"max_objects": 2, "slots": 3}, r"scene test-0000000\d: segmentation: expected .* at most 2, got label 3"),
        (["factors", 0], {"name": "z"}, r"scene test-0000000\d: factors: expected .*'z'\], got .*'x'"),
        (["factors", 3], {"classes": ["pink"]}, r"scene test-0000000\d: factor 'color': expected one of pink"),
        (["splits", "test"], {"samples": 3, "indices": "4-6"}, "expected 3 scenes, got 2"),
        (["splits", "test"], {"samples": 1, "indices": "4"}, "expected 1 scenes, got 2"),
        (["splits", "test", "shards", 0], {"bytes": 512}, "expected 512 bytes as in the manifest, got .* or more"),
        (["splits", "test", "shards", 0], {"sha256": "0" * 64}, "expected SHA-256 00"),
    ],
)
def test_a_manifest_that_disagrees_with_its_shards(folder, place, change, message):
    if "samples" in change:
        change_manifest(folder, ["splits", "test", "shards", 0], {"samples": change["samples"]})
    change_manifest(folder, place, change)
    found = [problem for problem in verify(folder) if "test-000000.tar" in problem]
    assert found
    assert all(re.search(rf"test-000000\.tar: {message}", problem) for problem in found)
    with pytest.raises(DataError, match=rf"test-000000\.tar: {message}.*; .+"):
        stream(folder, "test")


@pytest.mark.parametrize("split", ["train", "test"])
def test_verify_finds_the_same_over_http(folder, monkeypatch, split):
    monkeypatch.setattr(remote, "BACKOFF", 0.002)
    path = folder / f"{split}-000000.tar"
    content = path.read_bytes()
    with serve(folder) as (url, _):
        assert Manifest.load(url + "/") == Manifest.load(folder)
        assert verify(url) == []
        for damaged in (content[:-512], content[:600] + b"x" + content[601:], content + b"x", b""):
            path.write_bytes(damaged)
            (problem,) = verify(url)
            assert problem.startswith(f"{url}/{path.name}: expected ")
        path.unlink()
        (problem,) = verify(url)
        assert problem.startswith(f"{url}/{path.name}: cannot be read (No such file or directory); ")
        (folder / "manifest.json").unlink()
        with pytest.raises(DataError, match=rf"{url}/manifest\.json: cannot be read \(No such file or directory\)"):
            verify(url)


@pytest.mark.parametrize("always", [False, True])
def test_verify_over_a_bad_connection(folder, monkeypatch, always):
    monkeypatch.setattr(remote, "BACKOFF", 0.002)

    def fault(requests):
        return CUT if requests[-1] == "/test-000000.tar" and (always or requests.count(requests[-1]) == 1) else None

    with serve(folder, fault) as (url, _):
        problems = verify(url)
    assert len(problems) == always
    assert all(problem.startswith(f"{url}/test-000000.tar: cannot be read in 6 tries") for problem in problems)


def test_errors_survive_worker_processes():
    error = DataError.of("some.tar", expected="this", got="that", remedy="do so")
    assert str(pickle.loads(pickle.dumps(error))) == "some.tar: expected this, got that; do so"
    assert type(DataError(str(error))) is type(error)
