import pytest

import tiny
from emorl import command as shared
from emorl.errors import DataError
from emorl.evaluation.cli import COMMANDS, main
from emorl.evaluation.inputs import Scenes
from emorl.evaluation.studies import layers, refinement


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


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("a\n  b"), 2, "error: a b"),
        (PermissionError(13, "Permission denied", "out"), 2, "error: [Errno 13] Permission denied: 'out'"),
        (KeyboardInterrupt(), 130, "interrupted: run the same command again"),
    ],
)
def test_what_goes_wrong_is_one_line(error, status, message, monkeypatch, capsys):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(shared, "auto_cli", fails)
    assert main([]) == status
    assert capsys.readouterr().err == f"emorl-evaluate: {message}\n"


@pytest.mark.parametrize(("study", "option"), [(refinement, "--steps=1"), (layers, "--pictures=0")])
def test_a_study_by_batches_goes_on_at_the_batch_where_it_was_interrupted(
    study, option, module, shards, tmp_path, monkeypatch
):
    places, infer, inferred = Scenes.places, study.infer, []

    def interrupted(module, batch, *steps):
        inferred.append(batch["index"].tolist())
        if len(inferred) == 5:
            raise KeyboardInterrupt
        return infer(module, batch, *steps)

    monkeypatch.setattr(Scenes, "places", lambda scenes: places(scenes, 2))
    monkeypatch.setattr(study, "infer", interrupted)
    name, path = study.__name__.rpartition(".")[2], tiny.saved(module, tmp_path / "a.ckpt")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    statuses = [main([name, path, str(shards), str(out), option]) for out in (whole, parts, parts)]
    assert statuses == [None, 130, None]
    assert inferred == [[0, 1], [2, 3], [4], [0, 1], [2, 3], [2, 3], [4]]
    assert (parts / f"{name}.csv").read_text() == (whole / f"{name}.csv").read_text()
    assert not (parts / f".{name}.json").exists()
