"""The command ``emorl explore``: options, errors and serving."""

from __future__ import annotations

import os

import pytest

import warm
from emorl.entry import main as emorl
from emorl.explore import cli
from emorl.explore.cli import main


def test_an_unknown_model_is_one_line(tmp_path, capsys):
    assert main(["nothing", "--out", str(tmp_path / "site")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("emorl explore: error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "site").exists()


def test_a_folder_without_images_is_one_line(tmp_path, capsys):
    assert main(["tetrominoes", "--images", str(tmp_path / "nowhere"), "--out", str(tmp_path / "site")]) == 2
    assert "expected a folder, got no such folder" in capsys.readouterr().err


def test_a_folder_with_other_files_is_refused_before_anything_is_computed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("emorl.explore.build.load_pretrained", lambda _: pytest.fail("computed"))
    (tmp_path / "thesis.tex").write_text("precious")
    assert main(["--out", str(tmp_path)]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err


def test_out_excludes_port_and_browser(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path / "site"), "--port", "8000"])
    assert ended.value.code == 2
    assert "--out does not open the page" in capsys.readouterr().err


VISIT = """
import os, signal, sys, threading, urllib.request
from emorl.explore import bundle, cli

def visit(address):
    try:
        with urllib.request.urlopen(address) as answer:
            assert "<h1>Slot explorer</h1>" in answer.read().decode()
    finally:
        os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
bundle.write_graphs = lambda model, folder: None
cli.webbrowser.open = lambda address: threading.Thread(target=visit, args=[address]).start()
sys.exit(cli.main(["tetrominoes"]))
"""


@pytest.mark.slow
def test_it_serves_the_page_until_interrupted(tmp_path):
    ran = warm.run(VISIT, environment=os.environ | {"XDG_CACHE_HOME": str(tmp_path)})
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "The slot explorer is at http://127.0.0.1:" in ran.stdout


def test_the_browser_is_opened_by_default(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(cli, "build", lambda *_: None)
    monkeypatch.setattr(cli.webbrowser, "open", opened.append)
    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", lambda _: None)
    assert main([]) == 0
    assert main(["--browser", "false"]) == 0
    assert len(opened) == 1
    assert opened[0].startswith("http://127.0.0.1:")


def test_options_follow_the_rules_of_other_commands(monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(cli, "build", lambda *_: None)
    monkeypatch.setattr(cli.webbrowser, "open", opened.append)
    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", lambda _: None)
    assert main(["--browser"]) == main(["--browser", "tetrominoes"]) == 0
    assert len(opened) == 2
    with pytest.raises(SystemExit):
        main(["--brow", "false"])
    assert "unknown option --brow; did you mean --browser?" in capsys.readouterr().err


def test_ctrl_c_before_the_page_is_served_is_told_as_by_other_commands(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "build", interrupted)
    with pytest.raises(SystemExit) as ended:
        emorl(["explore"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "emorl: interrupted\n"


TERMINATED = """
import os, signal
from emorl.entry import main
from emorl.explore import cli

def build(folder, *_):
    folder.mkdir()
    os.kill(os.getpid(), signal.SIGTERM)

cli.build = build
main(["explore"])
"""


def test_sigterm_leaves_no_temporary_folder(tmp_path):
    ran = warm.run(TERMINATED, environment=os.environ | {"TMPDIR": str(tmp_path)})
    assert (ran.returncode, ran.stderr) == (130, "emorl: interrupted\n")
    assert list(tmp_path.iterdir()) == []
