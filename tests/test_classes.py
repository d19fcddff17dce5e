"""Models in folders whose classes are outside `emorl.model`: commands load them if the user names the classes."""

import json
import re
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from emorl.classes import imported
from emorl.errors import DataError
from emorl.evaluation.cli import COMMANDS
from emorl.evaluation.cli import main as evaluate
from emorl.evaluation.report.run import read_run
from emorl.explore import cli as explorer
from emorl.model import FourierPosition, SmallDecoder
from emorl.pretrained import Pretrained, load_module, load_pretrained
from test_cli import QUIET, error_of

EXAMPLES = Path(__file__).parents[1] / "examples"
OPTION = "--classes=own_model.SoftKMeans"
pytest.importorskip("huggingface_hub")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of the custom model of the examples, whose class is importable, but not imported."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    from own_model import SoftKMeans

    network = SoftKMeans(
        slot_dim=8, encoder_stride=2, decoder=partial(SmallDecoder, position=FourierPosition, stride=4)
    )
    Pretrained(network, 35, {}).eval().save_pretrained("own")
    monkeypatch.delitem(sys.modules, "own_model")
    return "own"


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_subcommand_takes_the_model_of_a_named_class(command, own, shards, emorl, capsys):
    words = (command, f"--pretrained={own}", f"--data.root={shards}")
    told = "got own_model.SoftKMeans; if you trust it, name it: --classes own_model.SoftKMeans of a command"
    assert told in error_of(emorl, capsys, *words)
    assert "own_model" not in sys.modules
    more = ("--trainer.fast_dev_run=1", "--data.batch_size=2") if command == "fit" else ()
    emorl(*words, OPTION, *more, *QUIET)


def test_a_class_in_the_configuration_is_named(own, shards, emorl):
    options = (f"--data.root={shards}", "--trainer.fast_dev_run=1", "--data.batch_size=2", *QUIET)
    emorl("fit", f"-c={EXAMPLES / 'own_model.yaml'}", "--model.network.slot_dim=8", f"--pretrained={own}", *options)
    emorl("fit", "--model.network=own_model.SoftKMeans", f"--pretrained={own}", *options)
    Path("mine.yaml").write_text(yaml.safe_dump({"pretrained": own, "classes": ["own_model.SoftKMeans"]}))
    emorl("fit", "-c=mine.yaml", *options)


def test_the_record_of_a_run_names_them(own, shards, emorl):
    emorl(
        "fit",
        f"--pretrained={own}",
        OPTION,
        f"--data.root={shards}",
        "--trainer.max_steps=1",
        "--data.batch_size=2",
        *QUIET,
    )
    (config,) = Path().glob("*/**/config.yaml")
    assert yaml.safe_load(config.read_text())["classes"] in ("own_model.SoftKMeans", ["own_model.SoftKMeans"])


def test_export_and_the_explorer_take_it(own, emorl, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        emorl("export", own, "out.onnx")
    assert "name it: --classes own_model.SoftKMeans" in capsys.readouterr().err
    asked = []
    monkeypatch.setattr("emorl.export_command.export_model", lambda model, *_: asked.append(model) or [])
    with pytest.raises(SystemExit) as ended:
        emorl("export", own, "out.onnx", OPTION)
    assert ended.value.code in (0, None)
    assert type(asked[0].network).__name__ == "SoftKMeans"
    assert explorer.main([own, "--out=site"]) == 2
    assert "name it: --classes own_model.SoftKMeans" in capsys.readouterr().err
    monkeypatch.setattr("emorl.explore.build.check_exportable", lambda model, *_: asked.append(model))
    monkeypatch.setattr("emorl.explore.build.cached", lambda *_: Path("nowhere"))
    explorer.main([own, "--out=site", OPTION])
    assert type(asked[1].network).__name__ == "SoftKMeans"


@pytest.mark.parametrize("study", COMMANDS)
def test_a_study_takes_it(study, own, shards, monkeypatch, capsys):
    words = [study, own, str(shards), "out"]
    assert evaluate(words) == 2
    assert "name it: --classes own_model.SoftKMeans" in capsys.readouterr().err

    def loaded(name, classes):
        raise DataError(f"{type(load_module(name, classes=classes).network).__name__} is loaded")

    monkeypatch.setattr("emorl.pretrained.load_module", loaded)
    assert evaluate([*words, OPTION]) == 2
    assert "SoftKMeans is loaded" in capsys.readouterr().err


def test_the_record_of_a_model_in_a_report_is_read(own):
    assert read_run(own, "own_model.SoftKMeans").versions == {}


@pytest.mark.parametrize("load", [load_pretrained, load_module])
def test_functions_take_it(load, own):
    assert type(load(own, classes=imported("own_model.SoftKMeans")).network).__name__ == "SoftKMeans"
    with pytest.raises(TypeError, match="Expected a list of classes, got"):
        load(own, classes="own_model.SoftKMeans")


def test_the_refusal_names_all_classes(own, emorl, shards, capsys):
    config = json.loads(Path(own, "config.json").read_text())
    config["model"]["network"]["init_args"]["decoder"]["class_path"] = "own_decoder.Other"
    Path(own, "config.json").write_text(json.dumps(config))
    line = error_of(emorl, capsys, "test", f"--pretrained={own}", f"--data.root={shards}")
    assert "--classes '[own_decoder.Other, own_model.SoftKMeans]' of a command" in line


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("nowhere.SoftKMeans", "got No module named 'nowhere'; put the folder of nowhere on PYTHONPATH, or install it"),
        ("own_model.SoftKMean", "a class of own_model, got no such class; check the name; did you mean own_model.Soft"),
        ("own_model.gaussian_noise", "a class of own_model, got an object of type function"),
        ("SoftKMeans", "the path of a class, MODULE.CLASS, got another text; name one as own_model.SoftKMeans"),
        ("own_model.A,own_model.B", "several as '[own_model.A, own_model.B]'"),
        ("", "the path of a class, MODULE.CLASS"),
        (
            "broken.SoftKMeans",
            "got ZeroDivisionError: division by zero; correct broken, which python -c",
        ),
        ("exits.SoftKMeans", "got SystemExit: 3; correct exits, which"),
        ("quits.SoftKMeans", "got SystemExit; correct quits, which"),
        ("needs.SoftKMeans", "got No module named 'nowhere'; correct needs, which"),
        (
            "own_model.nowhere.A",
            "got No module named 'own_model.nowhere'; 'own_model' is not a package; correct",
        ),
    ],
)
def test_what_cannot_be_imported_is_one_line(path, told, own, shards, emorl, capsys):
    Path("broken.py").write_text("1 / 0")
    Path("exits.py").write_text("raise SystemExit(3)")
    Path("quits.py").write_text("raise SystemExit")
    Path("needs.py").write_text("import nowhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path.cwd())
        with pytest.raises(DataError, match=re.escape(told)):
            imported(path)
        if path:
            assert told in error_of(
                emorl, capsys, "test", f"--pretrained={own}", f"--data.root={shards}", f"--classes={path}"
            )
