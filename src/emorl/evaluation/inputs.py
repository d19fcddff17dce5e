"""Inputs of all studies: a trained model, scenes with their ground truth, numbers of steps, and inference."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl import pretrained
from emorl.classes import ClassPaths, imported
from emorl.cpu import tune_cpu
from emorl.data.datamodule import MultiObjectDataModule
from emorl.data.records import ALL_LABELS, Objects
from emorl.errors import DataError
from emorl.model import Inference
from emorl.model.draws import checked_draws
from emorl.module import SlotModule
from emorl.ranges import counts
from emorl.results import WITHOUT_TRUTH
from emorl.types import Batch

logger = logging.getLogger(__name__)

BATCH = 32


class LoadedScenes(NamedTuple):
    """Scenes in a model's input size, with their ground truth.

    >>> scenes = LoadedScenes(
    ...     image=torch.zeros(3, 3, 35, 35, dtype=torch.uint8),
    ...     segmentation=torch.zeros(3, 35, 35, dtype=torch.uint8),
    ...     factors=[[], [], []],
    ... )
    >>> [batch["key"] for batch in scenes.batches(size=2)]
    [['0', '1'], ['2']]
    """

    image: UInt8[Tensor, "n 3 h w"]  # 0 to 255
    segmentation: UInt8[Tensor, "n h2 w2"]  # 0 = background, i = object i; of the size for scoring
    factors: list[Objects]  # per scene: a dictionary for each object, object i at i - 1

    @classmethod
    def of(cls, batches: Iterable[Batch]) -> LoadedScenes:
        """Join batches that have all labels, without their padding."""
        images, segmentations, factors = [], [], []
        for batch in batches:
            real = batch["index"] >= 0
            images.append(batch["image"][real])
            segmentations.append(batch["segmentation"][real])
            factors += [objects for objects, kept in zip(batch["factors"], real.tolist(), strict=True) if kept]
        return cls(torch.cat(images), torch.cat(segmentations), factors)

    def to(self, device: torch.device) -> LoadedScenes:
        """Return the scenes on a device."""
        return self._replace(image=self.image.to(device), segmentation=self.segmentation.to(device))

    def batches(self, title: str = "scenes", size: int = BATCH) -> Iterator[Batch]:
        """Yield all scenes in batches, with a titled progress bar."""
        starts = range(0, len(self.image), size)
        for start in tqdm(starts, title, unit="batch", disable=None, leave=False):
            yield self.batch(range(start, min(start + size, len(self.image))))

    def batch(self, places: Sequence[int]) -> Batch:
        """Return the scenes at the given positions as one batch; an image's index is its position."""
        index = torch.tensor(places, device=self.image.device)
        return {
            "image": self.image[index],
            "index": index,
            "key": [f"{place}" for place in places],
            "segmentation": self.segmentation[index],
        }


def load_model(model: str, test_draws: int | None = None, classes: ClassPaths = ()) -> SlotModule:
    """Load a trained model, in evaluation mode, onto the first GPU or else the CPU.

    Args:
        model: path of a checkpoint of ``emorl fit`` or a folder of ``save_pretrained``, or name of shipped weights.
        test_draws: number of draws per image, see `SlotModule`; by default the module's.
        classes: paths of the classes outside `emorl.model` that the model of a folder may consist of.

    Returns:
        The module, with the model as ``network``.

    Raises:
        DataError: if ``model`` is none of them, or contains a class that is neither in `emorl.model` nor in
            ``classes``, or one of ``classes`` cannot be imported.
        ValueError: if ``test_draws`` is below 1, or not whole.

    >>> module = load_model("tetrominoes")
    >>> module.network.num_slots, module.training
    (4, False)
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        tune_cpu()
    module = pretrained.load_module(model, classes=imported(classes)).to(device)
    module.test_draws = module.test_draws if test_draws is None else checked_draws(test_draws)
    return module


def load_scenes(
    data: str, module: SlotModule, split: str = "test", count: int = 320, score_size: int | None = None
) -> LoadedScenes:
    """Load the first scenes of a split as ``emorl test`` reads them, onto the model's device.

    Logs a warning if no scene has a labeled object; studies then omit the scores that need ground truth.

    Args:
        data: folder of shards: a local path or a URL.
        module: the model, which determines how images are cropped and resized.
        split: name of the split.
        count: maximum number of scenes.
        score_size: side of the segmentations in pixels, see `MultiObjectDataModule`.

    Returns:
        The scenes; fewer than ``count`` if the split has fewer.

    Raises:
        DataError: if the split does not exist, or the data set is damaged.
        ValueError: if ``count`` is below 1, or not whole.

    >>> import tempfile
    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.data.write.selection import consecutive
    >>> from emorl.data.write.writer import write_shards
    >>> from emorl.model import EfficientMORL
    >>> _ = write_shards(consecutive(Tetrominoes(4), {"test": 4}), folder := tempfile.mkdtemp())
    >>> load_scenes(folder, SlotModule(EfficientMORL(num_slots=3, slot_dim=8), image_size=35), count=2).image.shape
    torch.Size([2, 3, 35, 35])
    """
    counts(1, count=count)
    source = MultiObjectDataModule(
        data,
        module.image_size,
        module.crop,
        batch_size=BATCH,
        num_workers=0,
        score_size=score_size,
        eval_labels=ALL_LABELS,
    )
    source.setup("test")
    scenes = LoadedScenes.of(source.scoring_dataloader(split, count))
    if not scenes.segmentation.any():
        logger.warning("%s: %s", split, WITHOUT_TRUTH)
    return scenes.to(module.device)


def chosen_steps(module: SlotModule, steps: int | None) -> int:
    """Return the requested number of steps, or by default that of ``emorl test``.

    Raises:
        DataError: if the model needs more steps.

    >>> from emorl.model import SlotAttention
    >>> chosen_steps(SlotModule(SlotAttention(num_slots=3, slot_dim=8), image_size=16), steps=2)
    2
    """
    try:
        return module.network.checked_steps(module.test_refinement_steps if steps is None else steps)
    except ValueError as error:
        raise DataError(f"steps: {error}") from error


def compared_steps(module: SlotModule, steps: int) -> list[int]:
    """Return the numbers of steps that a study compares: ``steps`` and, for a model that has slots at step 0, 0.

    >>> from emorl.model import EfficientMORL, SlotAttention
    >>> compared_steps(SlotModule(EfficientMORL(num_slots=3, slot_dim=8), image_size=16), 3)
    [0, 3]
    >>> compared_steps(SlotModule(SlotAttention(num_slots=3, slot_dim=8), image_size=16), 3)
    [3]
    """
    return sorted({0, steps}) if module.network.min_steps == 0 else [steps]


def infer(module: SlotModule, batch: Batch, steps: int, num_slots: int | None = None, seed: int = 0) -> Inference:
    """Infer the slots of a batch without gradients, with the noise of ``emorl test`` or of another seed.

    Returns:
        Stages, layers and terms of the loss of this batch.

    >>> from emorl.model import EfficientMORL
    >>> module = SlotModule(EfficientMORL(num_slots=3, slot_dim=8), image_size=16)
    >>> batch = {"image": torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "index": torch.arange(2)}
    >>> infer(module, batch, steps=1).stages[-1].slots.shape
    torch.Size([2, 3, 8])
    """
    with torch.no_grad():
        return module.test_inference(batch, steps, num_slots, seed)
