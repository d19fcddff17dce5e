"""The manifest in a data set's folder: its properties, its splits and the checksum of every shard."""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from typing import Any

from emorl.configurations import maker_of
from emorl.data.records import Factor
from emorl.data.runs import count, parse_runs
from emorl.data.schema import parse, require
from emorl.data.shards.remote import fetch, locate
from emorl.data.transforms import Crop
from emorl.errors import DataError, reason
from emorl.files import is_url

MANIFEST = "manifest.json"
FORMAT_VERSION = 1

_MAX_BYTES = 1 << 24  # maximum size of a manifest, enough for 100,000 shards


@dataclass(frozen=True)
class Shard:
    """One tar file: its name in the data set's folder, its number of scenes, its size in bytes and its checksum.

    >>> Shard("train-000000.tar", samples=1000, bytes=1_500_000, sha256="0" * 64).samples
    1000
    """

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Split:
    """One split: its number of scenes, the indices of their records in the source as runs (`3,5,8-10`), its shards.

    >>> Split(samples=5, indices="3,5,8-10", shards=(Shard("train-000000.tar", 5, 8192, "0" * 64),)).samples
    5
    """

    samples: int
    indices: str
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Manifest:
    """Description of a data set of shards; validated on construction.

    Args:
        dataset: name, such as `tetrominoes`.
        variant: variant of the data set.
        source: origin of the records: file and checksum, or generator, version and seed; and the crop, if the images
            do not show whole frames.
        image_size: height and width in pixels.
        max_objects: maximum number of objects in a scene, without the background, 1 to 255.
        factors: factors of every object.
        splits: the non-empty splits by name.
        format_version: version of the shard format.

    Raises:
        DataError: if the parts are inconsistent.

    >>> manifest = Manifest("mine", "standard", {"file": "a.h5"}, (64, 64), max_objects=5, factors=(), splits={})
    >>> manifest.slots, Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
    (6, True)
    """

    dataset: str
    variant: str
    source: dict[str, str | int]
    image_size: tuple[int, int]
    max_objects: int
    factors: tuple[Factor, ...]
    splits: dict[str, Split]
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        require(self.format_version == FORMAT_VERSION, "format_version", f"{FORMAT_VERSION}", self.format_version)
        require(min(self.image_size) > 0, "image_size", "positive numbers", self.image_size)
        require(0 < self.max_objects < 256, "max_objects", "1 to 255", self.max_objects)
        for factor in self.factors:
            require(bool(factor.classes) == (factor.kind == "discrete"), "factors", "classes if discrete", factor)
        for name, split in self.splits.items():
            _check_split(name, split)

    @property
    def slots(self) -> int:
        """Number of slots that a model needs for the data set: one per object and one for the background."""
        return self.max_objects + 1

    @property
    def title(self) -> str:
        """Name and variant of the data set."""
        return f"{self.dataset}, {self.variant}"

    def split(self, name: str, where: object, remedy: str = "choose one of the data set's splits") -> Split:
        """Return a split.

        Args:
            name: its name.
            where: the data set's folder or address, for the error.
            remedy: what to do if there is no such split.

        Raises:
            DataError: if there is none.
        """
        if name not in self.splits:
            got = ", ".join(self.splits)
            raise DataError.of(where, expected=f"a split {name!r}", got=got, remedy=remedy)
        return self.splits[name]

    def crop_left(self, crop: Crop) -> Crop:
        """Return the crop to apply to a stored image: ``square`` if the image already shows the requested crop.

        Raises:
            DataError: if the image shows a different crop.
        """
        stored = self.source.get("crop")
        if stored is not None and crop not in (stored, "square"):
            expected, remedy = f"the crop {stored!r}, which its images already show", "choose it, or another data set"
            raise DataError.of(self.dataset, expected=expected, got=repr(crop), remedy=remedy)
        return crop if stored is None else "square"

    @property
    def checksum(self) -> str:
        """SHA-256 of the canonical JSON, which changes with any change of the data set."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        return {**asdict(self), "slots": self.slots}

    @classmethod
    def from_json(cls, value: Any) -> "Manifest":
        """Build a manifest from JSON values, strictly: missing keys, unknown keys and wrong types are errors.

        Raises:
            DataError: if the values are not a valid manifest of this format version.
        """
        require(isinstance(value, dict), "manifest", "a JSON object", value)
        if not {"format_version", "splits"} & value.keys():
            expected, got = "that of a data set", "a file of another program"
            remedy = "to read the images of its folder, move it to another one"
            raise DataError.of("manifest", expected=expected, got=got, remedy=remedy)
        expected = f"{FORMAT_VERSION}, the version that this emorl reads"
        require(value.get("format_version") == FORMAT_VERSION, "format_version", expected, value.get("format_version"))
        slots = parse(int, value.get("slots"), "slots")
        manifest: Manifest = parse(cls, {key: item for key, item in value.items() if key != "slots"}, "manifest")
        require(slots == manifest.slots, "slots", f"max_objects + 1 = {manifest.slots}", slots)
        return manifest

    @classmethod
    def load(cls, root: str | os.PathLike[str], name: str = MANIFEST) -> "Manifest":
        """Read the manifest of a data set.

        Args:
            root: folder of the data set: a local path or a URL.
            name: file name of the manifest in the folder.

        Raises:
            DataError: if it does not exist or is invalid.
        """
        where = locate(root, name)
        missing = not is_url(root) and not os.path.exists(where)
        command = maker_of(os.fspath(root)) if missing else None
        content = fetch(root, name, _MAX_BYTES, command and f"make the data set: {command}")
        try:
            return cls.from_json(json.loads(content))
        except DataError as error:
            raise DataError(f"{where}: invalid manifest: {error}") from error
        except (ValueError, RecursionError) as error:  # bad JSON or UTF-8
            place, remedy = f"{where}: invalid manifest", "copy the data set again, or write it again with emorl-data"
            raise DataError.of(place, expected="JSON", got=reason(error), remedy=remedy) from error


def shard_name(split: str, number: int) -> str:
    """Return the file name of a shard.

    >>> shard_name("train", 7)
    'train-000007.tar'
    """
    return f"{split}-{number:06d}.tar"


def _check_split(name: str, split: Split) -> None:
    require(re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None, "splits", "lower-case names", name)
    require(count(parse_runs(split.indices, name)) == split.samples, name, f"{split.samples} indices", split.indices)
    total = sum(shard.samples for shard in split.shards)
    require(total == split.samples, name, f"shards of {split.samples} scenes together", total)
    for number, shard in enumerate(split.shards):
        require(shard.name == shard_name(name, number), name, f"the shard {shard_name(name, number)}", shard.name)
        require(min(shard.samples, shard.bytes) > 0, name, "positive scenes and bytes", shard)
        require(re.fullmatch("[0-9a-f]{64}", shard.sha256) is not None, name, "a SHA-256 in hex", shard.sha256)
