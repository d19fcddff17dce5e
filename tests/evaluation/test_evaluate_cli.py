"""The command `emorl-evaluate`: help and one-line errors."""

import pytest

from emorl import command as shared
from emorl.errors import DataError
from emorl.evaluation.cli import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_study_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(f"\n  {argument} " in text for argument in ("model", "out"))
    assert "(required, type:" in text


def test_a_bad_checkpoint_is_one_line_and_status_2(tmp_path, capsys):
    assert main(["refinement", str(tmp_path / "none.ckpt"), "data", "out"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("emorl-evaluate: error: ")
    assert error.count("\n") == 1
    assert "none.ckpt: expected a checkpoint" in error


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_computed(command, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file/out"):
        assert main([command, "no model", "no data", str(out)]) == 2
        told = f"{out}: expected a folder to write to, got {tmp_path / 'file'}, a file; choose another folder\n"
        assert capsys.readouterr().err == f"emorl-evaluate: error: {told}"
    assert main([command, "no model", "no data", str(tmp_path / "new/out")]) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("a\n  b"), 2, r"error: a\n  b"),
        (OSError("a\n  b"), 2, "error: a b"),
        (PermissionError(13, "Permission denied", "out"), 2, "error: out: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted: run the same command again"),
    ],
)
def test_errors_are_one_line(error, status, message, monkeypatch, capsys):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(shared, "auto_cli", fails)
    assert main(["slots"]) == status
    assert capsys.readouterr().err == f"emorl-evaluate: {message}\n"
