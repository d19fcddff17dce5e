"""Help and version of the four commands, and the modules that these import."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import emorl as package
import warm
from emorl.entry import OTHERS, SUBCOMMANDS

COMMANDS = {
    "emorl": "emorl.entry",
    "emorl-data": "emorl.data.cli",
    "emorl-evaluate": "emorl.evaluation.cli",
    "emorl-study": "emorl.study.cli",
}
HEAVY = ("torch", "pytorch_lightning", "torchmetrics", "matplotlib", "scipy", "sklearn", "wandb")
PROGRAM = """
import sys
from {module} import main
try:
    status = main({words})
except SystemExit as exit_:
    status = exit_.code
print(status, [name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""


def test_the_documentation_lists_every_command():
    table = (Path(__file__).parents[1] / "docs/cli.md").read_text()
    for name in (*(f"emorl {name}" for name in (*SUBCOMMANDS, *OTHERS)), *COMMANDS):
        assert name == "emorl" or f"\n| `{name}` |" in table, name


def run(command, words, heavy=HEAVY):
    """Return what a command prints, its errors, its status and which modules it has imported, as text."""
    program = PROGRAM.format(module=COMMANDS[command], words=words, heavy=heavy)
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    *errors, last = ran.stderr.splitlines()
    return ran.stdout, errors, last


@pytest.mark.parametrize("command", COMMANDS)
def test_the_version(command):
    assert run(command, ["--version"]) == (f"{command} {package.__version__}\n", [], "0 []")


@pytest.mark.parametrize("name", ["fit", *OTHERS])
def test_a_subcommand_has_the_version_too(name, emorl, capsys):
    with pytest.raises(SystemExit) as caught:
        emorl(name, "--version")
    assert caught.value.code == 0
    assert capsys.readouterr() == (f"emorl {name} {package.__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_needs_nothing_that_takes_seconds(option, command):
    text, errors, last = run(command, [option])
    assert f"usage: {command}" in text
    assert (errors, last) == ([], "0 []")


@pytest.mark.parametrize("command", ["emorl", "emorl-data", "emorl-evaluate"])
@pytest.mark.parametrize("words", [[], ["fit-a-model"]])
def test_a_missing_or_mistyped_subcommand_needs_nothing_either(words, command):
    _, errors, last = run(command, words)
    assert len(errors) == 1
    assert errors[0].startswith(f"{command}: error: ")
    assert last == "2 []"


def test_the_recipes_are_listed_and_copied_without_what_takes_seconds(tmp_path):
    text, errors, last = run("emorl", ["recipes"])
    assert "\ntetrominoes-fast " in text
    assert (errors, last) == ([], "0 []")
    assert run("emorl", ["recipes", "copy", "--out", str(tmp_path / "configs")])[1:] == ([], "0 []")


def printed(main, words, capsys):
    """Return what a command prints within this process, as text without its line breaks."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code
    return " ".join(capsys.readouterr().out.split())


def test_help_of_the_studies_shows_their_arguments(capsys):
    from emorl.evaluation import cli

    text = printed(cli.main, ["--help"], capsys)
    assert "emorl-evaluate STUDY MODEL DATA OUT" in text
    assert "emorl-evaluate STUDY --help" in text
    for study in cli.COMMANDS:
        assert "model data out" in printed(cli.main, [study, "--help"], capsys), study


def test_the_list_of_commands_says_where_a_folder_of_images_is_converted():
    text, _, _ = run("emorl-data", ["--help"])
    assert "Convert a folder of images" in " ".join(text.split())


@pytest.mark.parametrize("option", ["train", "val", "test"])
def test_help_of_a_folder_says_what_null_means(option, capsys):
    from emorl.data import cli

    text = printed(cli.main, ["convert", "folder", "--help"], capsys)
    assert re.search(rf" --{option} \S+ Number of \w+ images; null means (all|none)", text)


@pytest.mark.parametrize("group", ["generate", "convert", "export"])
def test_help_of_a_group(group):
    text, _, last = run("emorl-data", [group, "--help"])
    assert f"usage: emorl-data {group}" in text
    assert last == "0 []"


@pytest.mark.parametrize(
    ("command", "option"), [("emorl-data", "--variant"), ("emorl-evaluate", "--count"), ("emorl-study", "--seeds")]
)
def test_the_shell_completes_options(command, option, monkeypatch, capsys):
    pytest.importorskip("shtab")
    monkeypatch.setenv("JSONARGPARSE_ADD_PRINT_COMPLETION_ARGUMENT", "true")
    assert option in printed(import_module(COMMANDS[command]).main, ["--print_completion=shtab-bash"], capsys)


def test_data_commands_need_no_lightning(tmp_path):
    out = str(tmp_path / "out")
    generate = ["generate", "tetrominoes", out, "--train=1", "--val=0", "--test=0", "--processes=1"]
    preview = ["preview", out, f"--output={out}.png"]
    unneeded = ("pytorch_lightning", "torchmetrics", "matplotlib", "scipy.signal", "torch._dynamo", "sklearn")
    code = f"import sys; from emorl.data.cli import main; failed = main({generate}) or main({preview})"
    code = f"{code}; print(failed, [name for name in {unneeded} if name in sys.modules], file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines()[-1] == "None []"


def test_a_study_imports_what_draws_its_figures_alone():
    code = (
        "import sys, emorl.study.run; print([name for name in ('torch', 'pytorch_lightning') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_study_of_scores_needs_no_scikit_learn():
    """In a process that has imported Lightning, torch and the command ``emorl``."""
    heavy = "sklearn", "jinja2.environment", "wandb"
    ran = warm.run(PROGRAM.format(module=COMMANDS["emorl-evaluate"], words=["draws", "--help"], heavy=heavy))
    assert ran.stderr == "0 []\n"


def test_public_names_are_listed_before_they_are_imported():
    code = "import sys, emorl; print(set(emorl.__all__) <= set(dir(emorl)), 'torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True False\n"
