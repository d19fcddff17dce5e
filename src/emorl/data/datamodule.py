"""The LightningDataModule: streams shards, or plain images for prediction."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn

from emorl.data.images import find_images
from emorl.data.records import Label
from emorl.data.shards.manifest import MANIFEST, Manifest
from emorl.data.shards.remote import is_url
from emorl.data.stream.loader import EvaluationLoader, TrainingLoader
from emorl.data.stream.plan import Order
from emorl.data.stream.scenes import ImageReader, ShardReader
from emorl.data.transforms import Crop
from emorl.errors import DataError


class MultiObjectDataModule(LightningDataModule):
    """Streams a folder of shards; for ``predict``, also any folder of PNG or JPEG images.

    Batches are `emorl.types.Batch`: images stay 8-bit until they are on the device. Labels that are not
    asked for are not decoded, and so not checked: ``emorl-data verify`` finds those that are damaged.

    Args:
        root: folder of shards with its ``manifest.json``: a local path, or a URL (``https://``; ``s3://`` with s3fs
            installed; any other that fsspec knows). For ``predict``, alternatively a local folder of images.
        image_size: side of the square images given to the model, in pixels.
        crop: what is cut out of a stored image before resizing: ``square`` (the largest centred square), ``center``
            (0.8 of it, as ClevrTex and GENESIS do) or ``emorl`` (rows 29:221, columns 64:256 of CLEVR's frames).
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
    """

    def __init__(
        self,
        root: str = "data/tetrominoes",
        image_size: int = 35,
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
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.root = root
        self.image_size = image_size
        self.crop = crop
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.window = window
        self.seed = seed
        self.predict_split = predict_split
        self.score_size = score_size
        self.cache = cache
        self.train_labels = train_labels
        self.eval_labels = eval_labels
        self.manifest: Manifest | None = None

    def setup(self, stage: str) -> None:
        """Read the manifest.

        Raises:
            DataError: if there is none, unless ``root`` is a folder of images and ``stage`` is ``predict``.
        """
        if stage != "predict" or is_url(self.root) or (Path(self.root) / MANIFEST).exists():
            self.manifest = Manifest.load(self.root)

    def train_dataloader(self) -> TrainingLoader:
        """Stream the split ``train``, every sample once an epoch, in an order that depends on the epoch."""
        read = self._reader("train", self.image_size, self.train_labels)
        order = Order(tuple(shard.samples for shard in read.shards), self.window, self.seed)
        return TrainingLoader(read, order, self.batch_size, self.num_workers, *self._place())

    def val_dataloader(self) -> EvaluationLoader | list[EvaluationLoader]:
        """Stream the split ``val``; without one, training goes on without validation, and says so.

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
        return self._evaluation("val", self.image_size)

    def test_dataloader(self) -> EvaluationLoader:
        """Stream the split ``test``."""
        return self.scoring_dataloader("test")

    def scoring_dataloader(self, split: str, samples: int | None = None) -> EvaluationLoader:
        """Stream any split as ``test`` is streamed: in storage order, with segmentations to score at.

        Args:
            split: name of the split.
            samples: scenes, the first ones of the split; all of them unless given, or if there are fewer.
        """
        return self._evaluation(split, self.score_size or self.image_size, samples)

    def predict_dataloader(self) -> EvaluationLoader:
        """Stream ``predict_split``, or the images of the folder."""
        if self.manifest is not None:
            return self._evaluation(self.predict_split, self.image_size)
        paths = find_images(Path(self.root))
        read = ImageReader(paths, self.crop, self.image_size)
        return EvaluationLoader(read, len(paths), self.batch_size, self.num_workers, *self._place())

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
        return ShardReader(self.root, self.manifest, split, self.crop, self.image_size, label_size, labels, self.cache)

    def _place(self) -> tuple[int, int]:
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)
