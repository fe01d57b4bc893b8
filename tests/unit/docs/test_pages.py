"""The documentation is as the code has it, and leads nowhere that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from docs.tools import __main__ as tools
from docs.tools import api, blocks, configuration, links, site, troubleshooting
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import Kind

ROOT = Path(__file__).parents[3]
NAVIGATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]


def test_every_page_is_as_the_code_has_it_and_every_link_leads_somewhere() -> None:
    assert tools.check() == []


def navigated(entries: object) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    assert isinstance(entries, (list, dict))
    inner = entries if isinstance(entries, list) else entries.values()
    return [name for entry in inner for name in navigated(entry)]


def test_every_page_is_in_the_navigation_once() -> None:
    docs = ROOT / "docs"
    there = [page.relative_to(docs).as_posix() for page in docs.rglob("*.md")]
    there += [page.name for page in docs.glob("*.html")]
    assert sorted(navigated(NAVIGATION)) == sorted([*there, *site.ROOT_PAGES])


def test_the_check_finds_an_old_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.md").write_text("old\n")
    monkeypatch.setattr(tools, "ROOT", tmp_path)
    monkeypatch.setattr(tools, "PAGES", {"page.md": lambda text: text.replace("old", "new")})
    assert tools.main(["--check"]) == 1
    assert "page.md is not as the code has it" in capsys.readouterr().err
    assert tools.main([]) == 0
    assert (tmp_path / "page.md").read_text() == "new\n"
    assert tools.main(["--check"]) == 0


# Parts that are made


def test_only_the_made_parts_of_a_page_change() -> None:
    page = "a\n<!-- made: x y -->\nold\n<!-- end -->\nb\n<!-- made: z -->\n<!-- end -->\n"
    assert blocks.names(page) == ["x y", "z"]
    made = blocks.remade(page, lambda name, before: f"{name} was {before!r}\n")
    assert made == (
        "a\n<!-- made: x y -->\nx y was 'old\\n'\n<!-- end -->\nb\n"
        "<!-- made: z -->\nz was ''\n<!-- end -->\n"
    )


def test_a_key_keeps_the_meaning_that_its_row_has() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert configuration.render(page) == page
    changed = page.replace("| `1` | 1: the", "| `2` | Changed: the")
    assert changed != page
    assert configuration.render(changed) == page.replace("1: the gateway", "Changed: the gateway")


def test_a_key_without_a_row_is_told() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    lacking = re.sub(r"\| `gateway\.workers` .*\n", "", page)
    with pytest.raises(blocks.PageError, match=r"gateway\.workers"):
        configuration.render(lacking)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("gateway.workers", "whole number, 1 to 1024"),
        ("gateway.max_head_bytes", "size, 256 or more"),
        ("gateway.body_timeout", "time or null"),
        ("gateway.listen", "list of endpoints, at least one"),
        ("host_memory.stop_idle", "share or null"),
        ("defaults.drain", "time, 0 allowed"),
        ("defaults.engine", "embedded, command"),
        ("defaults.limits.nice", "whole number, -20 to 19"),
        ("defaults.environment", "mapping of names to texts"),
        ("enabled", "true or false"),
    ],
)
def test_a_keys_type_is_what_its_reader_takes(path: str, kind: str) -> None:
    rows = [key for rows in configuration.keys().values() for key in rows]
    assert [key.kind for key in rows if key.path == path] == [kind]


def test_a_code_without_an_entry_and_an_entry_without_a_code_are_told() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text()
    renamed = page.replace("<!-- made: answers quota -->", "<!-- made: answers quotum -->")
    with pytest.raises(blocks.PageError, match="no entry for answers quota"):
        troubleshooting.render(renamed, ROOT)
    more = page + "\n<!-- made: answers quotum -->\n<!-- end -->\n"
    with pytest.raises(blocks.PageError, match="what there is not: answers quotum"):
        troubleshooting.render(more, ROOT)


def test_every_entry_says_what_to_do() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text()
    ends = re.split(r"<!-- made: .+? -->.*?<!-- end -->", page, flags=re.DOTALL)[1:]
    said = [re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0].strip() for rest in ends]
    assert len(said) > 80
    assert [text for text in said if not text] == []


def first_cells(page: str) -> set[str]:
    """Every word in code that a table's row begins with."""
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / page).read_text(), re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`(.+?)`", row)}


def test_every_event_and_every_cause_of_a_failure_is_told() -> None:
    assert {kind.value for kind in Kind} <= first_cells("docs/operating.md")
    assert {cause.value for cause in Cause} <= first_cells("docs/troubleshooting.md")


def test_every_operation_of_the_admin_api_is_on_its_page() -> None:
    tree = yaml.safe_load((ROOT / api.DESCRIPTION).read_text())
    page = api.render(ROOT)
    wanted = {
        f"### `{method.upper()} {path}`"
        for path, item in tree["paths"].items()
        for method in item
        if method in {"get", "post", "put", "patch", "delete"}
    }
    headings = {line for line in page.splitlines() if line.startswith("### `")}
    assert len(wanted) > 30
    assert headings == wanted
    assert not [name for name in tree["components"]["schemas"] if f"### {name}\n" not in page]


# Links


def test_links_are_looked_at_as_a_reader_would_follow_them(tmp_path: Path) -> None:
    page, other = tmp_path / "a.md", tmp_path / "b.md"
    page.write_text(
        "# A\n[1](b.md) [2](b.md#the-gateway-a-port) [3](b.md#same-1) [4](#a) [5](https://x/y)\n"
        "```\n# no heading\n[in code](none.md)\n```\n`[in code](none.md)`\n"
        "[6](c.md) [7](b.md#no) [8](#no-heading) ![9](none.png)\n"
    )
    other.write_text("## The gateway: a `port`\n## Same\n## Same\n")
    told = [(one.target, one.why) for one in links.broken([page, other])]
    assert told == [
        ("c.md", "there is no such file"),
        ("b.md#no", "there is no such heading"),
        ("#no-heading", "there is no such heading"),
        ("none.png", "there is no such file"),
    ]


def test_pages_of_the_root_are_linked_from_the_site_as_from_the_repository() -> None:
    text = "[a](../CHANGELOG.md) [b](../../CONTRIBUTING.md#rules) [c](../README.md) [d](x.md)"
    assert site.on_page_markdown(text) == (
        "[a](CHANGELOG.md) [b](../CONTRIBUTING.md#rules) [c](../README.md) [d](x.md)"
    )
