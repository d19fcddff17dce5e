"""The wheel and the source archive: what they hold, and that the wheel alone lists, trains and tests recipes."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import emorl

pytestmark = pytest.mark.slow
pytest.importorskip("setuptools", "77")
ROOT = Path(__file__).parents[1]
LEFT_OUT = ".*", "__pycache__", "*.egg-info", "node_modules", "build", "data", "demo", "dist", "runs", "site", "wandb"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel('dist'); build_meta.build_sdist('dist')"
COMMANDS = """
from emorl.entry import main
for words in {commands}:
    try:
        main(list(words))
    except SystemExit as ended:
        assert not ended.code
"""
NEEDED = [  # by the tests, beside what they import
    *(
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "MANIFEST.in",
        "Makefile",
        "mkdocs.yml",
    ),
    *("constraints.txt", "constraints-lowest.txt", "pyproject.toml", "ruff.toml", "setup.cfg", "setup.py"),
    *("explorer/package.json", "explorer/package-lock.json", ".github/workflows/ci.yml"),
]
FOLDERS = "benchmarks", "configs", "docs", "examples", "notebooks", "src", "tests", "tools"
KINDS = {".py", ".md", ".yaml", ".json", ".png", ".ipynb", ".npz", ".pt", ".safetensors", ".tar", ".tfrecords", ".ckpt"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with both, built from a copy of the repository."""
    copy = tmp_path_factory.mktemp("built") / "emorl"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=lambda at, names: ignored(Path(at), names))
    subprocess.run([sys.executable, "-W", "ignore", "-c", BUILD], cwd=copy, check=True, capture_output=True)
    return copy / "dist"


def ignored(folder, names):
    found = shutil.ignore_patterns(*LEFT_OUT)(folder, names)
    return found - {"data", ".github", ".pre-commit-config.yaml"} if folder != ROOT else found - {".github"}


@pytest.fixture(scope="module")
def wheel(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "wheel")
    return built / "wheel"


