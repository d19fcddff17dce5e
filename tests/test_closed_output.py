"""Commands whose output nobody reads to its end, as in ``emorl recipes | head``: they end quietly."""

import subprocess
import sys

import pytest

import tiny

COMMANDS = {
    "recipes": ("emorl.entry", "recipes"),
    "settings": ("emorl.data.cli", "generate", "tetrominoes", "out", "--print_config"),
    "data": ("emorl.data.cli", "info", "data"),
    "study": ("emorl.study.cli", "--help"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_whose_output_is_closed_prints_no_error(command, tmp_path):
    tiny.write(tmp_path / "data", train=5, val=5, test=5)
    module, *words = command
    program = f"import sys; from {module} import main; sys.exit(main())"
    started = [sys.executable, "-W", "ignore", "-c", program, *words]
    with subprocess.Popen(started, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode in (0, 141)
