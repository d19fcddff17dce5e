"""Loaders over scene streams: a resumable one for training, and one that yields every scene once for evaluation."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Iterator
from ctypes import c_bool
from dataclasses import asdict, replace
from functools import cache, partial
from multiprocessing.sharedctypes import RawValue
from traceback import clear_frames
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from emorl.data.stream.plan import Indices, Order, Session, evaluation_part
from emorl.data.stream.scenes import Plan, Read, SceneStream
from emorl.errors import DataError
from emorl.types import Batch

GRACE = 30  # seconds that a worker continues after SIGTERM: SLURM's time between SIGTERM and SIGKILL


class EvaluationLoader:
    """Yields every scene once, over any number of processes and workers; padding has index -1.

    All processes get equally many batches, and all batches are full, so that an image's result does not depend on the
    size of its batch.

    Args:
        read: reads scenes by index.
        samples: number of scenes.
        batch_size: scenes per batch, in each process.
        num_workers: number of worker processes; with 0, the process itself reads.
        ranks: number of processes.
        rank: number of this process.

    >>> from emorl.data.stream.scenes import blank
    >>> loader = EvaluationLoader(lambda indices: ((int(i), lambda: blank(8, 8)) for i in indices), 5, batch_size=4)
    >>> [batch["index"].tolist() for batch in loader]
    [[0, 1, 2, 3], [4, -1, -1, -1]]
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
    """Yields epochs in different orders; its state is the position in the data, and is stored in checkpoints.

    All processes get equally many full batches. The remaining scenes, fewer than ``ranks * batch_size``, are dropped;
    they differ between epochs. Each ``iter`` after a batch was taken starts the next epoch. The first ``iter`` after
    `load_state_dict` resumes the stored epoch instead: in the same order if the numbers of processes and workers and
    the batch size are equal, and otherwise in a new order of the remaining scenes.

    Args:
        read: reads scenes by index.
        order: the training order.
        batch_size: scenes per batch, in each process.
        num_workers: number of worker processes; with 0, the process itself reads.
        ranks: number of processes.
        rank: number of this process.
        epoch: number of the first epoch.
        limit: number of batches that each process takes from an epoch, or their fraction of all; by default all.
        repeat: whether to repeat the order of the first epoch.

    Raises:
        DataError: if there are too few scenes for one batch.

    >>> from emorl.data.stream.scenes import blank
    >>> order = Order(shards=(6, 4), window=4, seed=0)
    >>> loader = TrainingLoader(lambda indices: ((int(i), lambda: blank(8, 8)) for i in indices), order, batch_size=4)
    >>> len(loader), len({i for batch in loader for i in batch["index"].tolist()})
    (2, 8)
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
        self.past: list[Session] = []  # earlier sessions of this epoch, before a restart
        self.current: Session | None = None
        samples = sum(order.shards)
        if self.new_session().whole_batches(samples) == 0:
            raise DataError.of(
                "training data",
                expected=f"at least {ranks * batch_size} scenes, one batch for each process",
                got=f"{samples}",
                remedy="lower --data.batch_size, or add scenes",
            )
        self.limit = limit if isinstance(limit, int) else None if limit in (None, 1) else int(limit * len(self))

    def __len__(self) -> int:
        """Maximum number of batches per process and epoch: Lightning asks only once, possibly in a resumed epoch."""
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
        """Return how many of the available batches of a session to take."""
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
        """Resume from a position, in its order.

        Raises:
            DataError: if the position belongs to a different data set.
        """
        order = Order(**state["order"])
        if order.shards != self.order.shards:
            raise DataError.of(
                "training data",
                expected=f"the {sum(order.shards)} scenes of the checkpoint, in {len(order.shards)} shards",
                got=f"{sum(self.order.shards)} scenes in {len(self.order.shards)} shards",
                remedy="resume on the same data set, or start a new run from the checkpoint's weights",
            )
        self.order = order
        self.epoch = state["epoch"]
        self.past, self.current = [Session(**session) for session in state["sittings"]], None


def _workers(read: Read, plan: Plan, batch_size: int, num_workers: int) -> Iterator[Batch]:
    stream = SceneStream(read, plan, batch_size)
    pin_memory = torch.accelerator.is_available()
    outlive = partial(_outlive_signals, _exiting())
    try:
        yield from DataLoader(
            stream, batch_size=None, num_workers=num_workers, pin_memory=pin_memory, worker_init_fn=outlive
        )
    except DataError as error:  # raised in a worker: the message is at the end of its traceback
        clear_frames(error.__traceback__)  # which keep the workers: they end now, not when garbage is collected
        raise DataError(str(error.args[0]).strip().rpartition(f"{DataError.__name__}: ")[2]) from error


@cache
def _exiting() -> c_bool:
    """Return a flag in shared memory that is set when this process exits, before it sends SIGTERM to its workers.

    After an error the traceback keeps the loader and its workers until then.
    """
    flag: c_bool = RawValue(c_bool, False)
    atexit.register(setattr, flag, "value", True)
    return flag


def _outlive_signals(exiting: c_bool, worker: int) -> None:
    """Continue for `GRACE` seconds after SIGTERM, which reaches all processes, since the current step needs data.

    A second SIGTERM ends the worker at once, as does the first one if the main process is exiting. SIGUSR1 and Ctrl-C
    are ignored: the main process ends its workers.
    """
    del worker

    def linger(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if exiting.value:
            os.kill(os.getpid(), number)
        signal.alarm(GRACE)

    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, linger)


def _evaluation_plan(samples: int, session: Session, rank: int, worker: int) -> tuple[Indices, list[Indices]]:
    part = evaluation_part(samples, session, rank, worker)
    return part, np.split(part, range(session.batch_size, len(part), session.batch_size))
