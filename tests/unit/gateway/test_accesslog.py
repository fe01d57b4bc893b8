"""The access log's lines and batches, with a file that only collects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, globalLogPublisher

from sqsuper.config.model import Gateway
from sqsuper.gateway.accesslog import FLUSH_BYTES, MAX_PENDING, AccessLog
from sqsuper.gateway.logfile import PIECE, LogFile
from sqsuper.gateway.memo import AdmittedHead
from sqsuper.http1 import answers
from sqsuper.http1.credentials import Grant, digest
from sqsuper.http1.head import RequestHead, parse_request_head

AT = 1_795_510_861.7  # 2026-11-24 09:01:01 UTC
TOKEN = "pmb-v1-0123456789abcdef"

COMBINED = re.compile(
    r'(?P<address>\S+) - - \[(?P<time>[^\]]+)\] "(?P<request>[^"]*)" (?P<status>\d{3})'
    r' (?P<body>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)" tenant=(?P<tenant>\S+)'
    r" upstream=(?P<upstream>\S+) time=(?P<seconds>\S+)"
    r" bytes=(?P<sent>\d+) id=(?P<id>\S+)(?P<cut> cut)?\n"
)


class Collected(LogFile):
    """A log's file that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__("access.log")
        self.written: list[bytes | None] = []
        self.stuck = 0

    @property
    def pending(self) -> int:
        return self.stuck

    def open(self) -> None:
        pass

    def write(self, lines: bytes) -> None:
        self.written.append(lines)

    def reopen(self) -> None:
        self.written.append(None)

    def close(self, patience: float) -> bool:
        return not self.stuck


def lookup(sha256: bytes) -> Grant | None:
    return Grant("alice") if sha256 == digest(TOKEN.encode()) else None


@attrs.define
class Bench:
    json: bool = False
    trusted: tuple[Any, ...] = ()
    clock: float = AT
    file: Collected = attrs.field(factory=Collected)
    log: AccessLog = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.log = AccessLog(
            self.file,
            json=self.json,
            lookup=lookup,
            trusted=self.trusted,
            now=lambda: self.clock,
        )

    def lines(self) -> list[str]:
        self.log.sweep(0.0)
        data = b"".join(piece or b"" for piece in self.file.written)
        self.file.written.clear()
        assert not data or data.endswith(b"\n")
        return data.decode("ascii").splitlines(keepends=True)

    def line(self) -> str:
        (line,) = self.lines()
        return line


def head(
    target: bytes = b"/api/v2/toc?p=x", *fields: bytes, version: bytes = b"1.1"
) -> RequestHead:
    lines = b"".join(field + b"\r\n" for field in (b"Host: h", *fields))
    raw = b"GET %b HTTP/%b\r\n%b" % (target, version, lines)
    return parse_request_head(raw, max_body_bytes=1000)


def note(bench: Bench, one: RequestHead, **changes: Any) -> str:
    facts: dict[str, Any] = {
        "status": 200,
        "body": 191,
        "sent": 400,
        "seconds": 0.0042,
        "upstream": 0.0031234,
        "tenant": "alice",
        "request_id": b"id-1",
    }
    bench.log.request("192.0.2.7", one, **{**facts, **changes})
    return bench.line()


def test_a_combined_line() -> None:
    one = head(b"/api/v2/toc?p=x", b"User-Agent: curl/8", b"Referer: https://example.org/")
    assert note(Bench(), one) == (
        '192.0.2.7 - - [24/Nov/2026:09:01:01 +0000] "GET /api/v2/toc?p=x HTTP/1.1" 200 191'
        ' "https://example.org/" "curl/8" tenant=alice upstream=0.003123 time=0.004200 bytes=400'
        " id=id-1\n"
    )


def test_a_combined_line_of_little() -> None:
    line = note(Bench(), head(version=b"1.0"), upstream=None, tenant="", request_id=b"", cut=True)
    assert line.endswith(
        '"GET /api/v2/toc?p=x HTTP/1.0" 200 191 "-" "-" tenant=- upstream=- time=0.004200'
        " bytes=400 id=- cut\n"
    )


