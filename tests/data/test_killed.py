"""Resuming of the data stream after its process was killed."""

import signal
from itertools import chain

import pytest
import recorder

import tiny
import warm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed from"),
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`"),
]

SAMPLES, STEP, KEPT = 30, 10, 8  # 15 batches of 2 to an epoch; killed in step 10, after the checkpoint of step 8


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("shards"), train=SAMPLES)


@pytest.fixture(scope="module")
def killed(root, tmp_path_factory):
    """The folder of a process that was killed while it trained with two workers."""
    folder = tmp_path_factory.mktemp("killed")
    ran = warm.script(recorder.__file__, root, folder, "2", STEP)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    return folder


def test_it_was_killed_after_its_last_checkpoint(killed):
    assert sorted(path.name for path in killed.glob("*.ckpt"))[-1] == f"step={KEPT}.ckpt"
    assert len(recorder.seen(killed)) == STEP + 1


@pytest.mark.parametrize("num_workers", [2, 0, 1])
def test_a_restart_reads_exactly_the_remaining_samples(root, killed, num_workers, tmp_path):
    before = recorder.seen(killed)
    after = recorder.run(root, tmp_path, num_workers, resume=killed / f"step={KEPT}.ckpt")
    rest = SAMPLES // 2 - KEPT
    assert sorted(chain(*before[:KEPT], *after[:rest])) == list(range(SAMPLES))
    assert sorted(chain(*after[rest:])) == list(range(SAMPLES))
    if num_workers == 2:
        assert after[: len(before) - KEPT] == before[KEPT:]
