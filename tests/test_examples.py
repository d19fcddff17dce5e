"""The examples run, at tiny size."""

import math
from pathlib import Path

import pytest
import torch

import tiny
from emorl import load_pretrained
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.write.selection import Selection
from emorl.data.write.writer import write_shards

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")


def test_object_properties_are_read_from_slots(capsys):
    from object_properties import main

    accuracy = main(16)
    assert accuracy.keys() == {"slot", "pixels", "guess"}
    assert all(0 <= value <= 1 for value in accuracy.values())
    assert "slot: " in capsys.readouterr().out


def test_training_without_lightning(tmp_path):
    from plain_torch import main

    root = tiny.write(tmp_path / "shards", train=4, test=2)
    assert -1 <= main(str(root), steps=3, batch_size=2) <= 1


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # which is what it wants
@pytest.mark.parametrize("finetune", [False, True])
def test_a_custom_module_around_the_encoder(finetune, tmp_path):
    from own_module import main

    splits = {split: Selection(MultiDSprites(4, 0, split), range(4)) for split in ("train", "val")}
    write_shards(splits, tmp_path / "shards", 5)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    before = load_pretrained("multi_dsprites").network.state_dict()
    module = main(str(tmp_path / "shards"), 1, finetune, 2, accelerator="cpu", **quiet)
    changed = any(not torch.equal(value, before[key]) for key, value in module.slots.network.state_dict().items())
    assert changed == finetune
    assert not module.slots.training


def test_a_custom_decoder():
    from own_decoder import MLPDecoder, main

    assert math.isfinite(main())
    components = MLPDecoder(8)(torch.randn(2, 3, 8), (5, 7))
    assert components.rgb.shape == (2, 3, 3, 5, 7)
    torch.testing.assert_close(components.masks.sum(dim=1), torch.ones(2, 1, 5, 7))