@pytest.fixture(scope="module")
def archive(built):
    """The source archive: its files, relative to its folder."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        return {each.name.partition("/")[2] for each in opened.getmembers() if each.isfile()}


@pytest.fixture(scope="module")
def metadata(wheel):
    (file,) = wheel.glob("*.dist-info/METADATA")
    return message_from_string(file.read_text())


def of(folder):
    """Return the files of a folder of the repository, relative to it, but for what is made of them."""
    paths = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path) for path in paths if path.suffix in KINDS and not re.search(r"(^|/)(\.|__pycache__)", str(path))}


def test_the_wheel_has_the_configurations(wheel):
    expected = {str(path.relative_to(ROOT / "configs")) for path in (ROOT / "configs").rglob("*.yaml")}
    found = wheel / "emorl" / "configs"
    assert {str(path.relative_to(found)) for path in found.rglob("*") if path.is_file()} == expected


def test_the_wheel_has_the_package_alone(wheel):
    assert {path.name.partition("-")[0] for path in wheel.iterdir()} == {"emorl"}
    files = {str(Path("emorl") / path.relative_to(ROOT / "src/emorl")) for path in (ROOT / "src/emorl").rglob("*.py")}
    assert files <= {str(path.relative_to(wheel)) for path in wheel.rglob("*")}
    for name in ("py.typed", "weights/efficient_morl/tetrominoes.safetensors", "explore/page/runtime/SHA256SUMS"):
        assert (wheel / "emorl" / name).is_file()


def test_the_source_archive_has_what_its_tests_need(archive):
    assert set(NEEDED) <= archive
    for folder in FOLDERS:
        assert of(folder) - archive == set()


def test_the_metadata_are_complete(metadata):
    assert metadata["Version"] == emorl.__version__
    citation, changelog = ((ROOT / name).read_text() for name in ("CITATION.cff", "CHANGELOG.md"))
    released, date = re.findall(r"^## \[(.+)\] - (.+)$", changelog, re.MULTILINE)[0]
    assert f"\nversion: {released}\ndate-released: {date}\n" in citation
    if "## [Unreleased]" in changelog:
        assert emorl.__version__.endswith(".dev0")
    else:
        assert emorl.__version__ == released
    assert metadata["Author"] == "The emorl authors"
    assert metadata["License"] == "MIT"
    assert "object-centric learning" in metadata["Keywords"]
    for minor in (11, 12, 13):
        assert f"Programming Language :: Python :: 3.{minor}" in metadata.get_all("Classifier")
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert urls.keys() == {"Documentation", "Changelog", "Issues"}
    assert all(url.startswith(f"{metadata['Home-page']}/") for url in urls.values())


def test_ci_tests_the_lowest_versions_that_are_promised():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = setup["options"]["install_requires"].strip().splitlines()
    lowest = {re.sub(r"(\[.*\])? >=([\d.]+).*", r"==\2", line) for line in required}
    pinned = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    versions = {re.sub(r"(\.0)+$", "", line) for line in pinned}
    assert {re.sub(r"(\.0)+$", "", line) for line in lowest} <= versions


def test_the_address_of_the_repository_stands_in_three_files(metadata):
    text = {
        path for path in ROOT.glob("*") if path.is_file() and metadata["Home-page"] in path.read_text(errors="replace")
    }
    assert text == {ROOT / "setup.cfg", ROOT / "CITATION.cff", ROOT / "README.md"}


def test_the_readme_of_the_package_index_has_no_relative_link(metadata):
    readme = metadata.get_payload()
    links = re.findall(r"\]\(([^)\s]+)", readme) + re.findall(r'(?:src|href)="([^"]+)"', readme)
    assert len(links) > 20
    assert [link for link in links if not re.match("https://|#|mailto:", link)] == []
    assert f"]({metadata['Home-page']}/raw/HEAD/docs/images/slots.png)" in readme
    prefix = re.compile(rf"^{re.escape(metadata['Home-page'])}/(?:raw|blob)/HEAD/([^#]+)")
    files = [found[1] for link in links if (found := prefix.match(link))]
    assert [file for file in files if not (ROOT / file).exists()] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](docs/a.md#b)", "[a](https://u/blob/HEAD/docs/a.md#b)"),
        ("![a\nb](docs/a.png)", "![a\nb](https://u/raw/HEAD/docs/a.png)"),
        ("[![a](docs/a.png)](docs/a.md)", "[![a](https://u/raw/HEAD/docs/a.png)](https://u/blob/HEAD/docs/a.md)"),
        (
            '<a href="LICENSE"><img src="a.png"></a>',
            '<a href="https://u/blob/HEAD/LICENSE"><img src="https://u/raw/HEAD/a.png"></a>',
        ),
        ("[a](https://b.c) [d](#e) [f](mailto:g)", "[a](https://b.c) [d](#e) [f](mailto:g)"),
    ],
)
def test_links_become_addresses(text, expected):
    spec = spec_from_file_location("setup_of_emorl", ROOT / "setup.py")
    setup = module_from_spec(spec)
    spec.loader.exec_module(setup)
    assert setup.absolute(text, "https://u") == expected


def test_the_wheel_alone_trains_and_tests_a_recipe(wheel, shards, tmp_path):
    """In an empty folder, without the repository; in one process, because Lightning takes seconds to import."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tetrominoes").symlink_to(shards)
    options = "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"
    small = "--model.network.slot_dim=8", "--model.network.feature_dim=8", "--model.image_size=20"
    last = "runs/version_0/checkpoints/last.ckpt"
    data = "--data.root=data/tetrominoes"
    commands = (
        ("recipes",),
        ("fit", "-c", "tetrominoes-fast", "-c", "demo", "-c", "smoke", *small, *options),
        ("test", "-c", "smoke", f"--ckpt_path={last}", data, "--output_dir=out", *options),
    )
    environment = os.environ | {"PYTHONPATH": str(wheel), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", COMMANDS.format(commands=commands)]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "\ntetrominoes-fast " in ran.stdout
    assert "FG-ARI" in ran.stdout
    assert (tmp_path / "out" / "metrics.json").exists()
