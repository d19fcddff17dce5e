"""The manifest beside the shards: what the data set is, how long it is, and the checksum of every shard."""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from typing import Any

from emorl.data.records import Factor
from emorl.data.runs import count, parse_runs
from emorl.data.schema import parse, require
from emorl.data.shards.remote import fetch, locate
from emorl.data.transforms import Crop
from emorl.errors import DataError

MANIFEST = "manifest.json"
FORMAT_VERSION = 1

_MAX_BYTES = 1 << 24  # of a manifest: enough for 100,000 shards


@dataclass(frozen=True)
class Shard:
    """One tar file: its name in the data set's folder, its number of samples, its size and its checksum."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Split:
    """One split: its number of samples, the indices of their records in the source as runs (`3,5,8-10`), its shards."""

    samples: int
    indices: str
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Manifest:
    """Description of a data set of shards, valid by construction.

    Args:
        dataset: name, such as `tetrominoes`.
        variant: variant of the data set.
        source: where the records come from: file and checksum, or generator, version and seed; and the crop that the
            images show, if they are no whole frames.
        image_size: height and width in pixels.
        max_objects: largest number of objects in a scene, the background not counted.
        factors: factors of every object.
        splits: the splits by name; a split without samples is left out.
        format_version: version of the shard format.

    Raises:
        DataError: if the parts contradict each other.
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
        """Number of slots that the data set needs: one per object and one for the background."""
        return self.max_objects + 1

    def crop_left(self, crop: Crop) -> Crop:
        """Return what is left to crop of a stored image: ``square``, if it shows the crop already.

        Raises:
            DataError: if it shows another.
        """
        stored = self.source.get("crop")
        if stored is not None and crop not in (stored, "square"):
            expected, remedy = f"the crop {stored!r}, which its images show already", "choose it, or another data set"
            raise DataError.of(self.dataset, expected=expected, got=repr(crop), remedy=remedy)
        return crop if stored is None else "square"

    @property
    def checksum(self) -> str:
        """SHA-256 of the canonical JSON: changes whenever anything in the data set does."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        return {**asdict(self), "slots": self.slots}

    @classmethod
    def from_json(cls, value: Any) -> "Manifest":
        """Build a manifest from JSON values, strictly: no key may be missing, unknown or of another type.

        Raises:
            DataError: if the values are no valid manifest of this format version.
        """
        require(isinstance(value, dict), "manifest", "a JSON object", value)
        expected = f"{FORMAT_VERSION}, the one that this version of emorl reads"
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
            DataError: if there is none, or it is not valid.
        """
        content = fetch(root, name, _MAX_BYTES)
        try:
            return cls.from_json(json.loads(content))
        except (ValueError, RecursionError) as error:  # a DataError is a ValueError, and so is bad JSON or UTF-8
            raise DataError(f"{locate(root, name)}: no valid manifest: {error}") from error


def shard_name(split: str, number: int) -> str:
    """Return the file name of a shard."""
    return f"{split}-{number:06d}.tar"


def _check_split(name: str, split: Split) -> None:
    require(re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None, "splits", "lower-case names", name)
    require(count(parse_runs(split.indices, name)) == split.samples, name, f"{split.samples} indices", split.indices)
    total = sum(shard.samples for shard in split.shards)
    require(total == split.samples, name, f"shards of {split.samples} samples together", total)
    for number, shard in enumerate(split.shards):
        require(shard.name == shard_name(name, number), name, f"the shard {shard_name(name, number)}", shard.name)
        require(min(shard.samples, shard.bytes) > 0, name, "positive samples and bytes", shard)
        require(re.fullmatch("[0-9a-f]{64}", shard.sha256) is not None, name, "a SHA-256 in hex", shard.sha256)
