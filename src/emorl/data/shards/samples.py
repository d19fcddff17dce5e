"""WebDataset shards: tar files of `KEY.image.png`, `KEY.segmentation.png` and `KEY.factors.json`.

A shard is verified as a whole: it is fetched completely and compared with the manifest before it is read.
"""

import io
import json
import os
import re
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped]
from webdataset.tariterators import group_by_keys  # type: ignore[import-untyped]

from emorl.data.records import ALL_LABELS, Label, Parts, Record, Spec, check_record
from emorl.data.shards.cache import REMEDY, fetch_shard
from emorl.data.shards.manifest import Manifest, Shard
from emorl.data.shards.remote import locate
from emorl.errors import DataError

MAX_PIXELS = 1 << 24  # maximum pixels of an image; larger PNGs are not decoded

_MEMBER = re.compile(r"[a-z0-9_-]+\.(image\.png|segmentation\.png|factors\.json)")
_PNG_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)

Sample = TypedDict(
    "Sample", {"__key__": str, "__url__": str, "image.png": bytes, "segmentation.png": bytes, "factors.json": bytes}
)
Sample.__doc__ = """An undecoded scene: its key, the location of its shard, and its members.

>>> sorted(Sample.__required_keys__)
['__key__', '__url__', 'factors.json', 'image.png', 'segmentation.png']
"""


def encode_record(record: Record) -> dict[str, bytes]:
    """Return the members of a scene by extension: equal bytes for equal records.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> sorted(encode_record(Tetrominoes(num_scenes=1).scene(0)))
    ['factors.json', 'image.png', 'segmentation.png']
    """
    return {
        "image.png": _to_png(record.image),
        "segmentation.png": _to_png(record.segmentation),
        "factors.json": json.dumps(record.factors, sort_keys=True, allow_nan=False).encode(),
    }


def read_record(sample: Sample, spec: Spec) -> Record:
    """Decode a scene of `read_shard` and check it against the specification of its data set.

    Returns:
        The image, its segmentation and the factors of its objects.

    Raises:
        DataError: if it cannot be decoded, or differs from the specification in image size, labels, objects or factors.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> source = Tetrominoes(num_scenes=1)
    >>> sample = {"__key__": "test-0", "__url__": "test.tar", **encode_record(source.scene(0))}
    >>> len(read_record(sample, source).factors)
    3
    """
    return Record(*read_parts(sample, spec, ALL_LABELS))  # type: ignore[arg-type]  # no part is None


def read_parts(sample: Sample, spec: Spec, labels: Collection[Label]) -> Parts:
    """Decode and check the image and the requested labels of a scene.

    Returns:
        The image, and the requested labels; the others are None.

    Raises:
        DataError: as `read_record`, for the parts that are read.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> source = Tetrominoes(num_scenes=1)
    >>> sample = {"__key__": "test-0", "__url__": "test.tar", **encode_record(source.scene(0))}
    >>> read_parts(sample, source, labels=()).segmentation is None
    True
    """
    parts = _decode(sample, labels)
    try:
        check_record(parts, spec)
    except DataError as error:
        raise DataError(f"{_where(sample)}: {error}") from error
    return parts


def read_shard(
    root: str | os.PathLike[str], shard: Shard, cache: str | os.PathLike[str] | None = None
) -> Iterator[Sample]:
    """Fetch a shard, check it against its manifest entry, and yield its scenes in order.

    Args:
        root: folder of the data set: a local path or a URL.
        shard: the shard's entry in the manifest.
        cache: local folder for shards from URLs.

    Yields:
        A dictionary of the undecoded members, with the scene's key and the shard's location.

    Raises:
        DataError: before the first scene, if the shard is missing, differs from the manifest in size, checksum or
            number of scenes, or contains anything except complete scenes.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.data.write.selection import consecutive
    >>> from emorl.data.write.writer import write_shards
    >>> folder = tempfile.mkdtemp()
    >>> manifest = write_shards(consecutive(Tetrominoes(num_scenes=2, seed=0), {"test": 2}), folder)
    >>> [sample["__key__"] for sample in read_shard(folder, manifest.splits["test"].shards[0])]
    ['test-00000000', 'test-00000001']
    """
    content, where = fetch_shard(root, shard, cache), locate(root, shard.name)
    samples = _samples(content, where)
    if len(samples) != shard.samples:
        got = f"{len(samples)}"
        raise DataError.of(where, expected=f"{shard.samples} scenes", got=got, remedy=REMEDY)
    for sample in samples:
        yield cast(Sample, {key: value if isinstance(value, str) else bytes(value) for key, value in sample.items()})


