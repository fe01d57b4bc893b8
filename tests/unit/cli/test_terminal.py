"""Nothing of data reaches the terminal as a control sequence; figures as people read them."""

from __future__ import annotations

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.cli import terminal

ESCAPE = "\x1b]0;title\x07\x1b[31mred\r\n\u202eevil\u009b2J"


def printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@given(st.text())
def test_a_line_is_one_line_that_prints(text: str) -> None:
    out = io.StringIO()
    before, sys.stdout = sys.stdout, out
    try:
        terminal.say(text)
        terminal.show_table(["NAME", text], [[text, "x"], ["y", text]])
    finally:
        sys.stdout = before
    assert printable(out.getvalue())
    assert out.getvalue().count("\n") == 4


@given(
    st.recursive(
        st.text() | st.integers() | st.none(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
        max_leaves=5,
    )
)
def test_json_is_one_ascii_line_and_says_the_same(value: object) -> None:
    out = io.StringIO()
    before, sys.stdout = sys.stdout, out
    try:
        terminal.emit(value)
    finally:
        sys.stdout = before
    assert out.getvalue().isascii()
    assert printable(out.getvalue())
    assert json.loads(out.getvalue()) == value


def test_escapes_are_shown_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(ESCAPE)
    terminal.complain(ESCAPE)
    out, err = capsys.readouterr()
    assert "\\x1b" in out
    assert "\\x1b" in err
    assert printable(out + err)


def test_a_terminals_table_takes_cells_as_they_are() -> None:
    from rich.console import Console

    out = io.StringIO()
    table = terminal.framed(["[b]NAME[/b]"], [[f"[red]{ESCAPE} :smile:"], ["running"]])
    Console(file=out, width=200, force_terminal=False, markup=False, emoji=False).print(table)
    assert "[b]NAME[/b]" in out.getvalue()
    assert "[red]\\x1b" in out.getvalue()
    assert ":smile:" in out.getvalue()
    assert printable(out.getvalue())


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 1024**2, "5.0 MiB"),
        (3 * 1024**4, "3.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_sizes(count: int | None, shown: str) -> None:
    assert terminal.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0.4, "0s"),
        (59, "59s"),
        (60, "1m 0s"),
        (3599, "59m 59s"),
        (3600, "1h 0m"),
        (86_399, "23h 59m"),
        (90_000, "1d 1h"),
        (400 * 86_400, "400d 0h"),
    ],
)
def test_spans(seconds: float | None, shown: str) -> None:
    assert terminal.span(seconds) == shown


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress("copying", 3, quiet=False) as bar:
        bar.update(3)
    assert capsys.readouterr() == ("", "")
