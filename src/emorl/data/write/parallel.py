"""Writing of shards in several processes, which end with their parent process, or when it stops."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path

from emorl.data.shards.manifest import Shard
from emorl.data.write.selection import ShardTask
from emorl.data.write.shard_writer import write_shard
from emorl.errors import DataError
from emorl.files import remove_temporary


def write_in_parallel(folder: Path, tasks: list[ShardTask], processes: int) -> Iterator[Shard]:
    """Write shards from sources with random access, and yield them as they are finished.

    On closing the iterator, and on an error, shards in progress are given up.

    Raises:
        DataError: as `write_shard`, or if a process dies.
    """
    context = multiprocessing.get_context("forkserver")  # a plain fork would copy locks that other threads hold
    context.set_forkserver_preload([__name__])  # imports take seconds, so do them once
    _start_server()
    reader, writer = context.Pipe(duplex=False)  # closed to end the processes
    with reader, writer, ProcessPoolExecutor(processes, context, initializer=_follow, initargs=(reader,)) as pool:
        futures = [pool.submit(_write_alone, folder, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            remedy = "run the same command again, with fewer processes if memory is short: finished shards are kept"
            expected, got = f"{processes} processes to finish", "a process that died"
            raise DataError.of(folder, expected=expected, got=got, remedy=remedy) from error
        finally:
            if not all(future.done() for future in futures):
                writer.close()
            pool.shutdown(cancel_futures=True)
            remove_temporary(folder)  # of shards that were given up


def _start_server() -> None:
    """Start the server of processes, without Ctrl-C for it and them, which only the parent process handles."""
    resource_tracker.ensure_running()  # which would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _write_alone(folder: Path, task: ShardTask) -> Shard:
    return write_shard(folder, task, task.source.select(task.runs))


def _follow(reader: Connection) -> None:
    """End with the parent process, or when it closes the pipe.

    Ctrl-C is ignored, for the case that another part of the program started the server.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_after, args=(parent.sentinel, reader), daemon=True).start()


def _exit_after(*ends: int | Connection) -> None:
    wait(ends)
    os._exit(1)
