"""Numbers out of range are refused by name."""

from functools import partial

import pytest
from torch import nn
from torch.optim import SGD

from emorl.callbacks import CollapseAlarm, Cost, LogReconstructions, ProgressBar, WandbSegmentations
from emorl.data import Scenes
from emorl.data.datamodule import MultiObjectDataModule
from emorl.errors import DataError
from emorl.export import export
from emorl.model import (
    IODINE,
    EfficientMORL,
    FourierPosition,
    GaussianLikelihood,
    Geco,
    IodinePixelDecoder,
    IodineRefinement,
    MixtureLikelihood,
    SlotAttention,
    SmallDecoder,
)
from emorl.module import SlotModule
from emorl.optim import Muon, WarmupCosineDecay, WarmupExponentialDecay

OPTIMIZER = SGD(nn.Linear(1, 1).parameters(), lr=1.0)

REFUSED = [
    *((EfficientMORL, name, 0) for name in ("num_slots", "slot_dim", "num_layers", "feature_dim", "encoder_stride")),
    (EfficientMORL, "decode_chunk", 0),
    (EfficientMORL, "kl_weight", -1.0),
    *((SlotAttention, name, 0) for name in ("num_slots", "slot_dim", "feature_dim", "hidden_dim", "encoder_stride")),
    *((IODINE, name, 0) for name in ("num_slots", "slot_dim")),
    (IODINE, "prior_variance", 0.0),
    *((partial(IodinePixelDecoder, 8), name, 0) for name in ("channels", "kernel", "layers", "stride")),
    *((partial(IodineRefinement, 8), name, 0) for name in ("channels", "kernel", "convolutions", "lstm")),
    (partial(SmallDecoder, 8), "stride", 0),
    (FourierPosition, "frequencies", -1),
    *((likelihood, "scale", scale) for likelihood in (GaussianLikelihood, MixtureLikelihood) for scale in (0.0, -1.0)),
    (GaussianLikelihood, "scale", float("nan")),
    *((partial(Geco, -1.0), name, -1.0) for name in ("alpha", "step_size", "acceleration")),
    (partial(Geco, -1.0), "warm_start", -1),
    (partial(WarmupCosineDecay, OPTIMIZER), "total_steps", 0),
    (partial(WarmupCosineDecay, OPTIMIZER), "warmup_steps", -1),
    (partial(WarmupExponentialDecay, OPTIMIZER), "warmup_steps", -1),
    (partial(WarmupExponentialDecay, OPTIMIZER), "half_life", 0.0),
    (partial(Muon, nn.Linear(1, 1).parameters()), "lr", -1.0),
    (SlotModule, "image_size", 0),
    (Cost, "steps", 0),
    (Cost, "warm", -1),
    *((callback, "images", images) for callback in (LogReconstructions, WandbSegmentations) for images in (0, -1)),
    *((ProgressBar, "minutes", minutes) for minutes in (-1.0, float("nan"))),
    *((CollapseAlarm, name, -1.0) for name in ("unused_share", "largest_share", "kl_per_dimension", "unexplained")),
    (CollapseAlarm, "unexplained", float("nan")),
]
PARTLY = [
    *((EfficientMORL, name) for name in ("num_slots", "slot_dim", "num_layers", "encoder_stride", "decode_chunk")),
    *((SlotAttention, name) for name in ("num_slots", "hidden_dim", "encoder_stride")),
    *((partial(IodinePixelDecoder, 8), name) for name in ("channels", "kernel", "layers", "stride")),
    *((partial(IodineRefinement, 8), name) for name in ("channels", "kernel", "convolutions", "lstm")),
    (partial(SmallDecoder, 8), "stride"),
    (FourierPosition, "frequencies"),
    (partial(Geco, -1.0), "warm_start"),
    (partial(WarmupExponentialDecay, OPTIMIZER), "warmup_steps"),
    (Cost, "steps"),
    (LogReconstructions, "images"),
]


@pytest.mark.parametrize(("build", "name", "value"), REFUSED, ids=lambda value: getattr(value, "__name__", None))
def test_a_number_out_of_range_is_named(build, name, value):
    argument = "warmup" if name == "warmup_steps" and build.func is WarmupCosineDecay else name
    with pytest.raises(ValueError, match=f"Expected {name} (of . or more|above 0), got {value}"):
        build(**{argument: value})


@pytest.mark.parametrize(("build", "name"), PARTLY, ids=lambda value: getattr(value, "__name__", None))
def test_a_fraction_is_refused_by_name(build, name, unchecked):
    with pytest.raises(ValueError, match=f"Expected {name} to be a whole number, such as 1, got 1.5"):
        build(**{name: 1.5})


@pytest.mark.parametrize("use", [MultiObjectDataModule, Scenes, partial(export, None)])
def test_an_empty_path_is_not_the_working_directory(use):
    with pytest.raises(DataError, match="expected a path, got empty text"):
        use("")
