"""Examples in docstrings."""

import doctest
import importlib
import pkgutil

import pytest

import emorl

SCRIPTS = ("emorl.__main__", "emorl.data.generate.clevr_blender")  # the second is for the Python of Blender
NAMES = [module.name for module in pkgutil.walk_packages(emorl.__path__, "emorl.") if module.name not in SCRIPTS]
MODULES = [importlib.import_module(name) for name in NAMES]
EXAMPLES = [test for module in MODULES for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_docstring_examples_hold(example, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # examples write there
    assert doctest.DocTestRunner().run(example).failed == 0


def test_functions_and_metrics_show_examples():
    names = {example.name for example in EXAMPLES}
    assert {"emorl.metrics.segmentation.MeanIoU", "emorl.model.efficient_morl.EfficientMORL"} <= names
