"""The command ``emorl recipes``: its list comes from the files, and its copies replace nothing."""

import filecmp
import sys
from pathlib import Path

import pytest
import yaml

from emorl.configurations import FOLDER, configurations, files, recipes, studies, with_paths
from emorl.entry import main as emorl
from emorl.recipes import main


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def printed(capsys):
    def printed(*words, status=0):
        with pytest.raises(SystemExit) as caught:
            emorl(["recipes", *words])
        assert caught.value.code == status
        streams = capsys.readouterr()
        return streams.err if status else streams.out

    return printed


def test_a_recipe_is_described_by_its_file(printed):
    known = configurations()
    rows = {known[name]: line for line in printed().splitlines() if (name := line.split("  ")[0]) in known}
    for path in recipes().values():
        content = yaml.safe_load(path.read_text())
        _, model, data, size, slots, steps, time = filter(None, rows[path].split("  "))
        network = content["model"]["network"]
        assert network["class_path"].endswith(f".{model.strip()}")
        assert data.strip() == content["data"]["root"]
        assert {int(side) for side in size.split("x")} == {content["model"]["image_size"]}
        assert int(slots) == network["init_args"]["num_slots"]
        assert int(steps.replace(",", "")) == content["trainer"]["max_steps"]
        assert f"\n# Time: {time.strip()}\n" in path.read_text()


@pytest.mark.parametrize("path", sorted(set(recipes().values())), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_names_the_source_of_its_data(path):
    (command,) = (line for line in path.read_text().splitlines() if line.startswith("# Data: "))
    assert f" {yaml.safe_load(path.read_text())['data']['root']} " in f"{command} "


def test_the_list_has_every_file(printed):
    listed = {line.split("  ")[0] for line in printed().splitlines()}
    known = studies() | configurations() | files()
    assert {known[name] for name in listed if name in known} == {*files().values()} - {FOLDER / "base.yaml"}


def test_help_shows_the_order_of_words_that_the_command_accepts(printed):
    assert printed("--help").startswith("usage: emorl recipes [copy] ...")
    assert printed("copy", "--help").startswith("usage: emorl recipes copy [--out OUT] [NAME ...]")


def test_copies_are_the_files_in_their_folders(printed):
    assert "33 of 33" not in printed("copy", "tetrominoes-fast")
    assert filecmp.cmp("configs/efficient_morl/tetrominoes-fast.yaml", recipes()["tetrominoes-fast"], shallow=False)
    assert sorted(map(str, Path("configs").rglob("*.yaml"))) == [
        "configs/base.yaml",
        "configs/efficient_morl/tetrominoes-fast.yaml",
    ]
    text = printed("copy")
    wrote = [line.removeprefix("wrote ") for line in text.splitlines() if line.startswith("wrote ")]
    missing = {"configs/base.yaml", "configs/efficient_morl/tetrominoes-fast.yaml"}  # were there
    assert {*wrote} == {*map(str, Path("configs").rglob("*.yaml"))} - missing
    assert {str(path.relative_to("configs").with_suffix("")) for path in Path("configs").rglob("*.yaml")} == {*files()}


def test_a_file_that_is_there_is_not_replaced(printed):
    Path("mine").mkdir()
    Path("mine/base.yaml").write_text("edited")
    text = printed("copy", "demo", "--out", "mine")
    assert "mine: 1 of 2 files copied" in text
    assert [line for line in text.splitlines() if line.startswith("wrote")] == ["wrote mine/overlays/demo.yaml"]
    assert "mine/base.yaml differs from the package's and was not overwritten" in text
    assert Path("mine/base.yaml").read_text() == "edited"
    assert "overwritten" not in printed("copy", "demo", "--out", "other")
    assert "overwritten" not in printed("copy", "demo", "--out", "other")


def test_what_is_printed_trains_the_copy(printed, build):
    (command,) = (line for line in printed("copy", "tetrominoes-fast").splitlines() if line.startswith("emorl "))
    recipe = Path("configs/efficient_morl/tetrominoes-fast.yaml")
    recipe.write_text(recipe.read_text().replace("max_steps: 16000", "max_steps: 12"))
    cli = build(*command.split()[1:], "--trainer.accelerator=cpu", "--trainer.logger=false")
    assert cli.trainer.max_steps == 12


def test_the_printed_command_has_what_was_named_or_an_example_without_download(printed):
    recipe, demo = "configs/efficient_morl/tetrominoes-fast.yaml", "configs/overlays/demo.yaml"
    assert f"emorl fit -c configs/base.yaml -c {recipe} -c {demo}\n" in printed("copy", "tetrominoes-fast", "demo")
    assert f"emorl fit -c configs/base.yaml -c {recipe}\n" in printed("copy")
    assert f"emorl fit -c configs/base.yaml -c tetrominoes-fast -c {demo}\n" in printed("copy", "demo")
    assert "-c tetrominoes -c configs/overlays/short.yaml\n" in printed("copy", "short")
    text = printed("copy", "tetrominoes-fast", "multi-dsprites-fast", "demo", "smoke")
    for name, overlays in (("tetrominoes-fast", ["demo", "smoke"]), ("multi-dsprites-fast", ["smoke"])):
        paths = [f"configs/efficient_morl/{name}.yaml", *(f"configs/overlays/{each}.yaml" for each in overlays)]
        command = " -c ".join(["emorl fit -c configs/base.yaml", *paths])
        assert f"{command}\n" in text
        with_paths(command.split()[2:])
    assert "emorl fit" not in printed("copy", "search")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["copy", "tetrominos"], "tetrominos: expected the name of a recipe, .* did you mean tetrominoes?"),
        (
            ["copy", "configs/overlays/smok.yaml"],
            "configs/overlays/smok.yaml: expected the name of a recipe, .* overlays/smoke?",
        ),
        (["copy", "seeds"], "seeds: expected one file, got two; .*name studies/seeds or sweeps/seeds"),
        (["cpy"], "expected one of copy, got 'cpy'; did you mean copy?"),
        (
            ["copy", "demo", "nothing"],
            "nothing: expected the name of a recipe, .*; emorl recipes lists them, and --out names the folder",
        ),
    ],
)
def test_bad_input_is_one_line_and_copies_nothing(words, error, printed, here):
    first, _, last = error.partition(".*")
    (line,) = printed(*words, status=2).splitlines()
    assert line.startswith(f"emorl recipes: error: {first}")
    assert line.endswith(last)
    assert list(here.iterdir()) == []


def test_options_are_not_abbreviated(printed, here):
    told = "emorl recipes copy: error: unknown option --ou; did you mean --out?\n"
    assert printed("copy", "--ou", "configs", status=2) == told
    assert list(here.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(here, capsys):
    (here / "taken").touch()
    assert main(["copy", "--out", "taken"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "free some space" not in line
    assert line.startswith("emorl recipes: error: taken/base.yaml: cannot be written (File exists); choose another")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_place_without_folders_is_no_lack_of_space(here, capsys):
    assert main(["copy", "--out", "/proc/nowhere"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "base.yaml: cannot be written (No such file or directory); choose another folder" in line