def read_records(root: str | os.PathLike[str], manifest: Manifest, split: str) -> Iterator[Record]:
    """Yield the records of a split in order.

    Raises:
        DataError: if the split does not exist, or the data set is damaged.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.data.write.selection import consecutive
    >>> from emorl.data.write.writer import write_shards
    >>> folder = tempfile.mkdtemp()
    >>> manifest = write_shards(consecutive(Tetrominoes(num_scenes=2, seed=0), {"test": 2}), folder)
    >>> len(list(read_records(folder, manifest, "test")))
    2
    """
    for shard in manifest.split(split, root).shards:
        for sample in read_shard(root, shard):
            yield read_record(sample, manifest)


def verify(root: str | os.PathLike[str]) -> list[str]:
    """Check everything in a data set: shards, scenes, labels, factors, and shards that the manifest does not list.

    Returns:
        All problems found, one line each.

    Raises:
        DataError: if there is no valid manifest.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.data.write.selection import consecutive
    >>> from emorl.data.write.writer import write_shards
    >>> folder = tempfile.mkdtemp()
    >>> _ = write_shards(consecutive(Tetrominoes(num_scenes=2, seed=0), {"test": 2}), folder)
    >>> verify(folder)
    []
    """
    manifest = Manifest.load(root)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    names = {shard.name for shard in shards}
    strays = sorted(path.name for path in Path(root).glob("*.tar") if path.name not in names)
    problems = [f"{locate(root, name)}: not in the manifest; delete it or write the data set again" for name in strays]
    for shard in tqdm(shards, unit="shard", disable=None):
        problems += _shard_problems(root, shard, manifest)
    return problems


def _shard_problems(root: str | os.PathLike[str], shard: Shard, manifest: Manifest) -> Iterator[str]:
    try:
        for sample in read_shard(root, shard):
            yield from _sample_problems(sample, manifest)
    except DataError as error:
        yield str(error)


def _sample_problems(sample: Sample, manifest: Manifest) -> Iterator[str]:
    try:
        read_record(sample, manifest)
    except DataError as error:
        yield str(error)


def _where(sample: Sample) -> str:
    return f"{sample['__url__']}: scene {sample['__key__']}"


def _decode(sample: Sample, labels: Collection[Label]) -> Parts:
    where, segmentation, factors = _where(sample), None, None
    image = _from_png(sample["image.png"], "RGB", f"{where}: image.png")
    if "segmentation" in labels:
        segmentation = _from_png(sample["segmentation.png"], "L", f"{where}: segmentation.png")
        if image.shape[:2] != segmentation.shape:
            got = f"{image.shape[:2]} and {segmentation.shape}"
            raise DataError.of(where, expected="image and segmentation of one size", got=got, remedy=REMEDY)
    if "factors" in labels:
        factors = _from_json(sample["factors.json"], f"{where}: factors.json")
    return Parts(image, segmentation, factors)


def _samples(content: bytes, where: str) -> list[dict[str, Any]]:
    """Group the members of a tar file into scenes, and check that these are complete."""
    try:
        samples = list(group_by_keys(_members(memoryview(content), where)))
        for sample in samples:
            if set(sample) != Sample.__required_keys__:
                raise ValueError(f"scene {sample['__key__']} with the members {sorted(sample)[2:]}")
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise DataError.of(where, expected="a tar file of scenes", got=f"{error}", remedy=REMEDY) from error
    return samples


def _members(content: memoryview, where: str) -> Iterator[dict[str, Any]]:
    """Yield the members as webdataset does, but only of uncompressed tar files, and only regular files of known names.

    webdataset's iterator also unpacks compressed and sparse files, which can be far larger than the shard. The data
    are views, copied only when a scene is yielded.
    """
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member in archive:
            plain = member.type == tarfile.REGTYPE and not member.issparse()
            end = member.offset_data + member.size
            if not (plain and _MEMBER.fullmatch(member.name) and member.offset_data <= end <= len(content)):
                raise ValueError(f"the member {member.name!r:.100} of type {member.type!r} and size {member.size}")
            yield {"fname": member.name, "data": content[member.offset_data : end], "__url__": where}


def _to_png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def _from_png(content: bytes, mode: str, where: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
            if image.mode != mode:
                raise ValueError(f"the mode {image.mode}")
            return np.array(image)
    except _PNG_ERRORS as error:
        raise DataError.of(where, expected=f"a PNG of mode {mode}", got=f"{error}", remedy=REMEDY) from error


def _from_json(content: bytes, where: str) -> list[dict[str, float | str]]:
    try:
        objects = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError.of(where, expected="JSON", got=f"{error}", remedy=REMEDY) from error
    if not isinstance(objects, list) or not all(isinstance(factors, dict) for factors in objects):
        raise DataError.of(where, expected="a list of objects", got=f"{objects!r:.100}", remedy=REMEDY)
    return objects
