from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.gateway.redaction import Redaction, escaped, secrets_of
from sqsuper.http1.credentials import Grant, digest

KNOWN = b"pmb-v1-0123456789abcdef"
SHORT = b"tok"
OTHERS = {digest(token): Grant("alice") for token in (KNOWN, SHORT)}


@pytest.fixture
def redaction() -> Redaction:
    return Redaction(OTHERS.get)


def shown(redaction: Redaction, target: str | bytes, *secrets: bytes, limit: int = 9999) -> str:
    raw = target.encode() if isinstance(target, str) else target
    return redaction.target(raw, secrets, limit)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/health",
        "/api/v2/version",
        "/api/v2//toc?p=np",
        "/api/v2/select?p=the-odyssey&c=1.1.1/1.1.1/1.1.2",
        "/api/v2/select?c=1.1.1%2F1.1.1%2F1.1.2&p=a%20b",
        "/api/v2/where?p=x&algo=xor&limit=12",
        "/api/v2/select?p=x&c=1.1.1/1.1.1/1.1.1&f=html&splice=1&prefix=1.5",
        "/api/v2/select?p=x&&c=&",
        "/a/../%zz;b?p=%",
    ],
)
def test_what_was_asked_is_shown_as_it_came(redaction: Redaction, target: str) -> None:
    assert shown(redaction, target) == target


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/api/v2/update?p=x&c=1.1.1/1.1.1/1.1.1&s=hello%20world!", "s=<12>"),
        ("/api/v2/update?s=hello+you&p=x", "?s=<9>&p=x"),
        ("/api/v2/update?p=x&s=a%17b%zz%", "s=<7>"),
        ("/api/v2/update?p=x&s=", "s=<0>"),
        ("/api/v2/update?p=x&s=a=b;c/d?e", "s=<9>"),
        ("/api/v2/update?p=x&s=one&s=three", "s=<3>&s=<5>"),
        ("/api/v2/update?p=x&%73=text", "&%73=<4>"),
        ("/api/v2/update?p=x&s=%C3%A4", "s=<2>"),
        ("/x?q=search+text", "?q=<11>"),
        ("/x?token=other-secret&key=abc", "?token=<12>&key=<3>"),
        ("/x?api_key=unknown", "?api_key=<7>"),
        ("/x?bare-words", "?<10>"),
        ("/x?" + "n" * 33 + "=1", "?<33>=<1>"),
    ],
)
def test_values_are_shown_as_their_lengths(
    redaction: Redaction, target: str, expected: str
) -> None:
    assert shown(redaction, target).endswith(expected)


@pytest.mark.parametrize(
    "target",
    [
        f"/{KNOWN.decode()}/api",
        f"/api/v2/select?p={KNOWN.decode()}",
        f"/api/v2/select?p={KNOWN.decode()}&c=1.1.1/1.1.1/1.1.1",
        f"/api/v2/select?c={KNOWN.decode()}&p=x",
        f"/api/v2/select?{KNOWN.decode()}=x",
        f"/api/v2/select?{KNOWN.decode()}",
        f"/api/v2/select?token={KNOWN.decode()}",
        f"/api/v2/select?p=a&s={KNOWN.decode()}",
        f"/api/v2/select?p=%70{KNOWN.decode()[1:]}",
        f"/api/v2/select?p={KNOWN.decode().replace('-', '%2D')}",
    ],
)
def test_a_known_token_is_shown_nowhere(redaction: Redaction, target: str) -> None:
    text = shown(redaction, target)
    assert KNOWN[1:].decode() not in text
    assert KNOWN.decode().replace("-", "%2D") not in text
    assert "<23>" in text


def test_a_short_token_is_found_as_a_word(redaction: Redaction) -> None:
    assert shown(redaction, "/api/v2/select?p=tok") == "/api/v2/select?p=<3>"
    assert shown(redaction, "/tok/tokens") == "/<3>/tokens"