def test_a_json_line() -> None:
    one = head(b"/api/v2/toc?p=x", b'User-Agent: a "b" \\ c')
    assert json.loads(note(Bench(json=True), one)) == {
        "time": "2026-11-24T09:01:01Z",
        "address": "192.0.2.7",
        "tenant": "alice",
        "method": "GET",
        "target": "/api/v2/toc?p=x",
        "version": "HTTP/1.1",
        "status": 200,
        "body_bytes": 191,
        "bytes": 400,
        "referer": None,
        "user_agent": r"a \x22b\x22 \x5c c",
        "upstream_time": 0.003123,
        "request_time": 0.0042,
        "request_id": "id-1",
        "cut": False,
    }
    little = json.loads(
        note(Bench(json=True), one, upstream=None, tenant="", request_id=b"", cut=True)
    )
    assert [little[key] for key in ("upstream_time", "tenant", "request_id", "cut")] == [
        None,
        None,
        None,
        True,
    ]


@pytest.mark.parametrize(
    ("path", "is_json"),
    [
        ("/l/access.log", False),
        ("-", False),
        ("/l/access.json", True),
        ("/l/access.jsonl", True),
        ("/l/ACCESS.JSON", True),
        ("/l/json", False),
    ],
)
def test_the_paths_end_decides_on_the_form(path: str, is_json: bool) -> None:
    log = AccessLog.of(Gateway(access_log=path), lookup)
    assert log is not None
    assert log._json is is_json


def test_without_a_path_there_is_none() -> None:
    assert AccessLog.of(Gateway(), lookup) is None


def test_the_time_goes_on() -> None:
    bench = Bench()
    note(bench, head())
    bench.clock += 86_400
    assert "[25/Nov/2026:09:01:01 +0000]" in note(bench, head())
    bench.clock = 0.0
    assert "[01/Jan/1970:00:00:00 +0000]" in note(bench, head())


@pytest.mark.parametrize("as_json", [False, True])
def test_no_token_is_shown_wherever_it_stands(as_json: bool) -> None:
    other = "not-known-here"
    for token in (TOKEN, other):
        one = head(
            f"/{token}/select?p={token}&token={token}&{token}".encode(),
            f"Authorization: Bearer {token}".encode(),
            f"User-Agent: curl {token}".encode(),
            f"Referer: https://u:{token}@h/x?t={token}".encode(),
            f"X-Request-ID: {token}".encode(),
        )
        line = note(Bench(json=as_json), one, request_id=token.encode())
        assert token not in line
        assert "<" in line


def test_the_clients_own_id_is_shown_with_our_answers() -> None:
    bench = Bench()
    answer = answers.error(429, "rate_limited", "too many", method=b"GET")
    bench.log.answered("::1", head(b"/x", b"X-Request-ID: abc"), answer, seconds=0.5, tenant="bob")
    match = COMBINED.fullmatch(bench.line())
    assert match is not None
    assert match["id"] == "abc"
    assert (match["status"], match["tenant"], match["address"]) == ("429", "bob", "::1")
    assert int(match["sent"]) == len(answer)
    assert int(match["body"]) == len(b"too many\n")


@pytest.mark.parametrize(
    ("method", "target", "shown"),
    [
        (b"GET", b"/x?s=abc", "GET /x?s=<3>"),
        (b"POST", b"", "-"),
        (b"", b"", "-"),
        (b"Authorization:", b"/secret", "-"),
        (b"X-SQ-API-Key:", b"secret", "-"),
        (b"GET", b"secret", "-"),
        (b"get", b"/secret", "-"),
        (b"GET", b'/\x1b[31m"', r"GET /\x1b[31m\x22"),
    ],
)
def test_of_what_is_no_head_only_a_request_line_is_shown(
    method: bytes, target: bytes, shown: str
) -> None:
    for as_json in (False, True):
        bench = Bench(json=as_json)
        bench.log.refused("192.0.2.7", method, target, answers.error(400, "x", "y"), seconds=0.1)
        line = bench.line()
        assert "secret" not in line
        if as_json:
            facts = json.loads(line)
            text = f"{facts['method'] or '-'} {facts['target'] or ''}".strip()
            assert (facts["status"], facts["version"]) == (400, None)
        else:
            match = COMBINED.fullmatch(line)
            assert match is not None
            text = match["request"]
        assert text == shown


