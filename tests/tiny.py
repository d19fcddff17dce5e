"""Small modules, data and trainers for the tests that involve Lightning."""

from functools import partial
from pathlib import Path

import torch
from pytorch_lightning import Trainer

from emorl.data.datamodule import MultiObjectDataModule
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.write.selection import Selection
from emorl.data.write.writer import write_shards
from emorl.model import IODINE, EfficientMORL, Geco, IodinePixelDecoder, IodineRefinement, SlotAttention, SmallDecoder
from emorl.module import SlotModule

CONFIGS = Path(__file__).parents[1] / "configs"
SIZES = {"num_slots": 4, "slot_dim": 8, "feature_dim": 8}
PARTS = {"decoder": partial(SmallDecoder, stride=2)}  # a third of the arithmetic
FAMILY = {  # small models of every kind, by name
    "efficient_morl": partial(EfficientMORL, **SIZES, **PARTS),
    "slot_attention": partial(SlotAttention, **SIZES, **PARTS),
    "iodine": partial(
        IODINE,
        num_slots=4,
        slot_dim=8,
        decoder=partial(IodinePixelDecoder, channels=4, kernel=3, stride=2),
        refinement=partial(IodineRefinement, channels=4, kernel=3, mlp=(8,), lstm=8),
    ),
}


def write(folder, **sizes):
    """Write Tetrominoes with splits of the given sizes in shards of 5; return the folder."""
    write_shards({split: Selection(Tetrominoes(n, 0, split), range(n)) for split, n in sizes.items()}, folder, 5)
    return folder


def network(seed=0, cls=EfficientMORL, **arguments):
    """Build a small network, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(**SIZES | PARTS | arguments)


def lively(model):
    """Enlarge the weights: with the released start, four slots hardly differ."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return model


def module(cls=SlotModule, geco=True, **arguments):
    """Build a small module with GECO past its warm start after one step, and one refinement."""
    steps = {"refinement_steps": 1, "test_refinement_steps": 1}
    net = network(geco=Geco(-1.0, step_size=1e-3, warm_start=1) if geco else None)
    return cls(**{"network": net} | steps | arguments)


def data(root, **arguments):
    """Build the data module of a folder, with batches of 2 read in the process."""
    return MultiObjectDataModule(str(root), **{"batch_size": 2, "num_workers": 0} | arguments)


def loaded(root, stage="fit"):
    """Build the data module of a folder, ready without a trainer."""
    module = data(root)
    module.setup(stage)
    return module


def trainer(folder, **arguments):
    """Build a quiet trainer on the CPU that leaves nothing behind."""
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    defaults = {"default_root_dir": folder, "accelerator": "cpu", "max_epochs": -1, "num_sanity_val_steps": 0}
    return Trainer(**dict.fromkeys(quiet, False) | defaults | arguments)


def tile(picture, row, column, rows, columns, size=35, factor=4):
    """Return a tile of a labeled sheet, before it was enlarged; tiles fill the sheet from below and from the right."""
    gap, side = 4, size * factor
    bottom, right = (
        length - gap - after * (side + gap)
        for length, after in zip(picture.shape[1:], (rows - 1 - row, columns - 1 - column), strict=True)
    )
    return picture[:, bottom - side : bottom : factor, right - side : right : factor]


def sheet_size(rows, columns, size=35, factor=4):
    """Return height and width of the tiles of a labeled sheet without its labels."""
    return rows * (size * factor + 4), columns * (size * factor + 4)


def saved(module, path):
    """Write a checkpoint of a module as it is; return its path, a string."""
    writer = trainer(path.parent, max_steps=0)
    writer.strategy.connect(module)
    writer.save_checkpoint(path)
    return str(path)
