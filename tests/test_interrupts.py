"""Ctrl-C while a command imports its libraries: one line, and exit status 130."""

import signal
import subprocess
import sys
import threading

import pytest

from emorl.interrupts import exit_on_interrupt

# A library in C, while it is imported: it replaces the KeyboardInterrupt by another error.
PROGRAM = """
import os, signal, sys, time

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == {library!r}:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(10)
            except KeyboardInterrupt:
                raise ImportError("initialization failed") from None

sys.meta_path.insert(0, Interrupted())
from {module} import main
sys.exit(main({words}))
"""


@pytest.mark.parametrize(
    ("command", "module", "words", "library"),
    [
        ("emorl", "emorl.entry", ["fit"], "jsonargparse"),
        ("emorl", "emorl.entry", ["fit"], "torch"),
        ("emorl", "emorl.entry", ["explore"], "emorl.explore.build"),
        ("emorl", "emorl.entry", ["export", "tetrominoes", "out.onnx"], "torch"),
        ("emorl-data", "emorl.data.cli", ["info", "data"], "jsonargparse"),
        ("emorl-data", "emorl.data.cli", ["info", "data"], "numpy"),
        ("emorl-evaluate", "emorl.evaluation.cli", ["draws", "--help"], "jsonargparse"),
        ("emorl-evaluate", "emorl.evaluation.cli", ["draws", "--help"], "torch"),
        ("emorl-study", "emorl.study.cli", ["seeds", "out"], "jsonargparse"),
        ("emorl-study", "emorl.study.cli", ["seeds", "out"], "emorl.study.run"),
    ],
)
def test_an_import_ends_in_one_line(command, module, words, library):
    program = PROGRAM.format(library=library, module=module, words=words)
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert (ran.stderr, ran.returncode) == (f"{command}: interrupted\n", 130)


def test_after_the_imports_ctrl_c_is_as_before():
    with exit_on_interrupt("emorl"):
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_program_that_handles_ctrl_c_keeps_its_handler():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with exit_on_interrupt("emorl"):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_does_nothing_in_another_thread():
    done = []

    def work():
        with exit_on_interrupt("emorl"):
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]
