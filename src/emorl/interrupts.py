"""Ctrl-C while a command imports its libraries, which takes seconds; SIGTERM as Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

Handler = Callable[[int, FrameType | None], object] | signal.Handlers


@contextmanager
def exit_on_interrupt(command: str) -> Iterator[None]:
    """Within it, Ctrl-C prints one line and ends the process with status 130.

    Libraries turn a `KeyboardInterrupt` that they receive while they are imported into other errors, or ignore it. No
    cleanup runs: use this for imports only. In other threads, or where Ctrl-C is ignored or already handled, nothing
    changes.

    Args:
        command: the command's name.
    """

    def interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
        os.write(2, f"{command}: interrupted\n".encode())
        os._exit(128 + signal.SIGINT)

    with _handled(signal.SIGINT, interrupted, by_default=signal.default_int_handler):
        yield


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Within it, SIGTERM, which a cluster sends to end a job, is a `KeyboardInterrupt`, so that all is cleaned up.

    In other threads, or where SIGTERM is ignored or already handled, nothing changes.
    """
    with _handled(signal.SIGTERM, signal.default_int_handler, by_default=signal.SIG_DFL):
        yield


@contextmanager
def _handled(number: signal.Signals, handler: Handler, by_default: Handler) -> Iterator[None]:
    """Handle a signal in the main thread, unless it is ignored or already handled."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(number) is not by_default:
        yield
        return
    signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, by_default)
