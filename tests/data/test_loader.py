"""Loaders that train, resume and evaluate, over any number of processes and workers."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import chain, count, islice
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from consumption import rank_batches

from emorl.data.records import Record, Source
from emorl.data.stream.loader import EvaluationLoader, TrainingLoader
from emorl.data.stream.plan import Order, Session
from emorl.data.stream.scenes import Scene, ShardReader
from emorl.data.write.selection import consecutive
from emorl.data.write.writer import write_shards
from emorl.errors import DataError

ORDER = Order(shards=(5, 5, 3), window=4, seed=3)
SAMPLES = sum(ORDER.shards)


def scene(index):
    return Scene(f"{index}", np.full((2, 2, 3), index % 256, np.uint8), None)


def read(indices):
    return ((index, partial(scene, index)) for index in map(int, indices))


def spoilt(indices):
    return ((index, partial(fail if index == 3 else scene, index)) for index in map(int, indices))


def fail(index):
    raise DataError.of(f"image {index}", expected="a picture", got="none", remedy="remove it")


def loader(num_workers=0, batch_size=2, ranks=1, rank=0):
    return TrainingLoader(read, ORDER, batch_size, num_workers, ranks, rank)


def taken(batches, number=None):
    return [batch["index"].tolist() for batch in islice(batches, number)]


def planned(num_workers, epoch, past=(), batch_size=2, ranks=1, rank=0):
    """Return the batches of a process in a new session according to the plan."""
    session, samples = Session(ranks, max(1, num_workers), batch_size), ORDER.remaining(epoch, past)
    return rank_batches(ORDER, samples, session, rank, epoch, len(past))


def restored(state, **arguments):
    new = loader(**arguments)
    new.load_state_dict(state)
    return new


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_training_follows_the_plan_epoch_by_epoch(num_workers):
    training = loader(num_workers)
    assert len(training) == 6
    for epoch in range(2):
        assert taken(training) == planned(num_workers, epoch)


def test_processes_share_an_epoch():
    for rank in range(2):
        assert taken(loader(ranks=2, rank=rank)) == planned(0, 0, ranks=2, rank=rank)
        assert len(loader(ranks=2, rank=rank)) == 3


@pytest.mark.parametrize(
    ("num_workers", "stops"),
    [
        *((0, stops) for stops in ([1], [4], [1, 1, 2], [6], [3, 3, 3])),
        (1, [4]),
        *((2, stops) for stops in ([1, 1, 2], [3, 3, 3])),
    ],
)
def test_a_restored_loader_resumes_exactly(num_workers, stops):
    training, seen = loader(num_workers), []
    for stop in stops:
        seen += taken(training, stop)
        training = restored(training.state_dict(), num_workers=num_workers)
        assert len(training) == 6
    whole = planned(num_workers, 0) + planned(num_workers, 1)
    seen += taken(training)
    assert seen == whole[: len(seen)]
    assert len(seen) in (6, 12)


@pytest.mark.parametrize(("before", "after", "batches"), [(0, 2, 1), (1, 2, 4), (2, 0, 4), (2, 1, 1)])
def test_with_other_workers_a_restored_loader_yields_exactly_the_rest(before, after, batches):
    training = loader(before)
    first = taken(training, batches)
    again = restored(training.state_dict(), num_workers=after)
    assert len(again) == 6
    rest = taken(again)
    assert rest == planned(after, 0, [Session(1, max(1, before), 2, batches)])
    seen = list(chain(*first, *rest))
    assert len(set(seen)) == len(seen) == 12
    assert taken(again) == planned(after, 1)


def test_a_restored_loader_uses_the_order_of_its_state():
    training = loader()
    first = taken(training, 2)
    again = TrainingLoader(read, replace(ORDER, window=9, seed=8), 2)
    again.load_state_dict(training.state_dict())
    assert first + taken(again) == planned(0, 0)


def test_a_state_of_another_data_set_is_refused():
    again = TrainingLoader(read, replace(ORDER, shards=(5, 5, 2)), 2)
    with pytest.raises(DataError, match=r"expected the 13 scenes of the checkpoint, in 3 shards, got 12 scenes in 3"):
        again.load_state_dict(loader().state_dict())


def test_a_state_includes_the_batch_in_use():
    training = loader()
    for number, _ in enumerate(training, start=1):
        assert training.state_dict()["sittings"][-1]["batches"] == number


def test_processes_and_batch_size_may_change_twice_within_an_epoch():
    training = loader(num_workers=2)
    seen = list(chain(*taken(training, 2)))
    states = [training.state_dict()]
    for rank in range(2):
        training = restored(states[0], batch_size=1, ranks=2, rank=rank)
        seen += chain(*taken(training, 3))
        states.append(training.state_dict())
    assert states[1] == states[2]
    seen += chain(*taken(restored(states[1], batch_size=3)))
    assert sorted(seen) == sorted(range(SAMPLES))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_restored_at_the_end_of_an_epoch_continues_with_the_next(num_workers):
    training = loader()
    taken(training)
    again = restored(training.state_dict(), num_workers=num_workers)
    assert taken(again) == planned(num_workers, 1)
    assert again.state_dict()["epoch"] == 1


def test_restored_before_the_first_batch_starts_the_epoch():
    assert taken(restored(loader().state_dict())) == planned(0, 0)


def test_a_new_iteration_starts_the_next_epoch_only_after_a_batch():
    training = loader()
    iter(training)
    assert taken(training, 2) == planned(0, 0)[:2]
    assert taken(training) == planned(0, 1)


def test_a_state_is_plain_and_a_snapshot():
    training = loader()
    batches = iter(training)
    next(batches)
    state = training.state_dict()
    next(batches)
    assert state == {
        "order": {"shards": (5, 5, 3), "window": 4, "seed": 3},
        "epoch": 0,
        "sittings": [{"ranks": 1, "workers": 1, "batch_size": 2, "batches": 1}],
    }


@pytest.mark.parametrize(("batch_size", "ranks"), [(14, 1), (7, 2)])
def test_too_few_samples_for_one_batch(batch_size, ranks):
    with pytest.raises(
        DataError, match=r"training data: expected at least 14 scenes, .* got 13; lower --data.batch_size"
    ):
        loader(batch_size=batch_size, ranks=ranks)


@pytest.mark.parametrize(
    ("num_workers", "samples", "batch_size"), [(0, 7, 2), (0, 4, 4), (0, 1, 3), (1, 4, 4), (2, 7, 2), (2, 1, 3)]
)
def test_evaluation_has_each_sample_once_in_full_batches(num_workers, samples, batch_size):
    evaluation = EvaluationLoader(read, samples, batch_size, num_workers)
    batches = taken(evaluation)
    assert len(batches) == len(evaluation)
    assert {len(batch) for batch in batches} == {batch_size}
    indices = list(chain(*batches))
    assert sorted(index for index in indices if index >= 0) == list(range(samples))
    assert taken(evaluation) == batches


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_over_processes_has_equally_many_batches(num_workers):
    batches = [taken(EvaluationLoader(read, 7, 2, num_workers, 3, rank)) for rank in range(3)]
    assert {len(rank) for rank in batches} == {2}
    assert sorted(index for index in chain(*chain(*batches)) if index >= 0) == list(range(7))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_in_a_worker_keeps_its_message_and_ends_the_workers(num_workers):
    """At once: those that wait for the garbage collector delay the program by seconds when it comes."""
    before = active_children()
    with pytest.raises(DataError, match="image 3: expected a picture, got none; remove it"):
        list(EvaluationLoader(spoilt, 5, 2, num_workers))
    assert active_children() == before


class Noise(Source):
    """Images of 110 kB that do not compress."""

    dataset, variant, image_size, max_objects, factors = "noise", "standard", (192, 192), 1, ()

    @property
    def provenance(self):
        return {"generator": "noise"}

    def records(self, start=0):
        for index in count(start):
            image = np.random.default_rng(index).integers(0, 256, (192, 192, 3), np.uint8)
            yield Record(image, np.zeros((192, 192), np.uint8), [])


def resident():
    """Return the memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def weighed(read, indices):
    """Read, and use the reader's memory as each scene's key."""
    return ((index, lambda decode=decode: decode()._replace(key=f"{resident()}")) for index, decode in read(indices))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process on Linux only")
def test_the_memory_of_a_reader_is_constant(tmp_path):
    """Each epoch has a new worker, which runs the same code; keeping a fifth of the data would take 4 MB more."""
    manifest = write_shards(consecutive(Noise(), {"train": 100}), tmp_path, shard_size=10)
    read = partial(weighed, ShardReader(str(tmp_path), manifest, "train", "square", 64, 64))
    training = TrainingLoader(read, Order((10,) * 10, 10, 0), 5)
    first, *others = (max(int(key) for batch in training for key in batch["key"]) for _ in range(3))
    assert max(others) - first < 4 << 20


def test_workers_end_with_a_process_whose_error_keeps_the_loader(tmp_path):
    """Otherwise they outlive the SIGTERM of its exit, which waits for them."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        f"sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]}\n"
        "from emorl.data.stream import loader\n"
        "from test_loader import loader as training\n"
        "loader.GRACE = 1000\n"
        "batches = iter(training(num_workers=2))\n"
        "next(batches)\n"
        "raise SystemExit(7)\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", program], timeout=200, check=False).returncode == 7
