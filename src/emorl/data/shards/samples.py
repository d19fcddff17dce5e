"""WebDataset shards: tar files of `KEY.image.png`, `KEY.segmentation.png` and `KEY.factors.json`.

A shard is the unit of trust: it is fetched whole, compared with the manifest, and only then read.
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

MAX_PIXELS = 1 << 24  # of one image: a PNG that claims more is not decoded

_MEMBER = re.compile(r"[a-z0-9_-]+\.(image\.png|segmentation\.png|factors\.json)")
_PNG_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)

Sample = TypedDict(
    "Sample", {"__key__": str, "__url__": str, "image.png": bytes, "segmentation.png": bytes, "factors.json": bytes}
)


def encode_record(record: Record) -> dict[str, bytes]:
    """Return the members of a sample by extension: the same bytes for the same record."""
    return {
        "image.png": _to_png(record.image),
        "segmentation.png": _to_png(record.segmentation),
        "factors.json": json.dumps(record.factors, sort_keys=True, allow_nan=False).encode(),
    }


def decode_sample(sample: Sample) -> Record:
    """Decode what `read_shard` yields.

    Raises:
        DataError: unless it holds an 8-bit RGB and a gray PNG of one size and a JSON list of objects.
    """
    return Record(*_decode(sample, ALL_LABELS))  # type: ignore[arg-type]  # no part is None


def read_record(sample: Sample, spec: Spec) -> Record:
    """Decode what `read_shard` yields and check it against what the data set promises.

    Raises:
        DataError: if it cannot be decoded, or differs from the promise in image size, labels, objects or factors.
    """
    return Record(*read_parts(sample, spec, ALL_LABELS))  # type: ignore[arg-type]  # no part is None


def read_parts(sample: Sample, spec: Spec, labels: Collection[Label]) -> Parts:
    """Decode and check the image alone and, of what else is known of the scene, what is asked for.

    Raises:
        DataError: as `read_record`, of the parts that are read.
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
    """Fetch a shard, check it against its manifest entry, and yield its samples in order.

    Args:
        root: folder of the data set: a local path or a URL.
        shard: the shard's entry in the manifest.
        cache: local folder that keeps shards from URLs.

    Yields:
        A dictionary of the undecoded members, with the sample's key and the shard's location.

    Raises:
        DataError: before the first sample, if the shard is missing, differs from the manifest in size, checksum or
            number of samples, or holds anything but complete samples.
    """
    content, where = fetch_shard(root, shard, cache), locate(root, shard.name)
    samples = _samples(content, where)
    if len(samples) != shard.samples:
        got = f"{len(samples)}"
        raise DataError.of(where, expected=f"{shard.samples} samples", got=got, remedy=REMEDY)
    for sample in samples:
        yield cast(Sample, {key: value if isinstance(value, str) else bytes(value) for key, value in sample.items()})


def read_records(root: str | os.PathLike[str], manifest: Manifest, split: str) -> Iterator[Record]:
    """Yield the records of a split in order.

    Raises:
        DataError: if the data set has no such split, or is damaged.
    """
    if split not in manifest.splits:
        expected = f"a split {' or '.join(manifest.splits)}"
        raise DataError.of(root, expected=expected, got=repr(split), remedy="choose one of the data set's splits")
    for shard in manifest.splits[split].shards:
        for sample in read_shard(root, shard):
            yield read_record(sample, manifest)


def verify(root: str | os.PathLike[str]) -> list[str]:
    """Check everything in a data set: shards, samples, labels, factors and stray shards.

    Returns:
        All problems found, one line each.

    Raises:
        DataError: if there is no valid manifest to compare with.
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
    return f"{sample['__url__']}: sample {sample['__key__']}"


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
    """Group the members of a tar file to samples, all of them complete."""
    try:
        samples = list(group_by_keys(_members(memoryview(content), where)))
        for sample in samples:
            if set(sample) != Sample.__required_keys__:
                raise ValueError(f"sample {sample['__key__']} with the members {sorted(sample)[2:]}")
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise DataError.of(where, expected="a tar file of samples", got=f"{error}", remedy=REMEDY) from error
    return samples


def _members(content: memoryview, where: str) -> Iterator[dict[str, Any]]:
    """Yield the members as webdataset does, but of plain tar files only, and none with a foreign name or kind.

    webdataset's own iterator also unpacks compressed and sparse files, which may be far larger than the shard. The
    data are views: nothing is copied before a sample is due.
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
