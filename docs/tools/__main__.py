"""`python -m docs.tools` makes the made parts of the pages anew.

`--check` changes nothing, and also looks at all links; what is wrong makes the exit status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from docs.tools import api, configuration, links, troubleshooting
from docs.tools.blocks import PageError

ROOT = Path(__file__).resolve().parents[2]
# Each page, and what makes its text anew from the text that is there.
PAGES: dict[str, Callable[[str], str]] = {
    "docs/api.md": lambda _: api.render(ROOT),
    "docs/configuration.md": configuration.render,
    "docs/troubleshooting.md": lambda page: troubleshooting.render(page, ROOT),
}


def outdated() -> dict[str, str]:
    """Return the new text of every page that is not as the code has it. Raises PageError."""
    found = {}
    for name, render in PAGES.items():
        page = ROOT / name
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        new = render(text)
        if new != text:
            found[name] = new
    return found


def check() -> list[str]:
    """Return what is wrong with the documentation, a line each. Raises PageError."""
    old = [f"{name} is not as the code has it: python -m docs.tools" for name in outdated()]
    return old + [
        f"{one.page.relative_to(ROOT)}: {one.target}: {one.why}"
        for one in links.broken(links.pages(ROOT))
    ]


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["--check"]:
            wrong = check()
            sys.stderr.writelines(f"{line}\n" for line in wrong)
            return int(bool(wrong))
        for name, text in outdated().items():
            (ROOT / name).write_text(text, encoding="utf-8")
            sys.stdout.write(f"{name} made anew\n")
    except PageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
