"""The page's HTML: Jinja templates, everything escaped, nothing marked as safe."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sqsuper import __version__
from sqsuper.admin.page import words
from sqsuper.admin.page.table import GROUP_OF

DIRECTORY = Path(__file__).resolve().parent.parent / "templates"


class Templates:
    """Renders; `static(name)` is the path of a static file."""

    def __init__(self, static: Callable[[str], str]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(DIRECTORY),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(static=static, group_of=GROUP_OF, version=__version__)
        self._environment.filters.update(
            size=words.size,
            digits=words.digits,
            milliseconds=words.milliseconds,
            lasting=words.lasting,
            ago=words.ago,
            moment=words.moment,
            machine_moment=words.machine_moment,
        )
        # Not at the first request, which would make others wait while they are compiled.
        self._templates = {
            name: self._environment.get_template(name)
            for name in self._environment.list_templates(extensions="html")
        }

    def render(self, name: str, values: dict[str, Any]) -> Generator[None, None, bytes]:
        """Return a page; others may be served at each pause."""
        pieces = []
        for piece in self._templates[name].generate(values):
            pieces.append(piece)
            yield
        return "".join(pieces).encode()
