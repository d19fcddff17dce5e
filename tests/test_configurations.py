"""Configurations by name: a name of the package works like a path, and an existing path takes precedence."""

import re
from pathlib import Path

import pytest

from emorl.configurations import BASE, FOLDER, _warn, chosen, configurations, files, find, recipes, studies, with_paths
from emorl.errors import DataError

ROOT = Path(__file__).parents[1]
FAST = FOLDER / "efficient_morl/tetrominoes-fast.yaml"
OTHER = FOLDER / "slot_attention/tetrominoes-fast.yaml"
DEMO, SMOKE = (FOLDER / f"overlays/{name}.yaml" for name in ("demo", "smoke"))
IODINE = FOLDER / "iodine/tetrominoes.yaml"
WITH_BASE = ["--config", str(BASE)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder without the repository, in which each warning is printed again."""
    _warn.cache_clear()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_package_has_the_files_of_the_repository():
    paths = [path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")]
    assert {path.relative_to(FOLDER) for path in files().values()} == set(paths)


def test_names():
    assert recipes()["tetrominoes-fast"] == recipes()["efficient_morl/tetrominoes-fast"] == FAST
    assert recipes()["slot_attention/tetrominoes-fast"] == OTHER
    assert configurations()["demo"] == configurations()["overlays/demo"] == DEMO
    assert configurations()["base"] == BASE
    assert studies()["ablations/geco"] == studies()["studies/ablations/geco"] == FOLDER / "studies/ablations/geco.yaml"
    assert not {"base", "demo", "seeds", "studies/seeds", "sweeps/seeds"} & recipes().keys()
    assert not {"seeds", "studies/seeds", "sweeps/seeds"} & configurations().keys()


@pytest.mark.parametrize("form", ["-c {}", "-c={}", "-c{}", "--config {}", "--config={}"])
def test_a_name_is_a_path_however_the_option_is_written(form):
    assert with_paths(form.format("slot_attention/tetrominoes-fast").split())[3] == str(OTHER)


@pytest.mark.parametrize("name", ["tetrominoes-fast", str(FAST)])
def test_base_comes_before_all_else(name):
    words = ["--trainer.logger.version=a", "-c", "wandb", "-c", name, "--x", "tetrominoes"]
    wandb = str(FOLDER / "overlays/wandb.yaml")
    expected = ["--trainer.logger.version=a", "-c", wandb, "-c", str(FAST), "--x", "tetrominoes"]
    assert with_paths(words) == [*WITH_BASE, *expected]


@pytest.mark.parametrize("words", [[], ["--trainer.max_steps=3"], ["-c", "mine.yaml"]])
def test_a_training_without_a_recipe_starts_from_base_too(words):
    Path("mine.yaml").write_text("{}")
    assert with_paths(words) == [*WITH_BASE, *words]


@pytest.mark.parametrize("given", ["base", "base.yaml", "configs/base.yaml", str(BASE)])
def test_a_base_that_is_given_is_the_only_one(given):
    for path in ("base.yaml", "configs/base.yaml"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text("{}")
    given_path = str(BASE) if given == "base" else given
    assert with_paths(["-c", given, "-c", "tetrominoes-fast"]) == ["-c", given_path, "-c", str(FAST)]


def test_your_own_file_named_base_after_a_recipe_does_not_replace_base(here):
    (here / "base.yaml").write_text("trainer: {max_steps: 5}")
    words = ["-c", "tetrominoes-fast", "-c", "base.yaml"]
    assert with_paths(words) == [*WITH_BASE, "-c", str(FAST), "-c", "base.yaml"]


def test_an_edited_copy_of_base_that_is_not_used_is_a_warning(here, caplog):
    (here / "configs").mkdir()
    (here / "configs/base.yaml").write_text("{}")
    with_paths(["-c", "configs/base.yaml"])
    assert caplog.text == ""
    with_paths(["--trainer.max_steps=3"])
    assert "configs/base.yaml is not used" in caplog.text


@pytest.mark.parametrize("words", [["-c", "smoke"], ["-c", "mine.yaml"], []])
def test_only_a_recipe_by_name_brings_base_to_other_subcommands(words):
    Path("mine.yaml").write_text("{}")
    assert with_paths(words, "test") == [str(SMOKE) if word == "smoke" else word for word in words]
    assert with_paths(["-c", "tetrominoes-fast", *words], "test")[:2] == WITH_BASE
    assert with_paths(["-c", str(FAST)], "test") == ["-c", str(FAST)]


def copied(path, here):
    """Copy a file of the package to ``copied/``, in the same layout."""
    copy = here / "copied" / path.relative_to(FOLDER)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(path.read_bytes())


@pytest.mark.parametrize("recipe", ["tetrominoes-fast", str(FAST), "copied/efficient_morl/tetrominoes-fast.yaml"])
def test_an_overlay_before_its_recipe_is_an_error(recipe, here):
    copied(FAST, here)
    told = r"demo: .* recipe that it changes \(.*trainer.max_steps\), got it before .*; give -c demo last"
    with pytest.raises(DataError, match=told):
        with_paths(["-c", "demo", "-c", recipe])
    with_paths(["-c", recipe, "-c", "demo"])
    with_paths(["-c", "wandb", "-c", recipe])  # it only appends


@pytest.mark.parametrize("base", ["base", "configs/base.yaml"])
def test_base_after_another_configuration_is_an_error(base):
    """It would override the recipe's settings."""
    told = rf"{base}: expected no configuration before .*, got tetrominoes-fast before .*; leave it out"
    with pytest.raises(DataError, match=told):
        with_paths(["-c", "tetrominoes-fast", "-c", base])


def test_your_own_file_may_override_an_overlay(here):
    (here / "mine.yaml").write_text("trainer: {max_steps: 5}")
    assert with_paths(["-c", "demo", "-c", "mine.yaml"])[-1] == "mine.yaml"


@pytest.mark.parametrize("overlay", ["demo", "overlays/demo", "short", str(DEMO), "copied/overlays/demo.yaml"])
def test_an_overlay_for_one_recipe_is_an_error_without_it(overlay, here):
    copied(DEMO, here)
    recipe = "tetrominoes" if overlay == "short" else "tetrominoes-fast"
    remedy = rf"give -c {recipe} -c {re.escape(overlay)}$"
    for subcommand in ("fit", "test"):
        for words in ([], ["-c", "wandb"], ["-c", "base"], ["--trainer.max_steps=3"]):
            with pytest.raises(DataError, match=rf"expected the recipe {recipe} before it, got no recipe; {remedy}"):
                with_paths([*words, "-c", overlay], subcommand)
    for other in ("multi-dsprites-fast", "slot_attention/tetrominoes-fast"):
        with pytest.raises(DataError, match=rf"before it, got {other}; {remedy}"):
            with_paths(["-c", other, "-c", overlay])
    (here / "mine.yaml").write_text("trainer: {max_steps: 5}")
    path = FOLDER / f"efficient_morl/{recipe}.yaml"
    for own in (recipe, f"efficient_morl/{recipe}", str(path), "mine.yaml", "{a: 1}"):
        with_paths(["-c", own, "-c", overlay])


def test_every_overlay_says_which_recipes_it_is_for():
    for path in (FOLDER / "overlays").iterdir():
        named = re.match(r"# For (any recipe|[\w/-]+)\b.*: ", path.read_text())
        assert named, path
        assert named[1] == "any recipe" or named[1] in recipes(), path


@pytest.mark.parametrize("words", [["wandb"], ["smoke"], ["wandb", "mine.yaml"], ["mine.yaml", "wandb", "smoke"]])
def test_an_overlay_for_any_recipe_needs_none(words, here):
    (here / "mine.yaml").write_text("trainer: {max_steps: 5}")
    with_paths([part for word in words for part in ("-c", word)])


@pytest.mark.parametrize("second", ["clevr6-fast", str(IODINE), "copied/efficient_morl/tetrominoes-fast.yaml"])
def test_two_recipes_are_an_error(second, here):
    copied(FAST, here)
    told = rf"expected one recipe, got tetrominoes-fast and {re.escape(second)}; leave the others out"
    with pytest.raises(DataError, match=told):
        with_paths(["-c", "tetrominoes-fast", "-c", "wandb", "-c", second])


def test_a_path_that_exists_comes_first():
    Path("tetrominoes-fast").write_text("{}")
    assert with_paths(["-c", "tetrominoes-fast"]) == [*WITH_BASE, "-c", "tetrominoes-fast"]


def test_a_folder_is_no_configuration():
    """As ``demo/``, which `make demo` leaves, is none where it has the name of an overlay."""
    for name in ("smoke", "mine"):
        Path(name).mkdir()
    assert with_paths(["-c", "smoke"]) == [*WITH_BASE, "-c", str(SMOKE)]
    with pytest.raises(DataError, match=r"^mine: expected a file or the name of a recipe, got a folder"):
        with_paths(["-c", "mine"])


@pytest.mark.parametrize("text", ["{trainer: {max_steps: 3}}", f"trainer: {{logger: {'x' * 300}}}", "-", "/dev/stdin"])
def test_a_configuration_that_is_no_file_is_left_alone(text):
    assert with_paths(["--config", text]) == [*WITH_BASE, "--config", text]


def test_the_repositorys_path_is_a_name_where_there_is_no_such_file(caplog):
    path = "configs/efficient_morl/tetrominoes-fast.yaml"
    assert with_paths(["-c", path]) == [*WITH_BASE, "-c", str(FAST)]
    assert f"{path} does not exist here" in caplog.text
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text("{}")
    assert with_paths(["-c", path]) == [*WITH_BASE, "-c", path]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("tetrominos-fast", "tetrominoes-fast"),
        ("slot_attention/tetrominoes_fast", "slot_attention/tetrominoes-fast"),
        ("tetrominoes-fast.yaml", "tetrominoes-fast"),
        ("../configs/overlays/dem.yaml", "overlays/demo"),
    ],
)
def test_an_unknown_name_is_an_error_that_says_what_was_meant(given, meant):
    with pytest.raises(DataError, match=rf"expected a file or the name of a recipe, got neither; .*mean {meant}\?$"):
        with_paths(["-c", given])


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"\xff\xd8", "a file that is not text"),
        (b"", "an empty file"),
        (b"- 1", "a list"),
        (b"a: [", r"a file of another format, or with a mistake in line 1 \(expected the node content"),
        (b"# A\n\nText: with: colons", r"a file of another format, or with a mistake in line 3 \(mapping values"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_error_with_its_name(content, got, here):
    (here / "mine.yaml").write_bytes(content)
    with pytest.raises(DataError, match=rf"mine.yaml: expected a YAML file.*, got {got}.*a checkpoint is given as"):
        with_paths(["-c", "mine.yaml"])


OTHERS = [  # other files of emorl, and what to give instead
    ('{"emorl_version": "1", "sha256": "a", "files": {}, "model": {}, "about": {}}', "give its folder as --pretrained"),
    ('{"dataset": "mine", "splits": {}, "format_version": 1}', "give its folder as --data.root"),
    (
        '{"trained_on": "mine", "model": {}, "tests": {}, "versions": {}}',
        "give the name of the weights as --pretrained",
    ),
    ('{"I=0": {}, "I=3": {}}', "give the config.yaml of the run"),
    ('{"emorl": "1", "git": null, "torch": "2"}', "give the config.yaml of the run"),
    ("{model: {}, versions: {}}", "give the config.yaml of the run"),
    ("{common: [-c, tetrominoes], plain: []}", "give it to emorl-study"),
    ("{program: emorl, method: bayes, parameters: {}}", "give it to wandb sweep"),
]


@pytest.mark.parametrize(("content", "use"), OTHERS, ids=[content[:20] for content, _ in OTHERS])
def test_another_file_of_emorl_is_an_error_with_what_to_give_instead(content, use, here):
    (here / "a.json").write_text(content)
    with pytest.raises(DataError, match=f"a.json: expected a configuration of emorl fit, got .*; {use}$"):
        with_paths(["-c", "a.json"])


@pytest.mark.parametrize(
    ("given", "use"),
    [
        ("seeds", "that of a study; use emorl-study NAME OUT"),
        ("ablations/geco", "that of a study; use emorl-study NAME OUT"),
        ("sweeps/seeds", "that of a sweep; use emorl recipes copy, then wandb sweep PATH"),
    ],
)
def test_the_name_of_another_kind_is_an_error_with_the_command_that_takes_it(given, use):
    with pytest.raises(DataError, match=rf"the name of a recipe, got {use}"):
        with_paths(["-c", given])
    with pytest.raises(DataError, match="the name of a study, got that of a recipe; use emorl fit -c NAME"):
        find("tetrominoes-fast", studies(), "study")


def test_a_name_warns_of_an_edited_copy_which_it_ignores(here, caplog):
    copy = here / "configs/efficient_morl/tetrominoes-fast.yaml"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(FAST.read_bytes())
    with_paths(["-c", "tetrominoes-fast"])
    assert caplog.text == ""
    copy.write_text("{}")
    assert with_paths(["-c", "tetrominoes-fast"])[-1] == str(FAST)
    assert "configs/efficient_morl/tetrominoes-fast.yaml is not used" in caplog.text


def test_a_study_has_a_name_too():
    assert find("seeds", studies(), "study") == FOLDER / "studies/seeds.yaml"
    with pytest.raises(DataError, match=r"name of a study, got neither; .* did you mean seeds\?"):
        find("seed", studies(), "study")


def test_the_configurations_of_a_command_by_what_they_are_called_there(here):
    (here / "mine.yaml").write_text("{}")
    words = ["-c=tetrominoes-fast", "--config", "mine.yaml", "--config={seed_everything: 1}", "-c", "demo"]
    expected = {"base": BASE, "tetrominoes-fast": FAST, "mine.yaml": Path("mine.yaml"), "demo": DEMO}
    assert chosen(words) == expected
