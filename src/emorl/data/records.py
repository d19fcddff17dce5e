"""What every source of scenes yields: records of an image, its segmentation and the factors of its objects."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from emorl.data.runs import Runs
from emorl.errors import DataError

Value = float | str
Objects = list[dict[str, Value]]
Label = Literal["segmentation", "factors"]  # what is known of a scene beside its image
ALL_LABELS: tuple[Label, ...] = ("segmentation", "factors")

_REMEDY = "correct the source that yields the record"


@dataclass(frozen=True)
class Factor:
    """A ground-truth factor of variation of an object.

    Args:
        name: key of the factor in the objects of a record.
        kind: a `continuous` factor is a finite number, a `discrete` one is the name of its class.
        classes: names of the classes of a discrete factor, in the order of their codes.
    """

    name: str
    kind: Literal["continuous", "discrete"]
    classes: tuple[str, ...] = ()

    def encode(self, value: object) -> float:
        """Return a continuous value itself, a discrete value's index in `classes`.

        Raises:
            DataError: if the value is not one of this factor.
        """
        if self.kind == "discrete" and value in self.classes:
            return float(self.classes.index(str(value)))
        if self.kind == "continuous" and isinstance(value, float) and math.isfinite(value):
            return value
        expected = f"one of {', '.join(self.classes)}" if self.kind == "discrete" else "a finite number"
        raise DataError.of(f"factor {self.name!r}", expected=expected, got=repr(value), remedy=_REMEDY)


class Record(NamedTuple):
    """One scene.

    Attributes:
        image: RGB, 0 to 255.
        segmentation: label map, 0 is the background, i the i-th object.
        factors: one dictionary per object, the i-th object's at i - 1. An object that others hide altogether is one
            of them, too: no pixel has its label.
    """

    image: UInt8[np.ndarray, "height width 3"]
    segmentation: UInt8[np.ndarray, "height width"]
    factors: Objects


class Parts(NamedTuple):
    """A scene, as far as it was read; see `Record`."""

    image: UInt8[np.ndarray, "height width 3"]
    segmentation: UInt8[np.ndarray, "height width"] | None
    factors: Objects | None


@runtime_checkable
class Spec(Protocol):
    """What all records of a data set have in common."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def max_objects(self) -> int:
        """Largest number of objects in a scene, the background not counted."""

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Factors that every object has."""


class Source(ABC):
    """A repeatable sequence of records: a file in one of the world's formats, or a generator.

    Attributes:
        dataset: name of the data set, such as `tetrominoes`.
        variant: variant of the data set, `standard` where there is only one.
        image_size: height and width in pixels.
        max_objects: largest number of objects in a scene, the background not counted.
        factors: factors that every object has.
        random_access: whether `records` starts anywhere at the same cost. Such a source may be written by several
            processes and is pickled for them.
    """

    dataset: str
    variant: str
    image_size: tuple[int, int]
    max_objects: int
    factors: tuple[Factor, ...]
    random_access: bool = False

    @property
    @abstractmethod
    def provenance(self) -> dict[str, str | int]:
        """Where the records come from: enough to tell whether two sources yield the same ones.

        Raises:
            DataError: if a file cannot be read.
        """

    @abstractmethod
    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the records from index `start` on, the same ones each time.

        Raises:
            DataError: on data that is damaged or not in the source's format.
        """

    def select(self, runs: Runs) -> Iterator[Record]:
        """Yield the records of some runs of indices, fewer if the source ends before.

        Raises:
            DataError: as `records`.
        """
        for run in runs:
            yield from islice(self.records(run.start), len(run))


def file_provenance(path: Path) -> dict[str, str | int]:
    """Return the name and the SHA-256 checksum of a source file."""
    try:
        with path.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return {"file": path.name, "sha256": checksum}


def label_map(
    masks: UInt8[np.ndarray, "entities height width"], visible: Bool[np.ndarray, " entities"]
) -> tuple[UInt8[np.ndarray, "height width"], list[int]]:
    """Turn one mask per entity, entity 0 being the background, into a segmentation.

    Args:
        masks: non-zero where the entity is seen.
        visible: which entities are part of the scene.

    Returns:
        The segmentation, its visible objects numbered consecutively from 1, and their entities in that order.

    Raises:
        DataError: unless each pixel belongs to exactly one entity, which is the background or visible.
    """
    covered = masks > 0
    if not (covered.sum(axis=0, dtype=np.uint16) == 1).all():
        raise DataError.of("masks", expected="one entity in each pixel", got="none or several", remedy=_REMEDY)
    kept = [entity for entity in range(1, len(masks)) if visible[entity]]
    if covered[[entity for entity in range(1, len(masks)) if not visible[entity]]].any():
        raise DataError.of("masks", expected="visible entities", got="an invisible one", remedy=_REMEDY)
    labels = np.zeros(len(masks), dtype=np.uint8)
    labels[kept] = np.arange(1, len(kept) + 1)
    return labels[covered.argmax(axis=0)], kept


def check_record(record: Record | Parts, spec: Spec) -> None:
    """Check a record, or the parts of it that were read, against what its data set promises.

    Raises:
        DataError: on another image size, too many objects, a label without an object, or other factors.
    """
    for name, pixels in (("image", record.image), ("segmentation", record.segmentation)):
        if pixels is not None and pixels.shape[:2] != spec.image_size:
            raise DataError.of(name, expected=f"{spec.image_size} pixels", got=f"{pixels.shape[:2]}", remedy=_REMEDY)
    objects = spec.max_objects if record.factors is None else len(record.factors)
    label = 0 if record.segmentation is None else int(record.segmentation.max())
    if not label <= objects <= spec.max_objects:
        expected = f"labels up to the number of objects, at most {spec.max_objects}"
        raise DataError.of("scene", expected=expected, got=f"label {label} of {objects} objects", remedy=_REMEDY)
    names = sorted(factor.name for factor in spec.factors)
    for factors in record.factors or ():
        if sorted(factors) != names:
            raise DataError.of("factors", expected=f"{names}", got=f"{sorted(factors)}", remedy=_REMEDY)
        for factor in spec.factors:
            factor.encode(factors[factor.name])