field_values = st.binary(max_size=600).map(
    lambda raw: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", raw)
)


@given(
    target=st.binary(max_size=6000).map(lambda raw: re.sub(rb"[\x00-\x20\x7f#]", b"", raw)),
    agent=field_values,
    referer=field_values,
    request_id=st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128
    ),
    as_json=st.booleans(),
)
def test_any_request_is_one_short_printable_line(
    target: bytes, agent: bytes, referer: bytes, request_id: str, as_json: bool
) -> None:
    one = head(
        b"/" + target,
        b"User-Agent: " + agent,
        b"Referer: " + referer,
        b"X-Request-ID: " + request_id.encode(),
    )
    line = note(Bench(json=as_json), one, tenant="t" * 63, request_id=request_id.encode())
    assert len(line) <= PIECE
    assert re.fullmatch(r"[ -~]*\n", line)
    if as_json:
        assert json.loads(line)["status"] == 200
    else:
        match = COMBINED.fullmatch(line)
        assert match is not None
        assert "\\" not in re.sub(r"\\x[0-9a-f]{2}", "", line)


def test_the_longest_line_is_written_in_one_piece() -> None:
    worst = b"\\" * 999 + b"/"
    for as_json in (False, True):
        one = head(b"/" + worst[:1000] * 3, b"User-Agent: " + worst, b"Referer: /" + worst[:1000])
        line = note(Bench(json=as_json), one, tenant="t" * 63, request_id=b"i" * 128)
        assert 2000 < len(line) <= PIECE


def known_head(*fields: bytes) -> AdmittedHead:
    known = AdmittedHead()
    known.fields, known.connection_names = head(b"/", *fields).fields, frozenset()
    known.content_length, known.keep_alive = None, True
    known.grant, known.lines = Grant("alice"), b""
    return known


def note_all(bench: Bench, *heads: RequestHead) -> list[str]:
    """Note them between two sweeps."""
    for one in heads:
        bench.log.request("192.0.2.7", one, status=200, body=1, sent=2, seconds=0.1)
    return bench.lines()


def test_lines_of_a_known_head_are_read_once() -> None:
    bench = Bench()
    known = known_head(b"User-Agent: first")
    heads = [known.again(b"GET", b"/%d" % (n % 2)) for n in range(6)]
    texts = note_all(bench, *heads, head(b"/0", b"User-Agent: second"), heads[0])
    assert ["first" in text for text in texts] == [True] * 6 + [False, True]
    assert ["GET /0 " in text for text in texts] == [True, False] * 3 + [True] * 2


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqsuper.gateway.accesslog.MAX_REMEMBERED", 3)
    bench = Bench()
    known = known_head(b"User-Agent: first")
    for number in range(20):
        other = known_head(b"User-Agent: number-%d" % number).again(b"GET", b"/")
        bench.log.request("-", other, status=200, body=1, sent=2, seconds=0.1)
        target = known.again(b"GET", b"/%d" % number)
        bench.log.request("-", target, status=200, body=1, sent=2, seconds=0.1)
        remembered = bench.log._fields.values()
        assert len(remembered) + sum(len(fields.targets) for _, fields in remembered) <= 4
    texts = bench.lines()
    assert all(f"number-{n // 2}" in texts[n] for n in range(0, 40, 2))
    assert all(f"GET /{n // 2} " in texts[n] for n in range(1, 40, 2))


def test_a_new_token_is_found_after_the_next_sweep() -> None:
    tokens: dict[bytes, Grant] = {}
    bench = Bench()
    bench.log = AccessLog(bench.file, json=False, lookup=tokens.get)
    known = known_head().again(b"GET", b"/api/v2/select?p=" + TOKEN.encode())
    assert TOKEN in note_all(bench, known)[0]
    tokens[digest(TOKEN.encode())] = Grant("bob")
    assert TOKEN not in note_all(bench, known)[0]


