"""The LightningDataModule: streams shards, or plain images for prediction."""

from __future__ import annotations

import logging
from collections import Counter
from hashlib import sha256
from os.path import expanduser, isdir, isfile
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn

from emorl.data.folders import Images, find_images, list_folder
from emorl.data.images import IMAGE_SUFFIXES, read_size
from emorl.data.records import Label
from emorl.data.shards.manifest import MANIFEST, Manifest
from emorl.data.shards.remote import is_url
from emorl.data.stream.loader import EvaluationLoader, TrainingLoader
from emorl.data.stream.plan import Order
from emorl.data.stream.scenes import ImageReader, ShardReader
from emorl.data.transforms import Crop, crop_box, describe_cut
from emorl.errors import DataError, printable

_log = logging.getLogger(__name__)


class MultiObjectDataModule(LightningDataModule):
    """Streams a folder of shards; for ``predict``, also any folder of images, or a single one.

    Batches are `emorl.types.Batch`: images stay 8-bit until they are on the device. Labels that are not
    asked for are not decoded, and so not checked: ``emorl-data verify`` finds those that are damaged.

    Args:
        root: folder of shards with its ``manifest.json``: a local path, or a URL (``https://``; ``s3://`` with s3fs
            installed; any other that fsspec knows). For ``predict`` it may be a local folder of images, or an image.
        image_size: side of the square images given to the model, in pixels; by default that of the crop of a stored
            image, and for a folder of images the model's.
        crop: what of a stored image is resized: ``square`` (the largest centered square), ``center`` (0.8 of it, as
            ClevrTex and GENESIS do), ``emorl`` (rows 29:221, columns 64:256 of CLEVR's frames) or ``pad`` (all of it,
            with black, and in label maps background, around it). What is cut away is said in a line.
        batch_size: images of a batch, in each process.
        num_workers: worker processes that read and decode; 0 does it in the training process.
        window: images that are shuffled together; a worker holds so many of them, compressed, in memory.
        seed: chooses the order of training.
        predict_split: split that ``predict`` reads from shards.
        score_size: side of the segmentations that ``test`` scores masks against, in pixels, to which the masks are
            resized; by default ``image_size``. The released code scores CLEVR at 192.
        cache: local folder in which shards from a URL are kept, so that each is fetched once; any number of
            processes and runs may share it, and none empties it. The manifest is fetched anew in each run. A data set
            at a local path is read where it is.
        train_labels: what training reads beside images: ``segmentation``, ``factors``, both or, as it learns without
            labels, nothing. With segmentations reading takes a third longer, with both more than half.
        eval_labels: what validation, testing and prediction read beside images. Without segmentations there is nothing
            to score masks against.
        recursive: whether ``predict`` reads the subfolders of a folder of images, too.

    Raises:
        DataError: if a number is out of its range.
    """

    def __init__(
        self,
        root: str = "data/tetrominoes",
        image_size: int | None = None,
        crop: Crop = "square",
        batch_size: int = 32,
        num_workers: int = 1,
        window: int = 4096,
        seed: int = 0,
        predict_split: str = "test",
        score_size: int | None = None,
        cache: str | None = None,
        train_labels: tuple[Label, ...] = (),
        eval_labels: tuple[Label, ...] = ("segmentation",),
        recursive: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="image_size")  # the module has it, and here it may be left to the data
        _check_range(1, image_size=image_size, batch_size=batch_size, window=window, score_size=score_size)
        _check_range(0, num_workers=num_workers, seed=seed)
        self.root = expanduser(root)
        self.image_size = image_size
        self.crop = crop
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.window = window
        self.seed = seed
        self.predict_split = predict_split
        self.score_size = score_size
        self.cache = None if cache is None else expanduser(cache)
        self.train_labels = train_labels
        self.eval_labels = eval_labels
        self.recursive = recursive
        self.manifest: Manifest | None = None
        self.images: Images | None = None

    def setup(self, stage: str) -> None:
        """Read the manifest, or list the images; say what of them is left out or cut away.

        Raises:
            DataError: if there is no manifest, unless ``root`` has images and ``stage`` is ``predict``; if the crop
                does not suit the data set; or if images have no size to be resized to.
        """
        path = Path(self.root)
        if is_url(self.root) or isfile(path / MANIFEST) or not (stage == "predict" or _holds_images(path)):
            self.manifest = Manifest.load(self.root)
            height, width = self.manifest.image_size
            crop = self.manifest.crop_left(self.crop)
            left, _, right, _ = crop_box(height, width, crop)
            self.image_size = self.image_size or right - left
            total = sum(split.samples for split in self.manifest.splits.values())
            cut = describe_cut({(height, width): total}, crop)
            _say(cut and f"{self.root}: {cut}")
        elif stage == "predict":
            self._find_images(path)
        else:
            remedy = f"make one of it (emorl-data convert folder {self.root} OUT) and give its folder OUT"
            raise DataError.of(self.root, expected="a data set of shards", got="images", remedy=remedy)

    def state_dict(self) -> dict[str, Any]:
        """Return which training data these are."""
        return {} if self._training_data is None else {"training_data": self._training_data}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that a training resumes on the data that it began with.

        Raises:
            DataError: if these are others.
        """
        fitting = self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting and state_dict["training_data"] != self._training_data:
            raise DataError.of(
                self.root,
                expected="the training data of the checkpoint",
                got="others",
                remedy="resume on the same data set, or start a new run from the checkpoint's weights (--pretrained)",
            )

    @property
    def _training_data(self) -> str | None:
        """The checksum of the split ``train``."""
        if self.manifest is None or "train" not in self.manifest.splits:
            return None
        shards = self.manifest.splits["train"].shards
        return sha256(" ".join(shard.sha256 for shard in shards).encode()).hexdigest()

    def train_dataloader(self) -> TrainingLoader:
        """Stream the split ``train``, every sample once an epoch, in an order that depends on the epoch.

        With ``overfit_batches`` every epoch has the order of the first one.
        """
        read = self._reader("train", self._size, self.train_labels)
        order = Order(tuple(shard.samples for shard in read.shards), self.window, self.seed)
        if (trainer := self.trainer) is None:
            return TrainingLoader(read, order, self.batch_size, self.num_workers)
        repeat = trainer.overfit_batches > 0  # type: ignore[attr-defined]
        return TrainingLoader(
            read,
            order,
            self.batch_size,
            self.num_workers,
            *self._place(),
            epoch=0 if repeat else trainer.current_epoch,
            limit=trainer.limit_train_batches,
            repeat=repeat,
        )

    def val_dataloader(self) -> EvaluationLoader | list[EvaluationLoader]:
        """Stream the split ``val``; without one, training has no validation, and says so.

        Raises:
            DataError: if there is none and it is not wanted for training.
        """
        fitting = self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting and self.manifest is not None and "val" not in self.manifest.splits:
            rank_zero_warn(
                f"{self.root}: expected a split 'val', got {', '.join(self.manifest.splits)}; there will be no scores, "
                "pictures or alarms during training. Convert it into another folder, with a number for --val as well "
                "as --train, to have them."
            )
            return []
        return self._evaluation("val", self._size)

    def test_dataloader(self) -> EvaluationLoader:
        """Stream the split ``test``."""
        return self.scoring_dataloader("test")

    def scoring_dataloader(self, split: str, samples: int | None = None) -> EvaluationLoader:
        """Stream any split as ``test`` is streamed: in storage order, with segmentations to score at.

        Args:
            split: name of the split.
            samples: scenes, the first ones of the split; all of them unless given, or if there are fewer.
        """
        return self._evaluation(split, self.score_size or self._size, samples)

    def predict_dataloader(self) -> EvaluationLoader:
        """Stream ``predict_split``, or the images of the folder."""
        if self.images is None:
            return self._evaluation(self.predict_split, self._size)
        read = ImageReader(self.images.paths, self.images.keys, self.crop, self._size)
        return EvaluationLoader(read, len(read.paths), self.batch_size, self.num_workers, *self._place())

    def _evaluation(self, split: str, label_size: int, samples: int | None = None) -> EvaluationLoader:
        read = self._reader(split, label_size, self.eval_labels)
        total = sum(shard.samples for shard in read.shards)
        samples = total if samples is None else min(samples, total)
        return EvaluationLoader(read, samples, self.batch_size, self.num_workers, *self._place())

    def _reader(self, split: str, label_size: int, labels: tuple[Label, ...]) -> ShardReader:
        assert self.manifest is not None
        if split not in self.manifest.splits:
            raise DataError.of(
                self.root,
                expected=f"a split {split!r}",
                got=f"{', '.join(self.manifest.splits)}",
                remedy="convert or generate the data set with that split",
            )
        return ShardReader(self.root, self.manifest, split, self.crop, self._size, label_size, labels, self.cache)

    def _find_images(self, path: Path) -> None:
        model = None if self.trainer is None else self.trainer.lightning_module
        self.image_size = self.image_size or getattr(model, "image_size", None)
        if self.image_size is None:
            remedy = "give the size that the model was trained on"
            raise DataError.of("image_size", expected="a size for images", got="none", remedy=remedy)
        self.images = find_images(path, self.recursive)
        cut = describe_cut(Counter(filter(None, map(read_size, self.images.paths))), self.crop)
        _say(self.images.left_out, cut and f"{self.root}: {cut}")

    @property
    def _size(self) -> int:
        assert self.image_size is not None
        return self.image_size

    def _place(self) -> tuple[int, int]:
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)


@rank_zero_only
def _say(*lines: str) -> None:
    for line in filter(None, lines):
        _log.warning(printable(line))


def _holds_images(path: Path) -> bool:
    if isdir(path):
        return bool(list_folder(path, recursive=True).images)
    return isfile(path) and path.suffix.lower() in IMAGE_SUFFIXES


def _check_range(least: int, **numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < least:
            remedy = "choose a number in this range"
            raise DataError.of(f"data.{name}", expected=f"{least} or more", got=f"{number}", remedy=remedy)
