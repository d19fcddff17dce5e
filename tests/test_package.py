"""The public names of ``import emorl``, and the modules that it imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

import emorl


@pytest.mark.parametrize("name", emorl.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(emorl, name).__name__ == {"EfficientMORLModule": "SlotModule"}.get(name, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'emorl' has no attribute 'nothing'"):
        emorl.nothing  # noqa: B018


def test_dir_lists_public_names_and_modules_alone() -> None:
    found = {name for name in dir(emorl) if not name.startswith("__")}
    assert set(emorl.__all__) <= found
    modules = {name for name in found if f"emorl.{name}" in sys.modules}
    assert found - modules == set(emorl.__all__)


def test_the_model_needs_torch_alone() -> None:
    code = "import sys, emorl.model; print({'pytorch_lightning', 'torchmetrics', 'webdataset'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "set()"
