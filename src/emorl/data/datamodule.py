"""The LightningDataModule: streams shards, or plain images for prediction."""

from __future__ import annotations

import logging
from collections import Counter
from hashlib import sha256
from numbers import Integral
from os.path import expanduser, isdir, isfile
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn

from emorl.data.folders import Images, find_images, list_folder
from emorl.data.images import IMAGE_SUFFIXES, read_size
from emorl.data.records import Label, checked_labels
from emorl.data.shards.manifest import MANIFEST, Manifest
from emorl.data.stream.loader import EvaluationLoader, TrainingLoader
from emorl.data.stream.plan import Order
from emorl.data.stream.scenes import ImageReader, ShardReader
from emorl.data.transforms import Crop, crop_box, describe_cut
from emorl.errors import DataError, printable
from emorl.files import is_url
from emorl.ranges import path_like

_log = logging.getLogger(__name__)


class MultiObjectDataModule(LightningDataModule):
    """Streams a folder of shards; for ``predict``, also any folder of images, or a single one.

    Batches are `emorl.types.Batch`: images remain 8-bit until they are on the device. Labels that are not requested
    are not decoded, and therefore not checked: ``emorl-data verify`` finds damaged ones.

    Args:
        root: folder of shards with its ``manifest.json``: a local path, or a URL (``https://``; ``s3://`` with s3fs
            installed; any other protocol of fsspec). For ``predict`` also a local folder of images, or an image.
        image_size: side of the square images given to the model, in pixels; by default that of the crop of a stored
            image, and for a folder of images the model's.
        crop: the part of a stored image to keep: ``square`` (the largest centered square), ``center`` (0.8 of it, as
            in ClevrTex and GENESIS), ``emorl`` (rows 29:221, columns 64:256 of CLEVR's frames) or ``pad`` (all of it,
            padded with black, and in label maps with background). A log line reports what is cut away.
        batch_size: images per batch, in each process.
        num_workers: worker processes that read and decode; with 0, the training process reads.
        window: number of images that are shuffled together; each worker keeps this many, compressed, in memory.
        seed: seed of the training order.
        predict_split: split that ``predict`` reads from shards.
        score_size: side of the segmentations that ``test`` scores masks against, in pixels, to which the masks are
            resized; by default ``image_size``. The authors' code scores CLEVR at 192.
        cache: local folder for shards from a URL, so that each is fetched once. Several processes and runs can share
            it; it is never emptied. Each run fetches the manifest again. Data sets at a local path are not cached.
        train_labels: labels that training reads in addition to images: ``segmentation``, ``factors``, both or, since
            training is unsupervised, none (default). Reading segmentations takes a third longer, both more than half.
        eval_labels: labels that validation and testing read. Scores of masks require ``segmentation``.
        recursive: whether ``predict`` also reads the subfolders of a folder of images.

    Raises:
        DataError: if a number is out of range.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.data.write.selection import consecutive
    >>> from emorl.data.write.writer import write_shards
    >>> folder = tempfile.mkdtemp()
    >>> _ = write_shards(consecutive(Tetrominoes(num_scenes=8, seed=0), {"test": 8}), folder)
    >>> data = MultiObjectDataModule(folder, batch_size=4, num_workers=0)
    >>> data.setup("test")
    >>> batch = next(iter(data.test_dataloader()))
    >>> batch["image"].shape, batch["segmentation"].shape
    (torch.Size([4, 3, 35, 35]), torch.Size([4, 35, 35]))
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
        self.save_hyperparameters(ignore="image_size")  # the module stores it, and here it can depend on the data
        path_like(root=root)
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
        self.train_labels = checked_labels(train_labels)
        self.eval_labels = checked_labels(eval_labels)
        self.recursive = recursive
        self.manifest: Manifest | None = None
        self.images: Images | None = None

    def setup(self, stage: str) -> None:
        """Read the manifest, or list the images; log which images are skipped or cut.

        Raises:
            DataError: if there is no manifest, unless ``root`` contains images and ``stage`` is ``predict``; if the
                crop does not apply to the data set; or if the size of images for ``predict`` is unknown.
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
            remedy = f"convert the folder (emorl-data convert folder {self.root} OUT) and give OUT"
            raise DataError.of(self.root, expected="a data set of shards", got="images", remedy=remedy)

    def state_dict(self) -> dict[str, Any]:
        """Return the checksum of the training data, if there are any."""
        return {} if self._training_data is None else {"training_data": self._training_data}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that training resumes on the same data.

        Raises:
            DataError: if the training data differ from the checkpoint's.
        """
        fitting = self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting and state_dict["training_data"] != self._training_data:
            raise DataError.of(
                self.root,
                expected="the training data of the checkpoint",
                got="different data",
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
        """Stream the split ``train``, every scene once per epoch, in an order that depends on the epoch.

        With ``overfit_batches`` every epoch has the order of the first.
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
        """Stream the split ``val``; if it does not exist, training warns and does not validate.

        Raises:
            DataError: if the split does not exist, outside of training.
        """
        fitting = self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting and self.manifest is not None and "val" not in self.manifest.splits:
            rank_zero_warn(
                f"{self.root}: expected a split 'val', got {', '.join(self.manifest.splits)}; training runs without "
                "scores and warnings of collapse, and draws only training images, at its end. For validation, convert "
                "the data set into another folder with --val as well as --train."
            )
            return []
        return self._evaluation("val", self.eval_labels, self._size)

    def test_dataloader(self) -> EvaluationLoader:
        """Stream the split ``test``."""
        return self.scoring_dataloader("test")

    def scoring_dataloader(self, split: str, samples: int | None = None) -> EvaluationLoader:
        """Stream any split as ``test`` does: every scene once, with segmentations of the size for scoring.

        The order is that of storage with one worker or none; several workers take turns.

        Args:
            split: name of the split.
            samples: number of scenes from the start of the split; by default, or if there are fewer, all.
        """
        return self._evaluation(split, self.eval_labels, self.score_size or self._size, samples)

    def predict_dataloader(self) -> EvaluationLoader:
        """Stream ``predict_split``, or the images of the folder.

        Raises:
            DataError: if the split does not exist.
        """
        if self.images is None:
            remedy = "name one of these with --data.predict_split, or a folder of images with --data.root"
            self._manifest_with(self.predict_split, remedy)
            return self._evaluation(self.predict_split, (), self._size)
        read = ImageReader(self.images.paths, self.images.keys, self.crop, self._size)
        return EvaluationLoader(read, len(read.paths), self.batch_size, self.num_workers, *self._place())

    def _evaluation(
        self, split: str, labels: tuple[Label, ...], label_size: int, samples: int | None = None
    ) -> EvaluationLoader:
        read = self._reader(split, label_size, labels)
        total = sum(shard.samples for shard in read.shards)
        samples = total if samples is None else min(samples, total)
        return EvaluationLoader(read, samples, self.batch_size, self.num_workers, *self._place())

    def _reader(self, split: str, label_size: int, labels: tuple[Label, ...]) -> ShardReader:
        manifest = self._manifest_with(split, "convert or generate the data set with this split")
        return ShardReader(self.root, manifest, split, self.crop, self._size, label_size, labels, self.cache)

    def _manifest_with(self, split: str, remedy: str) -> Manifest:
        assert self.manifest is not None
        self.manifest.split(split, self.root, remedy)
        return self.manifest

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


def _check_range(least: int, **numbers: Any) -> None:
    for name, number in numbers.items():
        if number is not None and not (isinstance(number, Integral) and int(number) >= least):
            remedy = "choose a number in this range"
            raise DataError.of(f"data.{name}", expected=f"{least} or more", got=repr(number), remedy=remedy)
