"""The order of training as a pure function of seed, epoch, processes and workers."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from consumption import in_turns, rank_batches, stream
from hypothesis import given, settings
from hypothesis import strategies as st

from emorl.data.stream.plan import Order, Session, evaluation_part

SMALL = st.integers(1, 4)
ORDER = st.tuples(  # as arguments, since beartype cannot sample within a strategy
    st.lists(st.integers(1, 9), min_size=1, max_size=7).map(tuple), st.integers(1, 12), st.integers(0, 2**32)
)
SITTING = st.tuples(SMALL, SMALL, SMALL)


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


def epoch_of(order, epoch):
    """Return all windows of a single consumer of the whole epoch."""
    return np.concatenate(order.windows(order.epoch(epoch), epoch, 0, 0)).tolist()


@given(ORDER, SITTING, st.integers(0, 5))
def test_an_epoch_has_every_sample_at_most_once_in_equally_many_batches(order, session, epoch):
    order, session = Order(*order), Session(*session)
    ranks = [rank_batches(order, order.epoch(epoch), session, rank, epoch) for rank in range(session.ranks)]
    total, per_step = sum(order.shards), session.ranks * session.batch_size
    assert {len(batches) for batches in ranks} == {total // per_step}
    assert {len(batch) for batches in ranks for batch in batches} <= {session.batch_size}
    taken = flat(flat(ranks))
    assert len(set(taken)) == len(taken) == total - total % per_step
    assert set(taken) <= set(range(total))


@given(ORDER, st.integers(0, 5))
def test_an_epoch_keeps_shards_whole_and_in_their_order(order, epoch):
    order = Order(*order)
    samples = order.epoch(epoch).tolist()
    starts = np.cumsum([0, *order.shards])
    shards = [list(range(a, b)) for a, b in itertools.pairwise(starts)]
    assert sorted(samples) == list(range(sum(order.shards)))
    turned = samples * 2  # the first shard may continue at the end
    assert all(turned[samples.index(shard[0]) :][: len(shard)] == shard for shard in shards)


def test_dropped_samples_differ_between_epochs():
    order, session = Order((10,), 4, 0), Session(1, 1, 4)
    epochs = [flat(rank_batches(order, order.epoch(epoch), session, 0, epoch)) for epoch in range(20)]
    assert {len(taken) for taken in epochs} == {8}
    assert set(flat(epochs)) == set(range(10))


@given(ORDER, SITTING, st.integers(0, 5))
def test_a_consumer_shuffles_a_contiguous_part_within_windows(order, session, epoch):
    order, session = Order(*order), Session(*session)
    samples = order.epoch(epoch)
    for rank, worker in np.ndindex(session.ranks, session.workers):
        part = order.part(samples, session, rank, worker).tolist()
        start = samples.tolist().index(part[0]) if part else 0
        assert part == samples[start : start + len(part)].tolist()
        yielded = stream(order, samples, session, (rank, worker), epoch).tolist()
        for first in range(0, len(part), order.window):
            window = slice(first, first + order.window)
            assert sorted(yielded[window]) == sorted(part[window])


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    first, again = (Order((5,) * 8, 10, 7) for _ in range(2))
    ahead = [epoch_of(first, epoch) for epoch in (0, 1, 2)]
    assert [epoch_of(again, epoch) for epoch in (2, 1, 0)] == ahead[::-1]


def test_epochs_seeds_consumers_and_sessions_differ():
    order, part = Order((5,) * 8, 40, 7), np.arange(40)
    runs = [epoch_of(order, 0), epoch_of(order, 1), epoch_of(Order((5,) * 8, 40, 8), 0)]
    runs += [order.windows(part, *key)[0].tolist() for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len(set(map(tuple, runs))) == len(runs)


def test_windows_mix_the_samples():
    order = Order((50,) * 4, 100, 0)
    mixed = np.concatenate(order.windows(order.epoch(0), 0, 0, 0))
    assert np.abs(np.diff(mixed)).mean() > 20


@settings(deadline=None)
@given(ORDER, st.lists(SITTING, max_size=4), st.integers(0, 3), st.data())
def test_remaining_samples_are_those_that_no_consumer_took(order, chain, epoch, data):
    order = Order(*order)
    left, past = set(range(sum(order.shards))), []
    for number, session in enumerate(Session(*arguments) for arguments in chain):
        samples = order.remaining(epoch, past)
        possible = len(samples) // (session.ranks * session.batch_size)
        session.batches = data.draw(st.integers(0, possible), label="batches")
        for rank in range(session.ranks):
            batches = rank_batches(order, samples, session, rank, epoch, number)[: session.batches]
            assert left.issuperset(flat(batches))
            left -= set(flat(batches))
        past.append(session)
        assert sorted(order.remaining(epoch, past).tolist()) == sorted(left)


@given(ORDER, SITTING, st.integers(0, 3), st.data())
def test_a_session_resumes_with_the_next_batches(order, session, epoch, data):
    order, session = Order(*order), Session(*session)
    samples = order.epoch(epoch)
    session.batches = data.draw(st.integers(0, session.whole_batches(len(samples))), label="batches")
    for rank in range(session.ranks):
        whole = rank_batches(order, samples, replace(session, batches=0), rank, epoch)
        ahead = [order.ahead(samples, epoch, 0, session, rank, worker) for worker in range(session.workers)]
        queues = [np.concatenate([stored[:0], *windows]).tolist() for stored, windows in ahead]
        for stored, windows in ahead:
            assert sorted(stored.tolist()) == sorted(flat(window.tolist() for window in windows))
            assert [sample for sample in samples.tolist() if sample in stored] == stored.tolist()
        assert in_turns(queues, session.batch_size) == whole[session.batches :]


@given(ORDER, SITTING, st.integers(0, 3))
def test_remaining_samples_keep_their_order(order, session, epoch):
    order, session = Order(*order), Session(*session)
    samples = order.epoch(epoch).tolist()
    session.batches = session.whole_batches(len(samples)) // 2
    remaining = order.remaining(epoch, [session]).tolist()
    assert remaining == [sample for sample in samples if sample in set(remaining)]


@given(st.integers(0, 40), SITTING)
def test_evaluation_takes_every_sample_once_in_equally_many_full_batches(samples, session):
    session = Session(*session)
    parts = [
        [evaluation_part(samples, session, rank, worker) for worker in range(session.workers)]
        for rank in range(session.ranks)
    ]
    taken = np.concatenate([part for rank in parts for part in rank])
    assert sorted(taken[taken >= 0]) == list(range(samples))
    assert set(taken[taken < 0]) <= {-1}
    sizes = {sum(map(len, rank)) for rank in parts}
    assert sizes == {-(-samples // (session.ranks * session.batch_size)) * session.batch_size}
    assert all(len(part) % session.batch_size == 0 for rank in parts for part in rank)


@pytest.mark.parametrize("workers", [1, 3])
def test_evaluation_alternates_between_workers_in_order(workers):
    sizes = [len(evaluation_part(7, Session(1, workers, 2), 0, worker)) // 2 for worker in range(workers)]
    assert sizes == {1: [4], 3: [2, 1, 1]}[workers]
