"""Models from their descriptions."""

import subprocess
import sys

import pytest
import torch

import tiny
from emorl import pretrained, stored
from emorl.model import FourierPosition, Geco, SmallDecoder
from emorl.model.build import build
from emorl.model.describe import describe


@pytest.mark.parametrize("name", [name for name in stored.names() if "/" in name])
def test_a_card_builds_the_model_that_the_module_has(name):
    built, known = pretrained.load_pretrained(name), pretrained.load_module(name)
    assert repr(built.network) == repr(known.network)
    assert describe(built.network)["class_path"] == describe(known.network)["class_path"]
    assert (built.image_size, built.crop) == (known.image_size, known.crop)
    for key, value in known.network.state_dict().items():
        assert torch.equal(built.network.state_dict()[key], value), key


def test_parts_are_built_as_objects_or_as_factories():
    network = tiny.network(position=FourierPosition, geco=Geco(-1.0, warm_start=5), decoder=SmallDecoder)
    again = build(describe(network))
    assert repr(again) == repr(network)
    assert again.objective.geco.target == -1.0


def test_shipped_weights_need_neither_lightning_nor_the_compiler():
    modules = ("pytorch_lightning", "lightning_fabric", "torchmetrics", "webdataset", "jsonargparse", "torch._dynamo")
    code = f"import sys, emorl; emorl.load_pretrained('tetrominoes'); print(set({modules}) & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "set()"
