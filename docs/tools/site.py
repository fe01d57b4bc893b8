"""What the site has besides docs/: MkDocs calls this while it builds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# Pages at the root of the repository, which docs/ links to as `../NAME`.
ROOT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")
_UP = re.compile(rf"(\]\((?:\.\./)*)\.\./({'|'.join(map(re.escape, ROOT_PAGES))})")


def on_files(files: Any, config: Any) -> Any:
    """Add the root's pages, with their links as they are from docs/."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the other tools do without

    root = Path(config.config_file_path).parent
    for name in ROOT_PAGES:
        text = (root / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with its links to the root's pages as they are on the site."""
    return _UP.sub(r"\1\2", markdown)
