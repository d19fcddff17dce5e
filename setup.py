"""What setup.cfg cannot say: links and pictures of README.md as addresses, for the package index, and the project's."""

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
RELATIVE = r"(?!#|[a-z]+:)"


def url_of(config: Path) -> str:
    """Return the address of the repository, which stands in setup.cfg alone."""
    parser = ConfigParser(interpolation=None)
    parser.read(config)
    return parser["metadata"]["url"]


def absolute(text: str, url: str) -> str:
    """Return Markdown in which links to files of the repository are addresses, pictures those of their content."""
    text = re.sub(rf"(!\[[^\]]*\]\(|\bsrc=\"){RELATIVE}", rf"\g<1>{url}/raw/HEAD/", text)
    return re.sub(rf"(\]\(|\bhref=\"){RELATIVE}", rf"\g<1>{url}/blob/HEAD/", text)


if __name__ == "__main__":
    url = url_of(ROOT / "setup.cfg")
    setup(
        long_description=absolute((ROOT / "README.md").read_text(encoding="utf-8"), url),
        project_urls={
            "Documentation": f"{url}/blob/HEAD/docs/index.md",
            "Changelog": f"{url}/blob/HEAD/CHANGELOG.md",
            "Issues": f"{url}/issues",
        },
    )
