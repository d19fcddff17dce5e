"""Models from their descriptions."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import pytest
import torch

import tiny
from emorl import pretrained, stored
from emorl.model import EfficientMORL, FourierPosition, Geco, PlainGRU, SmallDecoder
from emorl.model.build import build, takes_class
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


Factory = Callable[[int], SmallDecoder]


class Passing(EfficientMORL):
    """A model that passes on what it does not name."""

    def __init__(self, extra: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Unannotated(Passing):
    """A model with a parameter without annotation."""

    def __init__(self, decoder=SmallDecoder, geco=None, **kwargs) -> None:
        super().__init__(decoder=decoder, geco=geco, **kwargs)


class OfType(Passing):
    """A model whose parameter is annotated as a class."""

    def __init__(self, decoder: "type[SmallDecoder]" = SmallDecoder, **kwargs: Any) -> None:
        super().__init__(decoder=decoder, **kwargs)


class OfAlias(Passing):
    """A model whose parameter is annotated by another name of a Callable."""

    def __init__(self, decoder: "Factory" = SmallDecoder, **kwargs: Any) -> None:
        super().__init__(decoder=decoder, **kwargs)


class Renaming(Passing):
    """A model with a parameter that no base class has."""

    def __init__(self, slot_decoder=SmallDecoder, **kwargs) -> None:
        super().__init__(decoder=slot_decoder, **kwargs)


class Wrong(Passing):
    """A model whose annotation is an instance instead of a class."""

    def __init__(self, decoder: SmallDecoder, **kwargs: Any) -> None:
        super().__init__(decoder=decoder, **kwargs)


@pytest.mark.parametrize("decoder", [SmallDecoder, partial(SmallDecoder, stride=2)])
@pytest.mark.parametrize("cls", [Passing, Unannotated, OfType, OfAlias])
def test_a_parameter_takes_a_class_if_that_of_the_base_class_does(cls, decoder):
    network = tiny.network(cls=cls, decoder=decoder, cell=PlainGRU, geco=Geco(-1.0))
    again = build(describe(network))
    assert repr(again) == repr(network)
    assert again.objective.geco.target == -1.0


def test_a_class_with_required_parameters_is_not_built_for_a_parameter_without_annotation():
    network = Renaming(slot_decoder=SmallDecoder, **tiny.SIZES)
    assert repr(build(describe(network))) == repr(network)


def test_a_part_that_cannot_be_built_is_named():
    with pytest.raises(TypeError, match=r"^parameter decoder of Wrong: .*missing .*'slot_dim'"):
        build(describe(tiny.network(cls=Wrong, decoder=SmallDecoder)))


def test_shipped_weights_need_neither_lightning_nor_the_compiler():
    modules = ("pytorch_lightning", "lightning_fabric", "torchmetrics", "webdataset", "jsonargparse", "torch._dynamo")
    code = f"import sys, emorl; emorl.load_pretrained('tetrominoes'); print(set({modules}) & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "set()"


class OfText(Passing):
    """A model with parameters that take data."""

    def __init__(self, kind="soft", form: "Literal['a.b', 1] | None" = None, sizes: Sequence[int] = (), **kwargs: Any):
        super().__init__(**kwargs)


@pytest.mark.parametrize("cls", [Passing, Unannotated, OfType, OfAlias, OfText])
def test_a_parameter_that_takes_a_class_is_known_by_its_annotation(cls):
    assert takes_class(cls, "decoder")
    assert takes_class(cls, "geco")
    assert takes_class(cls, "passed_on_elsewhere")
    assert not takes_class(cls, "num_slots")


@pytest.mark.parametrize("name", ["kind", "form", "sizes", "extra"])
def test_a_parameter_of_data_takes_any_text(name):
    assert not takes_class(OfText, name)
