"""A model of how processes and their workers read the batches of an epoch, for comparison with the loaders."""

from itertools import zip_longest

import numpy as np


def stream(order, samples, session, place, epoch=0, number=0):
    """Return the samples of one worker of one process, in the order in which it yields them."""
    rank, worker = place
    part = order.part(samples, session, rank, worker)
    return np.concatenate(order.windows(part, epoch, number, rank * session.workers + worker))


def rank_batches(order, samples, session, rank, epoch=0, number=0):
    """Return the batches that one process receives, alternating between its workers."""
    streams = [stream(order, samples, session, (rank, worker), epoch, number) for worker in range(session.workers)]
    return in_turns([samples.tolist() for samples in streams], session.batch_size)


def in_turns(queues, batch_size):
    """Take batches from each queue in turn, as a `DataLoader` does with its workers."""
    places = [range(0, len(queue), batch_size) for queue in queues]
    rounds = zip_longest(
        *([queue[i : i + batch_size] for i in starts] for queue, starts in zip(queues, places, strict=True))
    )
    return [batch for batches in rounds for batch in batches if batch is not None]
