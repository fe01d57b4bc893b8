"""Parts of a page that are made: what stands between `<!-- made: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Callable

_BLOCK = re.compile(r"(<!-- made: (?P<name>.+?) -->\n)(?P<text>.*?)(?=<!-- end -->)", re.DOTALL)


class PageError(Exception):
    """A page that lacks what people have to write; the text is one line that says what."""


def names(page: str) -> list[str]:
    """Return the names of a page's made parts, in its order."""
    return [found["name"] for found in _BLOCK.finditer(page)]


def remade(page: str, make: Callable[[str, str], str]) -> str:
    """Return the page with each part as `make(name, text before)` gives it."""

    def replaced(found: re.Match[str]) -> str:
        return found[1] + make(found["name"], found["text"])

    return _BLOCK.sub(replaced, page)
