"""The public names of ``import emorl``, and the modules that it imports."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import emorl
import emorl.data


@pytest.mark.parametrize("name", emorl.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(emorl, name).__name__ == {"EfficientMORLModule": "SlotModule"}.get(name, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'emorl' has no attribute 'nothing'"):
        emorl.nothing  # noqa: B018


@pytest.mark.parametrize("package", [emorl, emorl.data])
def test_dir_lists_public_names_and_modules_alone(package: ModuleType) -> None:
    found = {name for name in dir(package) if not name.startswith("__")}
    assert set(package.__all__) <= found
    modules = {name for name in found if f"{package.__name__}.{name}" in sys.modules}
    assert found - modules == set(package.__all__)


def test_the_model_needs_torch_alone() -> None:
    code = "import sys, emorl.model; print({'pytorch_lightning', 'torchmetrics', 'webdataset'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "set()"
