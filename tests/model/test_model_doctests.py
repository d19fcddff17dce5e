import doctest
import importlib
import pkgutil

import pytest

import emorl.model

MODULES = [
    emorl.model,
    *(importlib.import_module(f"emorl.model.{m.name}") for m in pkgutil.iter_modules(emorl.model.__path__)),
]
EXAMPLES = [test for module in MODULES for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_docstring_examples_hold(example):
    assert doctest.DocTestRunner().run(example).failed == 0


def test_the_model_shows_an_example():
    assert "emorl.model.efficient_morl.EfficientMORL" in {example.name for example in EXAMPLES}
