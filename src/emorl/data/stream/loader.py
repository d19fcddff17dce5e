"""Loaders over scene streams: one that trains and resumes, one that counts every sample exactly once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from emorl.data.stream.plan import Indices, Order, Session, evaluation_part
from emorl.data.stream.scenes import Plan, Read, SceneStream
from emorl.errors import DataError
from emorl.types import Batch

GRACE = 30  # seconds that a worker outlives SIGTERM, as long as SLURM leaves a job between SIGTERM and SIGKILL


class EvaluationLoader:
    """Every sample once, over any number of processes and workers; padding has index -1.

    All processes have equally many batches, and all batches are full, so that no image's result depends on how many
    images happen to share its batch.

    Args:
        read: reads scenes by index.
        samples: number of scenes.
        batch_size: scenes of a batch, in each process.
        num_workers: worker processes; 0 reads in the process itself.
        ranks: processes.
        rank: this process.
    """

    def __init__(
        self, read: Read, samples: int, batch_size: int, num_workers: int = 0, ranks: int = 1, rank: int = 0
    ) -> None:
        self.read = read
        self.samples = samples
        self.num_workers = num_workers
        self.rank = rank
        self.session = Session(ranks, max(1, num_workers), batch_size)

    def __len__(self) -> int:
        return -(-self.samples // (self.session.ranks * self.session.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        plan = partial(_evaluation_plan, self.samples, self.session, self.rank)
        return _workers(self.read, plan, self.session.batch_size, self.num_workers)


class TrainingLoader:
    """Epochs without end, each in a new order; its state, in a checkpoint, is the position in the data.

    Every process has equally many full batches; the fewer than ``ranks * batch_size`` samples that remain are
    dropped, other ones in each epoch. Each ``iter`` after a batch was taken starts the next epoch, except that the
    first one after `load_state_dict` resumes where the state was taken: with the same processes, workers and batch size
    in the same order as if nothing had happened, with others in a new order of what is left.

    Args:
        read: reads scenes by index.
        order: the order of training.
        batch_size: scenes of a batch, in each process.
        num_workers: worker processes; 0 reads in the process itself.
        ranks: processes.
        rank: this process.
        epoch: the first epoch.
        limit: batches that each process takes of an epoch before it begins the next, or their share of all; all of them
            unless given.
        repeat: whether every epoch is the first one again.

    Raises:
        DataError: if there are too few samples for one batch.
    """

    def __init__(
        self,
        read: Read,
        order: Order,
        batch_size: int,
        num_workers: int = 0,
        ranks: int = 1,
        rank: int = 0,
        *,
        epoch: int = 0,
        limit: int | float | None = None,
        repeat: bool = False,
    ) -> None:
        self.read = read
        self.order = order
        self.num_workers = num_workers
        self.rank = rank
        self.new_session = partial(Session, ranks, max(1, num_workers), batch_size)
        self.epoch = epoch
        self.repeat = repeat
        self.past: list[Session] = []  # of this epoch, before a restart
        self.current: Session | None = None
        samples = sum(order.shards)
        if self.new_session().whole_batches(samples) == 0:
            raise DataError.of(
                "training data",
                expected=f"at least {ranks * batch_size} samples, one batch for each process",
                got=f"{samples}",
                remedy="lower the batch size, or generate more samples",
            )
        self.limit = limit if isinstance(limit, int) else None if limit in (None, 1) else int(limit * len(self))

    def __len__(self) -> int:
        """Batches of each process in an epoch, at most: Lightning asks once, in an epoch that may be a resumed one."""
        past, session = self._sit()
        samples = self.order.remaining(self.epoch, past)
        resumed = sum(earlier.batches for earlier in past) + session.whole_batches(len(samples))
        return max(resumed, session.whole_batches(sum(self.order.shards)))

    def __iter__(self) -> Iterator[Batch]:
        if self.current is not None and self.current.batches:
            self._next_epoch()
        self.past, self.current = self._sit()
        samples = self.order.remaining(self.epoch, self.past)
        if self.current.batches >= self._left(self.current.whole_batches(len(samples))):  # restored at an epoch's end
            self._next_epoch()
            self.past, self.current = self._sit()
            samples = self.order.epoch(self.epoch)
        session = self.current
        plan = partial(self.order.ahead, samples, self.epoch, len(self.past), replace(session), self.rank)
        for batch in _workers(self.read, plan, session.batch_size, self.num_workers):
            session.batches += 1  # before the batch is handed out: a checkpoint is written while it is in use
            yield batch

    def _left(self, batches: int) -> int:
        """Return how many batches of a stretch are to be taken, of those that are there."""
        return batches if self.limit is None else min(batches, self.limit - sum(past.batches for past in self.past))

    def _sit(self) -> tuple[list[Session], Session]:
        """Return the earlier sessions of the epoch and the one to continue."""
        session = self.new_session()
        if self.current is None and self.past and replace(self.past[-1], batches=0) == session:
            return self.past[:-1], self.past[-1]
        return self.past, session

    def _next_epoch(self) -> None:
        self.epoch += not self.repeat
        self.past, self.current = [], None

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the data: plain numbers, the same in every process."""
        sessions = self.past + ([self.current] if self.current is not None else [])
        return {"order": asdict(self.order), "epoch": self.epoch, "sittings": [asdict(s) for s in sessions]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position, in the order that it belongs to.

        Raises:
            DataError: if the data set is another one than the position's.
        """
        order = Order(**state["order"])
        if order.shards != self.order.shards:
            raise DataError.of(
                "training data",
                expected=f"the {sum(order.shards)} samples of the checkpoint, in {len(order.shards)} shards",
                got=f"{sum(self.order.shards)} samples in {len(self.order.shards)} shards",
                remedy="resume on the same data set, or start a new run from the checkpoint's weights",
            )
        self.order = order
        self.epoch = state["epoch"]
        self.past, self.current = [Session(**session) for session in state["sittings"]], None


def _workers(read: Read, plan: Plan, batch_size: int, num_workers: int) -> Iterator[Batch]:
    stream = SceneStream(read, plan, batch_size)
    pin_memory = torch.accelerator.is_available()
    try:
        yield from DataLoader(
            stream, batch_size=None, num_workers=num_workers, pin_memory=pin_memory, worker_init_fn=_outlive_signals
        )
    except DataError as error:  # of a worker: its message stands at the end of a whole traceback
        raise DataError(str(error.args[0]).strip().rpartition(f"{DataError.__name__}: ")[2]) from error


def _outlive_signals(worker: int) -> None:
    """Stay for a while when a job is asked to end: the signal goes to all processes, and the step under way needs data.

    SIGUSR1 asks for it long before; a second SIGTERM means what it says. On Ctrl-C the main process ends its workers.
    """
    del worker

    def linger(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        signal.alarm(GRACE)

    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, linger)


def _evaluation_plan(samples: int, session: Session, rank: int, worker: int) -> tuple[Indices, list[Indices]]:
    part = evaluation_part(samples, session, rank, worker)
    return part, np.split(part, range(session.batch_size, len(part), session.batch_size))