def test_the_client_behind_a_trusted_proxy() -> None:
    bench = Bench(trusted=(ip_network("192.0.2.0/24"), ip_network("10.0.0.0/8")))

    def address(*forwarded: bytes) -> str:
        fields = [b"X-Forwarded-For: " + one for one in forwarded]
        return note(bench, head(b"/", *fields)).split(" ")[0]

    for _ in range(2):
        assert address() == "192.0.2.7"
        assert address(b"198.51.100.1, 10.1.2.3") == "198.51.100.1"
        assert address(b"198.51.100.1", b"2001:db8::1") == "2001:db8::1"
        assert address(b"junk") == "192.0.2.7"
        assert address(b'fe80::1%a" b\\\xe9') in ("192.0.2.7", r"fe80::1%a\x22\x20b\x5c\xc3\xa9")
    untrusting = Bench()
    assert note(untrusting, head(b"/", b"X-Forwarded-For: 198.51.100.1")).startswith("192.0.2.7 ")


# Batches


@pytest.fixture
def warnings() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == "sqsuper.gateway.accesslog":
            events.append(event)

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    yield events
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]


@pytest.fixture
def fill() -> Callable[[Bench, int], None]:
    def noted(bench: Bench, count: int) -> None:
        one = head()
        for _ in range(count):
            bench.log.request("192.0.2.7", one, status=200, body=1, sent=2, seconds=0.1)

    return noted


def test_a_batch_goes_by_the_sweep_or_by_its_size(fill: Callable[[Bench, int], None]) -> None:
    bench = Bench()
    fill(bench, 10)
    assert bench.file.written == []
    bench.log.sweep(0.0)
    (batch,) = bench.file.written
    assert batch is not None
    size = len(batch) // 10
    bench.log.sweep(0.0)
    fill(bench, FLUSH_BYTES // size + 1)
    assert len(bench.file.written) == 2
    assert bench.lines()


def test_a_reopening_comes_behind_the_lines_before_it(fill: Callable[[Bench, int], None]) -> None:
    bench = Bench()
    fill(bench, 1)
    bench.log.reopen()
    fill(bench, 1)
    bench.log.close()
    first, mark, second = bench.file.written
    assert mark is None
    assert first == second


def test_lines_past_the_bound_are_dropped_counted_and_reported_once_a_minute(
    fill: Callable[[Bench, int], None], warnings: list[LogEvent]
) -> None:
    bench = Bench()
    bench.file.stuck = MAX_PENDING
    for second in range(121):
        fill(bench, 2)
        bench.log.sweep(1000.0 + second)
    assert bench.file.written == []
    assert bench.log.dropped == 242
    assert [event["dropped"] for event in warnings] == [2, 120, 120]
    bench.file.stuck = 0
    fill(bench, 1)
    for second in range(200):
        bench.log.sweep(1121.0 + second)
    assert len(bench.file.written) == 1
    assert len(warnings) == 3


def test_failed_writes_are_reported_with_their_reason(warnings: list[LogEvent]) -> None:
    bench = Bench()
    bench.log.sweep(0.0)
    assert warnings == []
    bench.file.failures, bench.file.problem = 3, "No space left on device"
    for second in range(59):
        bench.log.sweep(float(second))
    (event,) = warnings
    assert event["failures"] == 3
    assert "No space left on device" in event["problem"]
    assert event["path"] == "access.log"


def test_what_is_given_up_at_the_end_is_told(
    fill: Callable[[Bench, int], None], warnings: list[LogEvent]
) -> None:
    bench = Bench()
    bench.file.lost = 7
    bench.file.stuck = 1
    fill(bench, 1)
    bench.log.close()
    assert len(bench.file.written) == 1
    assert bench.log.dropped == 7
    assert [event["log_format"] for event in warnings][-1].endswith("could not be written")
