"""Hooks of the site: the slot explorer, notebooks, equations as MathML, the changelog, files outside docs/.

Pages also read well on a host of git repositories: they link files as ``../examples/own_model.py``, which the site
copies into its folder ``files``, and write equations between dollar signs. A link to the source of the explorer's page
opens the explorer, which the site has in its folder ``explorer``, and a link to a notebook opens its page.
"""

import html
import re
from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

from emorl.explore.build import build

ROOT = Path(__file__).parents[1]
CHANGELOG = "changelog.md"
EXPLORER, EXPLORER_SOURCE = "explorer", "src/emorl/explore/page/"
OUTSIDE = re.compile(r"(?<=\]\()(?P<up>(?:\.\./)+)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
BADGE = re.compile(r"!\[([^\]]*)\]\(https:[^)]*\)")  # which would be fetched from elsewhere
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the notebooks as pages, and the explorer's page, runtime and exported models."""
    for notebook in sorted(ROOT.glob("notebooks/*.ipynb")):
        content, resources = MarkdownExporter().from_filename(str(notebook), resources={"unique_key": notebook.stem})
        shown = {name: picture for name, picture in resources["outputs"].items() if name in content}  # JPEGs are not
        for name, text in {f"{notebook.stem}.md": BADGE.sub(r"\1", content), **shown}.items():
            files.append(File.generated(config, f"notebooks/{name}", content=text))
    folder = Path(explorer().name)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix != ".md":  # of which mkdocs would make a page
            uri = f"{EXPLORER}/{file.relative_to(folder).as_posix()}"
            files.append(File.generated(config, uri, abs_src_path=str(file)))


@cache
def explorer() -> TemporaryDirectory[str]:
    """Return a folder with what ``emorl explore --out`` writes, which lasts as long as mkdocs runs."""
    folder = TemporaryDirectory()
    build(Path(folder.name))
    return folder


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave docs/ to copies of the files in the site; the changelog is that of the repository.

    Raises:
        PluginError: if such a file does not exist.
    """
    if page.file.src_uri == CHANGELOG:
        return (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "](")
    folder = PurePosixPath(page.file.src_uri).parent

    def inside(link: re.Match[str]) -> str:
        ups = link["up"].count("../") - len(folder.parts)
        if ups != 1:  # within docs/
            return link[0]
        path = link["path"]
        if not (ROOT / path).is_file():
            raise PluginError(f"{page.file.src_uri}: expected a file, got {link[0]}; correct the link")
        uri = f"files/{path}"
        if path.startswith(EXPLORER_SOURCE):
            uri = f"{EXPLORER}/{path.removeprefix(EXPLORER_SOURCE)}"
        elif path.endswith(".ipynb"):
            uri = path.replace(".ipynb", ".md")
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
        return "../" * len(folder.parts) + uri + (link["anchor"] or "")

    return OUTSIDE.sub(inside, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Render equations to MathML, which browsers display without scripts; keep a score and its error on one line."""

    def rendered(equation: re.Match[str]) -> str:
        return convert(html.unescape(equation[3]), display="inline" if equation[2] == "(" else "block")

    return EQUATION.sub(rendered, content).replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
