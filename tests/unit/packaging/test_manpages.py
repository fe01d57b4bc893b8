"""The manual pages tell every command, option and key; roff shows text as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from sqsuper.cli.main import sqsuper
from tests.running import ROOT


def commands(command: click.Command, above: click.Context | None = None) -> Iterator[click.Context]:
    context = click.Context(command, info_name=command.name, parent=above)
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, context)


def plain(page: str) -> str:
    """Return a page's text without roff's escapes."""
    text = page.replace(r"\fB", "").replace(r"\fI", "").replace(r"\fR", "").replace(r"\&", "")
    return text.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\(dq", '"').replace(r"\e", "\\")


def test_every_command_and_option_is_told(manpages: ModuleType) -> None:
    page = plain(manpages.command_page())
    told = 0
    for context in commands(sqsuper):
        path = context.command_path.removeprefix("sqsuper").strip()
        assert not path or f"\n.SS {path}\n" in page
        section = page.partition(f"\n.SS {path}\n")[2].partition("\n.SS ")[0] if path else page
        for option in context.command.params:
            if isinstance(option, click.Option) and not {"--json", "--config"} & {*option.opts}:
                assert all(name in section for name in option.opts), (path, option.opts)
                told += 1
    assert told > 20
    assert ".SH EXIT STATUS" in page


def test_every_key_is_told(manpages: ModuleType) -> None:
    reference = (ROOT / "docs/configuration.md").read_text()
    page = plain(manpages.configuration_page(reference))
    keys = manpages.schema_keys()
    assert {"gateway.listen", "defaults.restart.backoff", "admin.token_file", "tokens"} <= keys
    for key in keys:
        assert re.search(rf"^{re.escape(key)} \(", page, re.MULTILINE), key
    assert "default 64K)" in page


def test_a_key_that_the_reference_lacks_ends_the_build(manpages: ModuleType) -> None:
    reference = (ROOT / "docs/configuration.md").read_text()
    without = "\n".join(
        line for line in reference.splitlines() if not line.startswith("| `defaults.drain`")
    )
    with pytest.raises(manpages.MissingKeysError) as caught:
        manpages.configuration_page(without)
    assert caught.value.keys == {"defaults.drain"}


@pytest.mark.parametrize(
    ("markdown", "roff"),
    [
        ("a `--b` c", r"a \fB\-\-b\fR c"),
        (".TH is no request", r"\&.TH is no request"),
        (r"a \ and 'b'", r"a \e and \(aqb\(aq"),
        ("see [the `x`](y.md), *now*, **here**", r"see the \fBx\fR, \fInow\fR, \fBhere\fR"),
    ],
)
def test_markdown_becomes_roff(markdown: str, roff: str, manpages: ModuleType) -> None:
    assert manpages.inline(markdown) == roff


def test_two_runs_give_the_same_and_the_shells_take_it(
    manpages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    for name in ("a", "b"):
        manpages.main(tmp_path / name)
    made = sorted(file for file in (tmp_path / "a").rglob("*") if file.is_file())
    assert len(made) == 5
    for file in made:
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()
    assert " 1970-01-02 " in (tmp_path / "a/sqsuper.1").read_text().partition("\n.nh")[0]
    for shell, file in manpages.COMPLETIONS.items():
        if shutil.which(shell):
            subprocess.run([shell, "-n", tmp_path / "a" / file], check=True, timeout=60)
    assert (tmp_path / "a/completions/zsh/_sqsuper").read_text().startswith("#compdef sqsuper\n")