def test_the_requests_own_token_is_shown_nowhere(redaction: Redaction) -> None:
    own = b"expired-or-unknown"
    for target in (
        b"/api/v2/select?p=expired-or-unknown",
        b"/api/v2/select?p=x-expired-or-unknown-y&c=1.1.1/1.1.1/1.1.1",
        b"/expired-or-unknown",
        b"/x?p=%65xpired-or-unknown",
    ):
        assert "xpired-or-unknown" not in shown(redaction, target, own)
    assert redaction.text(b"curl expired-or-unknown", (own,)) == b"<23>"
    assert redaction.text(b"curl", (own,)) == b"curl"


@pytest.mark.parametrize(
    ("referer", "expected"),
    [
        ("", ""),
        ("https://example.org/a?x=1#frag", "https://example.org/a?x=<1>"),
        ("https://user:pass@example.org/a/b", "https://example.org/a/b"),
        ("https://user:pass@example.org", "https://example.org"),
        ("https://example.org?s=secret", "https://example.org?s=<6>"),
        ("/a?s=secret", "/a?s=<6>"),
        ("junk", "junk"),
        (f"https://example.org/{KNOWN.decode()}/x", "https://example.org/<23>/x"),
    ],
)
def test_a_referer_tells_no_more_than_a_target(
    redaction: Redaction, referer: str, expected: str
) -> None:
    assert redaction.referer(referer.encode(), ()) == expected.encode()


def test_many_words_cost_little(redaction: Redaction) -> None:
    looked: list[bytes] = []

    def lookup(sha256: bytes) -> None:
        looked.append(sha256)

    counting = Redaction(lookup)
    text = counting.target(b"/a" * 30_000 + b"?" + b"p=a&" * 15_000, (), 500)
    assert len(looked) < 200
    assert len(text) <= 500
    assert shown(redaction, "/x?" + "&".join(f"p={n}" for n in range(40))).endswith("&p=31&<39>")
    assert shown(redaction, "/x?p=" + "y" * 5000) == "/x?p=<5000>"


def test_secrets_of_the_credential_fields() -> None:
    def field(name: bytes, value: bytes) -> tuple[bytes, bytes, bytes]:
        return name, value, b""

    fields = [
        field(b"authorization", b"bEaReR  one"),
        field(b"authorization", b"Basic two"),
        field(b"x-sq-api-key", b"three"),
        field(b"x-other", b"four"),
        field(b"x-sq-api-key", b""),
    ]
    assert set(secrets_of(fields)) >= {b"one", b"two", b"three"}
    assert b"four" not in secrets_of(fields)


def test_escapes() -> None:
    assert escaped(b'a"b\\c\x00\x1b\x7f\x80\xff\r\n\t', 99) == (
        r"a\x22b\x5cc\x00\x1b\x7f\x80\xff\x0d\x0a\x09"
    )
    assert escaped(b"plain text ~", 99) == "plain text ~"
    assert escaped(b"x" * 12, 12) == "x" * 12
    assert escaped(b"x" * 13, 12) == "x" * 9 + "..."
    assert escaped(b"\\" * 5, 12) == r"\x5c\x5c..."


@given(st.binary(max_size=80), st.integers(8, 100))
def test_what_is_escaped_is_printable_whole_and_no_longer(raw: bytes, limit: int) -> None:
    text = escaped(raw, limit)
    assert len(text) <= limit
    body = text.removesuffix("...")
    assert re.fullmatch(r"(?:[ !#-\[\]-~]|\\x[0-9a-f]{2})*", body)
    undone = re.sub(r"\\x(..)", lambda m: chr(int(m[1], 16)), body).encode("latin-1")
    assert raw.startswith(undone)
    if len(raw) * 4 <= limit:
        assert undone == raw or text == raw.decode("latin-1")


@given(st.binary(max_size=60))
def test_no_text_of_s_gets_through(raw: bytes) -> None:
    text = re.sub(rb"[\x00-\x20\x7f#&]", b"_", raw)
    redaction = Redaction(lambda _: None)
    for form in (b"/api/v2/update?p=x&s=%b", b"/x?s=%b&p=x", b"//api/v2/insert?s=%b"):
        found = redaction.target(form % text, (), 9999)
        assert re.search(r"[?&]s=<\d+>(&p=x)?$", found)
