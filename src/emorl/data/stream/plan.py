"""Order and distribution of scenes, as pure functions that are computed before anything is read.

An epoch is a list of scene indices. It is divided into one contiguous part for each *consumer* (a worker of a
process), so that a consumer reads few shards, and each part is shuffled within windows that fit into memory. The order
does not depend on what was read before, so a run can stop anywhere and resume with exactly the remaining scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Int64

Indices = Int64[np.ndarray, " _"]


@dataclass
class Session:
    """A part of an epoch that is read with fixed numbers of processes and workers.

    Args:
        ranks: number of processes.
        workers: number of workers of each process.
        batch_size: scenes per batch, in each process.
        batches: number of batches that each process has taken.

    >>> Session(ranks=2, workers=1, batch_size=4).whole_batches(samples=20)
    2
    """

    ranks: int
    workers: int
    batch_size: int
    batches: int = 0

    def taken(self, worker: int, batches: int) -> int:
        """Return how many of a process's first ``batches`` batches come from a worker; workers alternate."""
        return (batches - worker + self.workers - 1) // self.workers

    def whole_batches(self, samples: int) -> int:
        """Return how many full batches of ``samples`` scenes each process gets; remaining scenes are dropped."""
        return samples // (self.ranks * self.batch_size)

    def part(self, batches: int, rank: int, worker: int) -> slice:
        """Return one consumer's part of the scenes if every process gets ``batches`` batches."""
        first = rank * batches + sum(self.taken(w, batches) for w in range(worker))
        return slice(first * self.batch_size, (first + self.taken(worker, batches)) * self.batch_size)


@dataclass(frozen=True)
class Order:
    """The training order: a pure function of seed, epoch and the numbers of processes and workers.

    Args:
        shards: number of scenes in each shard.
        window: number of scenes that are shuffled together.
        seed: seed of the order.

    >>> order = Order(shards=(3, 2), window=2, seed=0)
    >>> sorted(order.epoch(0).tolist())
    [0, 1, 2, 3, 4]
    """

    shards: tuple[int, ...]
    window: int
    seed: int

    def epoch(self, epoch: int) -> Indices:
        """Return all samples: shards in random order, each in storage order, rotated by a random offset."""
        starts, generator = np.cumsum([0, *self.shards]), self._generator(epoch)
        shuffled = generator.permutation(len(self.shards))
        samples = np.concatenate([np.arange(starts[s], starts[s + 1]) for s in shuffled])
        return np.roll(samples, generator.integers(len(samples)))  # so that no scene is dropped in every epoch

    def part(self, samples: Indices, session: Session, rank: int, worker: int) -> Indices:
        """Return the scenes of one consumer, in the order of ``samples``."""
        return samples[session.part(session.whole_batches(len(samples)), rank, worker)]

    def windows(self, part: Indices, epoch: int, session: int, consumer: int) -> list[Indices]:
        """Return the shuffled windows of a consumer's part."""
        generator = self._generator(epoch, session, consumer)
        cuts = range(self.window, len(part), self.window)
        return [generator.permutation(window) for window in np.split(part, list(cuts))]

    def ahead(
        self, samples: Indices, epoch: int, number: int, session: Session, rank: int, worker: int
    ) -> tuple[Indices, list[Indices]]:
        """Return a worker's unread scenes of a session, in storage order, and the order in which to yield them.

        A session that resumes after ``session.batches`` batches begins with the worker that is next in turn.
        """
        turn = (worker + session.batches) % session.workers
        part = self.part(samples, session, rank, turn)
        windows = self.windows(part, epoch, number, rank * session.workers + turn)
        left = _drop(windows, session.taken(turn, session.batches) * session.batch_size)
        return part[np.isin(part, np.concatenate([part[:0], *left]))], left

    def remaining(self, epoch: int, sessions: Sequence[Session]) -> Indices:
        """Return the scenes of an epoch that no consumer has taken yet."""
        samples = self.epoch(epoch)
        for number, session in enumerate(sessions):
            places = product(range(session.ranks), range(session.workers))
            left = [self.ahead(samples, epoch, number, session, *place)[0] for place in places]
            dealt = session.whole_batches(len(samples)) * session.ranks * session.batch_size
            samples = samples[np.isin(samples, np.concatenate([*left, samples[dealt:]]))]
        return samples

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, *key))))


def evaluation_part(samples: int, session: Session, rank: int, worker: int) -> Indices:
    """Return one consumer's scenes in evaluation: each scene once, padded with -1 to full batches.

    >>> evaluation_part(5, Session(ranks=1, workers=2, batch_size=2), rank=0, worker=1)
    array([ 4, -1])
    """
    batches = -(-samples // (session.ranks * session.batch_size))
    part = session.part(batches, rank, worker)
    indices = np.arange(part.start, part.stop)
    return np.where(indices < samples, indices, -1)


def _drop(windows: Sequence[Indices], count: int) -> list[Indices]:
    """Remove the first ``count`` scenes."""
    left = []
    for window in windows:
        left.append(window[count:])
        count = max(0, count - len(window))
    return [window for window in left if len(window)]
