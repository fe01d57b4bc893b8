"""The messages in docs/troubleshooting.md: what is said is the code's, what to do the page's."""

from __future__ import annotations

from pathlib import Path

from docs.tools import messages
from docs.tools.blocks import PageError, names, remade


def wanted(root: Path) -> dict[str, str]:
    """Return every part that the page must have, by its name, with its text."""
    package = root / "sqsuper"
    found = {}
    for group, parts in (
        ("answers", messages.ANSWERS),
        ("admin", messages.ADMIN),
        ("command", messages.COMMAND),
    ):
        for code, known in messages.by_code(package, parts).items():
            word = "exit status" if group == "command" else "status"
            statuses = ", ".join(map(str, sorted(known.statuses)))
            found[f"{group} {code}"] = _listed(f"{word.capitalize()} {statuses}", known.texts)
    for name, texts in messages.at_start(package).items():
        found[f"start {name}"] = _listed("", texts)
    return found


def _listed(first: str, texts: set[str]) -> str:
    lines = [f"{first}:" if texts and first else first] if first else []
    lines += ["", *(f"* {_quoted(text)}" for text in sorted(texts))] if texts else []
    return "\n" + "\n".join(lines).strip() + "\n\n"


def _quoted(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def render(page: str, root: Path) -> str:
    """Return the page with its messages made anew.

    Raises PageError for a code or type without an entry, and for an entry without one.
    """
    parts = wanted(root)
    there = names(page)
    for problem, lacking in (
        ("no entry for", parts.keys() - there),
        ("an entry for what there is not:", there - parts.keys()),
        ("several entries for", {name for name in there if there.count(name) > 1}),
    ):
        if lacking:
            raise PageError(f"docs/troubleshooting.md has {problem} {', '.join(sorted(lacking))}")
    return remade(page, lambda name, _: parts[name])
