"""Links in the repository's Markdown: each file and heading that one leads to must be there.

The site's own check does not see README.md, nor what a reader of the repository itself sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import attrs

_CODE = re.compile(r"^```.*?^```|`+[^`\n]+`+", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)(?: \"[^\"]*\")?\)")
_ATTRIBUTE = re.compile(r"(?:href|src)=\"(?P<target>[^\"]*)\"")
_HEADING = re.compile(r"^#{1,6} (?P<text>.+)$", re.MULTILINE)
_ID = re.compile(r"\bid=\"([^\"]+)\"")
_FOREIGN = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@attrs.frozen
class Broken:
    """A link that leads nowhere: the page it stands in, its target, and what is missing."""

    page: Path
    target: str
    why: str


def pages(root: Path) -> list[Path]:
    """Return the Markdown and HTML pages of a checkout that people read."""
    docs = root / "docs"
    return sorted((*root.glob("*.md"), *docs.rglob("*.md"), *docs.rglob("*.html")))


def broken(files: Iterable[Path]) -> Iterator[Broken]:
    """Yield the links of `files` to files or headings that are not there."""
    for file in files:
        for target in _targets(file):
            if _FOREIGN.match(target) or target.startswith("//"):
                continue
            path, _, anchor = target.partition("#")
            found = file.parent / path if path else file
            if not found.exists():
                yield Broken(file, target, "there is no such file")
            elif anchor and found.suffix in {".md", ".html"} and anchor not in anchors(found):
                yield Broken(file, target, "there is no such heading")


def _targets(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".html":
        yield from (found["target"] for found in _ATTRIBUTE.finditer(text))
    else:
        yield from (found["target"] for found in _LINK.finditer(_CODE.sub("", text)))


@cache
def anchors(file: Path) -> frozenset[str]:
    """Return what links may lead to within a page, by the rules that GitHub has for headings."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".html":
        return frozenset(_ID.findall(text))
    found: list[str] = []
    for heading in _HEADING.finditer(_FENCE.sub("", text)):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading["text"]).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        before = found.count(slug)
        found.append(slug)
        if before:
            found.append(f"{slug}-{before}")
    return frozenset(found)
