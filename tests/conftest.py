"""Fixtures of all tests: small data sets, and the command `emorl` within the process."""

import gc
import os

os.environ["OMP_NUM_THREADS"] = "1"  # the same sums whatever the machine, and no crowd of threads in subprocesses
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # commands look for a GPU, and compute a little else there
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch requires of a deterministic GPU

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# torch and emorl are imported inside the fixtures: pytest's process that distributes the tests needs neither, and this
# file is loaded before jaxtyping's import hook, which checks the shapes of emorl.


def pytest_collection_finish():
    """Keep the garbage collector from visiting what lives as long as the process: torch, Lightning and the tests."""
    gc.freeze()


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """A folder of Tetrominoes: 12 scenes to train, 5 to validate, 5 to test, in shards of 5."""
    import tiny

    return tiny.write(tmp_path_factory.mktemp("tetrominoes"), train=12, val=5, test=5)


@pytest.fixture
def unchecked(monkeypatch):
    """Switch off jaxtyping's checks, which refuse arguments of other types and shapes before the package does."""
    import jaxtyping

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def seeded(monkeypatch):
    """Restore what `seed_everything` sets in the process."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")


@pytest.fixture
def emorl(seeded):
    """Run ``emorl`` with a list of arguments, leaving the process as it was."""
    from emorl.entry import main

    return lambda *arguments: main([str(argument) for argument in arguments])


@pytest.fixture
def build(seeded):
    """Parse a list of arguments and build model, data and trainer, as ``emorl`` does before it runs."""
    from emorl.cli import build

    return lambda *arguments: build([str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _denormals():
    """Give denormals back: a module on CPU flushes them, and hypothesis wants them."""
    import torch

    yield
    torch.set_flush_denormal(False)
