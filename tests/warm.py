"""Processes for tests, forked from a server that has imported what takes seconds; pytest does not check types there."""

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from unittest.mock import patch

from torch.multiprocessing import start_processes

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["emorl.cli"])
TIMEOUT = 600  # seconds
RUN = "import runpy; runpy.run_{kind}({name!r}, run_name='__main__'{more})"


def emorl(*words, **where):
    """Run the command ``emorl`` with some words in a process, see `run`."""
    return module("emorl", *words, **where)


def module(name, *words, **where):
    """Run a module in a process as ``python -m`` does, see `run`."""
    return run(RUN.format(kind="module", name=name, more=", alter_sys=True"), *words, **where)


def script(path, *words, **where):
    """Run a file in a process, see `run`."""
    return run(RUN.format(kind="path", name=str(path), more=""), *words, **where)


def run(code, *words, cwd=".", environment=os.environ):
    """Run a program in a process; return its status and what it has written, as `subprocess.run` does.

    Args:
        code: the program.
        words: its arguments.
        cwd: its folder.
        environment: its variables; what is already imported has read those of the tests.
    """
    with TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("out", "err")]
        arguments = [sys.argv[0], *map(str, words)]
        _serve()
        process = CONTEXT.Process(target=_work, args=(code, arguments, str(cwd), dict(environment), outputs))
        process.start()
        process.join(TIMEOUT)
        process.kill()
        process.join()
        return CompletedProcess(arguments, process.exitcode, *(path.read_text() for path in outputs))


def _serve():
    """Start the server, unless it runs, without the filters of warnings that pytest's command line may have."""
    with patch.object(sys, "warnoptions", []):
        forkserver.ensure_running()


def _work(code, arguments, cwd, environment, outputs):
    multiprocessing.set_start_method(None, force=True)  # workers of loaders are its children, and end if it is killed
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = arguments
    exec(compile(code, "program", "exec"), {"__name__": "__main__"})


def ranks(work, *arguments):
    """Call ``work(rank, *arguments)`` in two processes, of rank 0 and 1."""
    _serve()
    start_processes(work, arguments, nprocs=2, start_method="forkserver")
