"""`emorl-data convert`: data sets from published files and from folders of images."""

import logging
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Literal

from jsonargparse.typing import NonNegativeInt, PositiveInt
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.data.commands.common import PROCESSES, SHARD_SIZE, TEST, TRAIN, VAL, write
from emorl.data.records import Source
from emorl.data.sources.clevr import ClevrTFRecords
from emorl.data.sources.clevrtex import ClevrTexFolder
from emorl.data.sources.folder import ImageFolder
from emorl.data.sources.hdf5 import SPLITS, HDF5File
from emorl.data.sources.multi_dsprites import MultiDSpritesTFRecords
from emorl.data.sources.splits import PRESETS, choose
from emorl.data.sources.tetrominoes import TetrominoesTFRecords
from emorl.data.sources.tfrecord import TFRecordSource, read_records
from emorl.data.transforms import Crop
from emorl.data.write.selection import Selection, consecutive
from emorl.errors import DataError, printable

_log = logging.getLogger(__name__)


def tetrominoes(
    source: str,
    out: str,
    train: NonNegativeInt | None = None,
    val: NonNegativeInt | None = None,
    test: NonNegativeInt | None = None,
    shard_size: PositiveInt = SHARD_SIZE,
) -> None:
    """Convert DeepMind's Tetrominoes: the paper's splits, or the first scenes for train, then val, then test.

    The default splits are the paper's: the first 60000 scenes for training, the next 320 for testing, and 320 more for
    validation. A file too short for them becomes one test split.

    Args:
        source: The file gs://multi-object-datasets/tetrominoes/tetrominoes_train.tfrecords, compressed or not.
        out: Folder of the data set, new or empty. After an interruption the same command resumes.
        train: Number of training scenes, the first of the file; null means none, or 60000 without all three numbers.
        val: Number of validation scenes, which follow; null means none, or 320, the last, without all three numbers.
        test: Number of test scenes, the last; null means none, or 320 after training without all three numbers. Without
            them a file of less than 60640 scenes becomes one test split.
        shard_size: Scenes in a shard.

    Example:
        ```console
        emorl-data convert tetrominoes tetrominoes_train.tfrecords data/tetrominoes
        ```
    """
    _convert(TetrominoesTFRecords(source), out, {"train": train, "val": val, "test": test}, shard_size)


def multi_dsprites(
    source: str,
    out: str,
    variant: Literal["colored_on_grayscale", "colored_on_colored", "binarized"] = "colored_on_grayscale",
    train: NonNegativeInt | None = None,
    val: NonNegativeInt | None = None,
    test: NonNegativeInt | None = None,
    shard_size: PositiveInt = SHARD_SIZE,
) -> None:
    """Convert DeepMind's Multi-dSprites: the paper's splits, or the first scenes for train, then val, then test.

    The default splits are the paper's: the first 60000 scenes for training, the next 320 for testing, and 320 more for
    validation. A file too short for them becomes one test split.

    Args:
        source: The file gs://multi-object-datasets/multi_dsprites/multi_dsprites_VARIANT.tfrecords, compressed or not.
        out: Folder of the data set, new or empty. After an interruption the same command resumes.
        variant: Variant of the file.
        train: Number of training scenes, the first of the file; null means none, or 60000 without all three numbers.
        val: Number of validation scenes, which follow; null means none, or 320, the last, without all three numbers.
        test: Number of test scenes, the last; null means none, or 320 after training without all three numbers. Without
            them a file of less than 60640 scenes becomes one test split.
        shard_size: Scenes in a shard.

    Example:
        ```console
        emorl-data convert multi_dsprites multi_dsprites_colored_on_grayscale.tfrecords data/multi_dsprites
        ```
    """
    records = MultiDSpritesTFRecords(source, variant)
    _convert(records, out, {"train": train, "val": val, "test": test}, shard_size)


