"""Every kind of broken file gives its one clear line, in each format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sqsuper.config import source_yaml
from sqsuper.config.errors import (
    ClashError,
    ConfigError,
    MalformedError,
    UnknownKeyError,
    UnreadableError,
    WrongValueError,
)
from tests.unit.config.broken import JSON, TOML, YAML, Case

ESCAPE = "; write the character as an escape or leave it out"
Refused = Callable[..., ConfigError]
FILES = [(f"t.{name}", case) for name, cases in (("yaml", YAML), ("json", JSON), ("toml", TOML))
         for case in cases]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "case"), FILES, ids=[f"{name[2:]}-{case.name}" for name, case in FILES]
)
def test_one_clear_line(refused: Refused, here: Path, name: str, case: Case) -> None:
    told = str(refused(case.text, name))
    assert told == name + case.told.replace("{dir}", str(here))
    assert "\n" not in told


@pytest.mark.parametrize("case", YAML, ids=[case.name for case in YAML])
def test_the_same_without_libyaml(
    refused: Refused, here: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.setattr(source_yaml, "_LOADER", yaml.SafeLoader)
    told = str(refused(case.text))
    wanted = "t.yaml" + case.told.replace("{dir}", str(here))
    if "not valid YAML" in wanted:
        # The two parsers word it differently.
        assert told.startswith(wanted[: wanted.index("YAML: ")])
    else:
        assert told == wanted


@pytest.mark.parametrize("case", YAML, ids=[case.name for case in YAML])
def test_the_same_with_other_line_ends(refused: Refused, here: Path, case: Case) -> None:
    told = str(refused(case.text.replace("\n", "\r\n")))
    assert told == "t.yaml" + case.told.replace("{dir}", str(here))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", ": is empty; a file without settings holds at least tenants: {}"),
        (b" \n\t\n", ": is empty; a file without settings holds at least tenants: {}"),
        (b"a: 1\nb: \xff\n", ":2: is not UTF-8 text (byte 0xff); save it as UTF-8"),
        (b"\n\n# caf\xe9\n", ":3: is not UTF-8 text (byte 0xe9); save it as UTF-8"),
        (b"\xef\xbb\xbf{}", ":1: begins with a byte order mark; save it as UTF-8 without one"),
        ("tenants: {}\n".encode("utf-16"), ":1: is UTF-16 text; save it as UTF-8"),
        (b"a: 1\n\nb: \x00\n", ":3: holds the control character U+0000" + ESCAPE),
        ("a: 1\nb: \u2028\n".encode(), ":2: holds the control character U+2028" + ESCAPE),
        ("a: \x85\n".encode(), ":1: holds the control character U+0085" + ESCAPE),
        (b"#" * (8 * 1024 * 1024 + 1), ": is larger than 8388608 bytes; make it smaller"),
        (b"a: " + b"[" * 40 + b"]" * 40, ":1: nested more than 32 deep"),
        (b"- " * 40 + b"a", ":1: nested more than 32 deep"),
        (b"a: " + b"{a: " * 40 + b"}" * 40, ":1: nested more than 32 deep"),
    ],
    ids=["empty", "blank", "latin1", "latin1-comment", "bom", "utf16", "nul", "line-separator",
         "nel", "large", "deep-flow", "deep-block", "deep-map"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["t.yaml", "t.yml"])
def test_text_that_is_none(refused: Refused, name: str, content: bytes, told: str) -> None:
    assert str(refused(content, name)) == name + told


@pytest.mark.parametrize("name", ["t.json", "t.toml"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", ": is empty; a file without settings holds at least tenants: {}"),
        (b"\n\xff", ":2: is not UTF-8 text (byte 0xff); save it as UTF-8"),
        (b"\xef\xbb\xbf{}", ":1: begins with a byte order mark; save it as UTF-8 without one"),
        (b"\n\x00", ":2: holds the control character U+0000" + ESCAPE),
        (b" " * (8 * 1024 * 1024 + 1), ": is larger than 8388608 bytes; make it smaller"),
    ],
    ids=["empty", "latin1", "bom", "nul", "large"],
)  # fmt: skip
def test_text_that_is_none_in_other_formats(
    refused: Refused, name: str, content: bytes, told: str
) -> None:
    assert str(refused(content, name)) == name + told


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.yaml", "zzz: " + "[" * 31 + "]" * 31),
        ("t.json", '{"zzz": ' + "[" * 31 + "]" * 31 + "}"),
        ("t.toml", "zzz = " + "[" * 31 + "]" * 31),
    ],
    ids=["yaml", "json", "toml"],
)
def test_a_depth_of_thirty_two_is_read(refused: Refused, name: str, text: str) -> None:
    assert isinstance(refused(text, name), UnknownKeyError)
    deeper = refused(text.replace("[]", "[[]]"), name)
    assert str(deeper).endswith("nested more than 32 deep")


def test_facts_are_attributes(refused: Refused) -> None:
    error = refused("gateway:\n  idle_timout: 5s\n")
    assert isinstance(error, UnknownKeyError)
    assert (error.file, error.line, error.key) == ("t.yaml", 2, "gateway.idle_timout")
    assert error.nearest == "idle_timeout"
    clash = refused("tenants:\n  a: {port: 7001}\n  b: {port: 7001}\n")
    assert isinstance(clash, ClashError)
    assert (clash.line, clash.key, clash.owner) == (3, "tenants.b.port", "a")
    assert isinstance(refused("gateway: {workers: 0}"), WrongValueError)
    assert isinstance(refused("gateway: ["), MalformedError)
    assert isinstance(refused(""), UnreadableError)


@pytest.mark.parametrize(
    "text",
    [
        "tenants: {pmb-v1-0123456789abcdef0123456789abcdef: {name: a}}",
        "tenants: {a: {pmb-v1-0123456789abcdef0123456789abcdef: 1}}",
        "pmb-v1-0123456789abcdef0123456789abcdef: 1",
        "tenants: {a: pmb-v1-0123456789abcdef0123456789abcdef}",
        "tenants: {a: {tokens: pmb-v1-0123456789abcdef0123456789abcdef}}",
        "tenants: {a: {token: pmb-v1-0123456789abcdef0123456789abcdef}}",
        "tenants: {a: {port: pmb-v1-0123456789abcdef0123456789abcdef}}",
        "tenants: {a: {token_sha256: [pmb-v1-0123456789abcdef0123456789abcdef]}}",
        'tenants: {a: {tokens: ["0123456789abcdef0123456789abcdef x"]}}',
        "tenants: {a: {tokens: [{sha256: pmb-v1-0123456789abcdef0123456789abcdef}]}}",
        "tenants: {a: {tokens: [&x pmb-v1-0123456789abcdef0123456789abcdef]}}",
        "tenants: {a: {tokens: [12345678901234567890123456789012]}}",
        "admin: {token_sha256: pmb-v1-0123456789abcdef0123456789abcdef}",
        "admin: {tokn: pmb-v1-0123456789abcdef0123456789abcdef}",
        "tenants: {a: {tokens: [x0123456789abcdef]}, b: {tokens: [x0123456789abcdef]}}",
    ],
)  # fmt: skip
def test_no_error_shows_a_token(refused: Refused, text: str) -> None:
    told = str(refused(text))
    assert "23456789" not in told
    assert "89abcdef" not in told


def test_what_does_not_print_is_escaped(refused: Refused) -> None:
    told = str(refused('{"\\u001b[2J\\n\\u2028x": 1}', "t.json"))
    assert told.startswith('t.json:1: "\\x1b[2J\\n\\u2028x": unknown key')
