"""Hooks of the site: equations as MathML, the changelog, and links to files outside of docs/.

Pages also read well on a host of git repositories: they link files as ``../examples/own_model.py``, which the site
copies into its folder ``files``, and write equations between dollar signs.
"""

import html
import re
from pathlib import Path, PurePosixPath
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
CHANGELOG = "changelog.md"
OUTSIDE = re.compile(r"(?<=\]\()(?P<up>(?:\.\./)+)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


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
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
        return "../" * len(folder.parts) + uri + (link["anchor"] or "")

    return OUTSIDE.sub(inside, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Render equations to MathML, which browsers display without scripts."""

    def rendered(equation: re.Match[str]) -> str:
        return convert(html.unescape(equation[3]), display="inline" if equation[2] == "(" else "block")

    return EQUATION.sub(rendered, content)