def clevr(
    source: str,
    out: str,
    preset: Literal["clevr6", "clevr10", "clevr6_slot_attention"] = "clevr6",
    shard_size: PositiveInt = SHARD_SIZE,
) -> None:
    """Convert DeepMind's CLEVR with masks, with the splits of a paper.

    clevr6: scenes of at most 6 objects; the first 50000 for training, the last 320 for testing and the 320 before for
    validation. clevr10: the first 70000 scenes for training, 320 of the last for validation and 320 scenes of 7 to 10
    objects for testing. clevr6_slot_attention: scenes of at most 6 objects; those among the first 70000 records for
    training, validation and test as in clevr6. Splits do not overlap. A file shorter than the published 100000 records
    becomes one test split.

    Args:
        source: The file gs://multi-object-datasets/clevr_with_masks/clevr_with_masks_train.tfrecords, compressed or
            not.
        out: Folder of the data set, new or empty. After an interruption the same command resumes.
        preset: Splits, each with 320 scenes for validation and 320 for testing. clevr6: scenes of at most 6 objects,
            the first 50000 for training. clevr10: the first 70000 scenes for training, 7 to 10 objects in testing.
            clevr6_slot_attention: as clevr6, but those among the first 70000 records for training.
        shard_size: Scenes in a shard.

    Example:
        ```console
        emorl-data convert clevr clevr_with_masks_train.tfrecords data/clevr6 --preset clevr6
        ```
    """
    records = ClevrTFRecords(source, PRESETS[preset].max_objects)
    objects = list(tqdm(records.object_counts(), "counting objects", unit="record", disable=None, leave=False))
    splits = choose(PRESETS[preset], objects)
    write({split: Selection(records, indices) for split, indices in splits.items()}, out, shard_size)


def hdf5(
    source: str,
    out: str,
    train: NonNegativeInt | None = None,
    val: NonNegativeInt | None = None,
    test: NonNegativeInt | None = None,
    factors: bool = True,
    shard_size: PositiveInt = SHARD_SIZE,
    processes: PositiveInt = PROCESSES,
) -> None:
    """Convert an HDF5 file of EfficientMORL's authors, or of emorl-data export: each group becomes a split.

    By default all scenes of all groups are converted.

    Args:
        source: The file, with its name at https://zenodo.org/records/4895643, which identifies the data set.
        out: Folder of the data set, new or empty. After an interruption the same command resumes.
        train: Number of training scenes, from the start of the group train; null means all, or none if val or test is
            given.
        val: Number of validation scenes, of the group val or, if it does not exist, after train in the group train;
            null means all of the group val, or none if train or test is given.
        test: Number of test scenes, from the start of the group test; null means all, or none if train or val is given.
        factors: Whether to read the factors, if the file has any.
        shard_size: Scenes in a shard.
        processes: Number of processes that convert. The bytes are the same for any number.

    Example:
        ```console
        emorl-data convert hdf5 clevr6_with_masks_train.h5 data/clevr6
        ```
    """
    scenes = HDF5File(source, factors)
    if scenes.left_out:
        names, read = ", ".join(scenes.left_out), ", ".join(SPLITS)
        _log.warning(printable(f"{source}: skipped {names}: only the groups {read} are read"))
    splits, given = dict(scenes.splits), {"train": train, "val": val, "test": test}
    if val:
        splits.setdefault("val", splits.get("train", range(0))[train or 0 :])
    write(_first_of(scenes, splits, given), out, shard_size, processes)


def clevrtex(
    source: str,
    out: str,
    train: NonNegativeInt | None = None,
    val: NonNegativeInt | None = None,
    test: NonNegativeInt | None = None,
    shard_size: PositiveInt = SHARD_SIZE,
    processes: PositiveInt = PROCESSES,
) -> None:
    """Convert a variant of ClevrTex, with the published splits: test the first tenth, val the second, train the rest.

    The variant outd is a test set. By default all scenes of all splits are converted.

    Args:
        source: The unpacked folder of the variant, such as clevrtex_full, from
            https://www.robots.ox.ac.uk/~vgg/data/clevrtex.
        out: Folder of the data set, new or empty. After an interruption the same command resumes.
        train: Number of training scenes, from the start of the published split; null means all, or none if val or test
            is given.
        val: Number of validation scenes, likewise; null means all, or none if train or test is given.
        test: Number of test scenes, likewise; null means all, or none if train or val is given.
        shard_size: Scenes in a shard.
        processes: Number of processes that convert. The bytes are the same for any number.

    Example:
        ```console
        emorl-data convert clevrtex clevrtex_full data/clevrtex
        ```
    """
    scenes = ClevrTexFolder(source)
    selections = _first_of(scenes, scenes.splits, {"train": train, "val": val, "test": test})
    for split, selection in selections.items():
        scenes.require(split, selection.indices[-1] + 1)
    write(selections, out, shard_size, processes)


