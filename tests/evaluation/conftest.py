"""Fixtures of the studies: trained models and scenes."""

import pytest

import tiny
from emorl.evaluation.inputs import load_scenes


@pytest.fixture(scope="module")
def module():
    return tiny.module(network=tiny.lively(tiny.network())).eval()


@pytest.fixture(scope="module")
def scenes(module, shards):
    return load_scenes(str(shards), module)


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the files of figures empty: drawing takes most of the time of a study."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
