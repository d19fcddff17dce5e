"""Unsupervised object-centric learning with PyTorch Lightning: EfficientMORL and its family of slot models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emorl.data.datamodule import MultiObjectDataModule
    from emorl.model import IODINE, EfficientMORL, SlotAttention, SlotModel
    from emorl.module import EfficientMORLModule, SlotModule
    from emorl.pretrained import from_pretrained, list_pretrained, load_pretrained
    from emorl.released import load_released, save_released

__version__ = "0.3.0.dev0"
__all__ = [
    "IODINE",
    "EfficientMORL",
    "EfficientMORLModule",
    "MultiObjectDataModule",
    "SlotAttention",
    "SlotModel",
    "SlotModule",
    "from_pretrained",
    "list_pretrained",
    "load_pretrained",
    "load_released",
    "save_released",
]

_HOMES = {
    "EfficientMORL": "emorl.model",
    "IODINE": "emorl.model",
    "EfficientMORLModule": "emorl.module",
    "MultiObjectDataModule": "emorl.data.datamodule",
    "SlotAttention": "emorl.model",
    "SlotModel": "emorl.model",
    "SlotModule": "emorl.module",
    "from_pretrained": "emorl.pretrained",
    "list_pretrained": "emorl.pretrained",
    "load_pretrained": "emorl.pretrained",
    "load_released": "emorl.released",
    "save_released": "emorl.released",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first access, so that ``emorl.model`` does not need Lightning."""
    if name not in _HOMES:
        raise AttributeError(f"module 'emorl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names and the imported modules."""
    modules = (name for name, value in globals().items() if getattr(value, "__name__", "") == f"emorl.{name}")
    own = (name for name in globals() if name.startswith("__"))
    return sorted({*own, *modules, *__all__})