def folder(
    images: str,
    out: str,
    masks: str | None = None,
    size: PositiveInt | None = None,
    crop: Crop = "square",
    ignore: NonNegativeInt | None = None,
    recursive: bool = False,
    max_objects: PositiveInt | None = None,
    train: NonNegativeInt | None = None,
    val: NonNegativeInt | None = None,
    test: NonNegativeInt | None = None,
    shard_size: PositiveInt = SHARD_SIZE,
    processes: PositiveInt = PROCESSES,
) -> None:
    """Convert a folder of images, in the order of their names: first train, then val, then test.

    By default all images are for training. Reads PNG, JPEG, BMP, WebP, TIFF, GIF and PPM files with a single, opaque
    frame; names that begin with a dot are skipped.

    Args:
        images: Folder of the images.
        out: Folder of the data set, new or empty. After an interruption the same command resumes.
        masks: Folder of the masks; without it everything is background. For the image NAME.jpg it contains either
            NAME.png, a label map in grayscale or with a palette (0 is the background), or a folder NAME of black and
            white images, one for each object.
        size: Side of the square images to write, in pixels, to which the crop is resized. Without it, images are not
            changed and must have equal sizes.
        crop: Part of each image to keep: its largest centered square, 0.8 of that (center), CLEVR's published crop
            (emorl), or all of it, padded with black and background (pad).
        ignore: Void label in label maps, often 255: its pixels become background, and scores with background count
            them as such. Without it every label except 0 is an object.
        recursive: Whether to read images in subfolders too. The masks of SUB/NAME.jpg are SUB/NAME.png or SUB/NAME.
        max_objects: Maximum number of objects in a scene; by default counted in the masks.
        train: Number of training images; null means all, or none if val or test is given.
        val: Number of validation images; null means none.
        test: Number of test images; null means none.
        shard_size: Scenes in a shard.
        processes: Number of processes that convert. The bytes are the same for any number.

    Example:
        ```console
        emorl-data convert folder photos data/mine --size 64 --train 48 --val 6 --test 6
        ```
    """
    scenes = ImageFolder(images, masks, size, max_objects, crop, ignore, recursive)
    for remark in scenes.remarks():
        _log.warning(printable(remark))
    if scenes.survey is not None:
        total, most = scenes.survey.objects, scenes.survey.most
        print(printable(f"{masks}: {total} object{'s'[: total != 1]} counted, at most {most} in an image"))
    given = {"train": train, "val": val, "test": test}
    sizes = {split: number or 0 for split, number in given.items()}
    if set(given.values()) == {None}:
        sizes = {"train": len(scenes.paths)}
    _require(images, sizes, len(scenes.paths))
    write(consecutive(scenes, sizes), out, shard_size, processes)


def _convert(source: TFRecordSource, out: str, given: dict[str, NonNegativeInt | None], shard_size: int) -> None:
    """Take the given splits one after the other; by default the paper's, followed by one for validation.

    A file too short for the default splits becomes one test split.
    """
    asked = set(given.values()) != {None}
    sizes = {s: n or 0 for s, n in given.items()} if asked else {"train": TRAIN, "test": TEST, "val": VAL}
    needed = sum(sizes.values())
    records = islice(read_records(source.path), needed)
    count = sum(1 for _ in tqdm(records, "counting", needed, unit="record", disable=None, leave=False))
    if asked:
        _require(source.path, sizes, count)
    elif count < needed:
        sizes = {"test": count}
    write(consecutive(source, sizes), out, shard_size)


def _require(where: str | Path, sizes: Mapping[str, int], scenes: int) -> None:
    """Check that there are enough scenes for all splits."""
    if (needed := sum(sizes.values())) > scenes:
        got = " + ".join(f"{number} {split}" for split, number in sizes.items() if number)
        expected = f"at most {scenes} scenes in all splits, the number available"
        raise DataError.of(where, expected=expected, got=f"{got} = {needed}", remedy="choose smaller splits")


def _first_of(
    source: Source, splits: Mapping[str, range], given: Mapping[str, NonNegativeInt | None]
) -> dict[str, Selection]:
    """Take the given numbers of scenes from the start of each split; by default all scenes of all splits."""
    if set(given.values()) == {None}:
        return {split: Selection(source, indices) for split, indices in splits.items()}
    for split, number in given.items():
        if (number or 0) > len(splits.get(split, ())):
            expected = f"at most {len(splits.get(split, ()))} scenes of the split {split}"
            raise DataError.of(source.dataset, expected=expected, got=f"{number}", remedy="choose smaller splits")
    return {split: Selection(source, splits[split][:number]) for split, number in given.items() if number}
