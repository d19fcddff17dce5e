"""Records, which every source yields: an image, its segmentation and the factors of its objects."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
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
Label = Literal["segmentation", "factors"]  # ground truth of a scene in addition to its image
ALL_LABELS: tuple[Label, ...] = ("segmentation", "factors")


def checked_labels(labels: Sequence[Label]) -> tuple[Label, ...]:
    """Return labels as a tuple.

    Raises:
        DataError: if they are not a sequence of labels.

    >>> checked_labels(["factors"])
    ('factors',)
    """
    known = ", ".join(ALL_LABELS)
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        remedy = 'give a tuple, such as labels=("segmentation",), or () for the image alone'
        raise DataError.of("labels", expected=f"a tuple of {known}", got=repr(labels), remedy=remedy)
    if unknown := [label for label in labels if label not in ALL_LABELS]:
        remedy = "leave it out for the image alone"
        raise DataError.of("labels", expected=f"labels among {known}", got=f"{unknown[0]}", remedy=remedy)
    return tuple(labels)


_REMEDY = "correct the source that yields the record"


@dataclass(frozen=True)
class Factor:
    """A ground-truth factor of variation of an object.

    Args:
        name: key of the factor in the objects of a record.
        kind: a `continuous` factor is a finite number, a `discrete` one is the name of its class.
        classes: names of the classes of a discrete factor, in the order of their codes.

    >>> Factor("shape", "discrete", ("square", "ellipse")).encode("ellipse")
    1.0
    """

    name: str
    kind: Literal["continuous", "discrete"]
    classes: tuple[str, ...] = ()

    def encode(self, value: object) -> float:
        """Return a continuous value unchanged, and for a discrete value its index in `classes`.

        Raises:
            DataError: if the value is invalid for this factor.
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
        factors: one dictionary per object, the i-th object's at i - 1. A fully occluded object is included, although
            no pixel has its label.

    >>> image, segmentation = np.zeros((2, 2, 3), np.uint8), np.array([[0, 0], [0, 1]], np.uint8)
    >>> Record(image, segmentation, [{"x": 1.0}]).factors[0]
    {'x': 1.0}
    """

    image: UInt8[np.ndarray, "height width 3"]
    segmentation: UInt8[np.ndarray, "height width"]
    factors: Objects


class Parts(NamedTuple):
    """The parts of a scene that were read; see `Record`.

    >>> Parts(np.zeros((2, 2, 3), np.uint8), segmentation=None, factors=None).image.shape
    (2, 2, 3)
    """

    image: UInt8[np.ndarray, "height width 3"]
    segmentation: UInt8[np.ndarray, "height width"] | None
    factors: Objects | None


@runtime_checkable
class Spec(Protocol):
    """The properties that all records of a data set share, satisfied by every `Source` and by a manifest.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> isinstance(Tetrominoes(num_scenes=1), Spec)
    True
    """

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def max_objects(self) -> int:
        """Maximum number of objects in a scene, without the background."""

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Factors of every object."""


class Source(ABC):
    """A repeatable sequence of records: a file in a published format, or a generator.

    Attributes:
        dataset: name of the data set, such as `tetrominoes`.
        variant: variant of the data set, `standard` if there is only one.
        image_size: height and width in pixels.
        max_objects: maximum number of objects in a scene, without the background.
        factors: factors of every object.
        random_access: whether `records` can start at any index at the same cost. If so, several processes can write
            shards of the source, which is pickled for them.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> source = Tetrominoes(num_scenes=10, seed=0)
    >>> len(list(source.records(start=8))), len(list(source.select((range(2, 4), range(7, 8)))))
    (2, 3)
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
        """Origin of the records: sources with equal provenance yield equal records.

        Raises:
            DataError: if a file cannot be read.
        """

    @abstractmethod
    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the records from index `start` on; repeated calls yield the same records.

        Raises:
            DataError: on data that is damaged or not in the source's format.
        """

    def select(self, runs: Runs) -> Iterator[Record]:
        """Yield the records at runs of indices; fewer if the source ends earlier.

        Raises:
            DataError: as `records`.
        """
        for run in runs:
            yield from islice(self.records(run.start), len(run))


def file_provenance(path: Path) -> dict[str, str | int]:
    """Return the name and the SHA-256 checksum of a source file.

    Raises:
        DataError: if the file cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "empty.tfrecords")
    >>> path.touch()
    >>> file_provenance(path)["sha256"][:8]
    'e3b0c442'
    """
    try:
        with path.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return {"file": path.name, "sha256": checksum}


def label_map(
    masks: UInt8[np.ndarray, "entities height width"], visible: Bool[np.ndarray, " entities"]
) -> tuple[UInt8[np.ndarray, "height width"], list[int]]:
    """Convert one mask per entity, where entity 0 is the background, to a segmentation.

    Args:
        masks: non-zero where the entity is visible.
        visible: which entities are part of the scene.

    Returns:
        The segmentation, its visible objects numbered consecutively from 1, and their entities in that order.

    Raises:
        DataError: unless each pixel belongs to exactly one entity, which is the background or visible.

    >>> masks = np.array([[[1, 0]], [[0, 0]], [[0, 1]]], np.uint8)
    >>> label_map(masks, np.array([True, False, True]))
    (array([[0, 1]], dtype=uint8), [2])
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
    """Check a record, or the parts of it that were read, against the specification of its data set.

    Raises:
        DataError: on a wrong image size, too many objects, a label without an object, or wrong factors.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> source = Tetrominoes(num_scenes=1)
    >>> check_record(source.scene(0), source)
    """
    for name, pixels in (("image", record.image), ("segmentation", record.segmentation)):
        if pixels is not None and pixels.shape[:2] != spec.image_size:
            raise DataError.of(name, expected=f"{spec.image_size} pixels", got=f"{pixels.shape[:2]}", remedy=_REMEDY)
    objects = spec.max_objects if record.factors is None else len(record.factors)
    label = 0 if record.segmentation is None else int(record.segmentation.max())
    if not label <= objects <= spec.max_objects:
        expected = f"labels up to the number of objects, at most {spec.max_objects}"
        raise DataError.of("segmentation", expected=expected, got=f"label {label} of {objects} objects", remedy=_REMEDY)
    names = sorted(factor.name for factor in spec.factors)
    for factors in record.factors or ():
        if sorted(factors) != names:
            raise DataError.of("factors", expected=f"{names}", got=f"{sorted(factors)}", remedy=_REMEDY)
        for factor in spec.factors:
            factor.encode(factors[factor.name])
