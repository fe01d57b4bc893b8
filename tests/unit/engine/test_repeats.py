"""What is known of a head changes what an answer costs, never the answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sqsuper.engine import known, repeats
from sqsuper.engine.known import KnownHeads
from sqsuper.engine.service import Limits
from sqsuper.http1.credentials import digest
from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import RequestHead, parse_request_head
from tests.unit.engine.test_exchange import (
    AUTH,
    SELECT,
    UPDATE,
    Peer,
    body_of,
    head_of,
    request,
    statuses,
)

GET = request(b"GET", SELECT)
NUMBERED = b"X-Request-ID: %b\r\n"


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path)
    peer.talk(request(b"POST", UPDATE, b"one"))
    yield peer
    assert peer.errors == []
    peer.close()


def learn(peer: Peer, data: bytes = GET) -> bytes:
    """Ask until the answer comes from the memo; return it."""
    answers = {peer.talk(data) for _ in range(3)}
    assert len(answers) == 1
    assert peer.service.repeats.answer(data) in answers
    return answers.pop()


def test_it_is_the_ordinary_answer(peer: Peer) -> None:
    first = peer.talk(GET)
    assert learn(peer) == first
    assert body_of(first) == b"one"
    assert b"Connection: keep-alive" in head_of(first)


def test_a_type_is_part_of_it(peer: Peer) -> None:
    answer = learn(peer, request(b"GET", SELECT + b"&f=a.svg"))
    assert b"Content-Type: image/svg+xml" in head_of(answer)
    assert b"Content-Type" not in learn(peer)


@pytest.mark.parametrize("text", [b"two", b"", b"x" * 3000, b"x" * 70_000], ids=len)
def test_a_write_is_seen(peer: Peer, text: bytes) -> None:
    learn(peer)
    peer.talk(request(b"POST", UPDATE, text))
    for _ in range(2):
        assert body_of(peer.talk(GET)) == text
    peer.talk(request(b"POST", UPDATE, b"three"))
    assert body_of(peer.talk(GET)) == b"three"


def test_a_write_that_is_not_durable_is_waited_for(peer: Peer) -> None:
    learn(peer)
    phext = peer.store.open("t")
    peer.store.apply(
        phext, dict.fromkeys([next(iter(dict(phext.document.snapshot().items())))], b"two")
    )
    peer.exchange.received(GET)
    with pytest.raises(BlockingIOError):
        peer.sock.recv(1)
    assert body_of(peer.receive()) == b"two"


def test_a_file_that_is_read_again(peer: Peer, tmp_path: Path) -> None:
    learn(peer)
    peer.storage.stop(lambda: None)
    for _ in range(50):
        peer.loop.turn(0.01)
    (tmp_path / "t.phext").write_bytes(b"by hand")
    peer.talk(request(b"GET", b"/api/v2/load?p=t"))
    assert body_of(peer.talk(GET)) == b"by hand"


class TestTokens:
    FIELD = b"Authorization: Bearer T\r\n"
    ASKED = request(b"GET", SELECT, fields=FIELD)

    def give(self, peer: Peer, **facts: object) -> None:
        peer.keyring.replace([{"sha256": digest(b"T").hex(), "scope": "ro", **facts}])

    def test_revoked(self, peer: Peer) -> None:
        self.give(peer)
        learn(peer, self.ASKED)
        peer.keyring.replace([])
        assert statuses(peer.talk(self.ASKED)) == [401]
        self.give(peer)
        assert statuses(peer.talk(self.ASKED)) == [200]

    def test_expired_and_not_yet_valid(self, peer: Peer) -> None:
        self.give(peer, not_before=4000.0, expires=6000.0)
        learn(peer, self.ASKED)
        for moment, status in ((5999.9, 200), (6000.0, 401), (3999.9, 401), (4000.0, 200)):
            peer.wall = moment
            assert statuses(peer.talk(self.ASKED)) == [status]

    def test_the_same_bytes_for_another_token_are_other_bytes(self, peer: Peer) -> None:
        learn(peer)
        assert statuses(peer.talk(self.ASKED)) == [401]


class TestNumbers:
    """A gateway puts a number into each head, wherever."""

    @pytest.mark.parametrize("form", [NUMBERED + AUTH, AUTH + NUMBERED], ids=["first", "last"])
    def test_it_does_not_count(self, peer: Peer, form: bytes) -> None:
        heads = [request(b"GET", SELECT, fields=form % b"a-%d" % number) for number in range(4)]
        answers = [peer.talk(head) for head in heads]
        assert set(map(body_of, answers)) == {b"one"}
        assert peer.service.repeats.answer(heads[3]) == answers[0]
        assert len(peer.service.repeats) == 1
        # That of the write before, and these.
        assert len(peer.service.known) == 2

    @pytest.mark.parametrize(
        "line",
        [
            b"X-Request-ID: a b\r\n",
            b"X-Request-ID: \r\n",
            b"X-Request-ID: \x01\r\n",
            b"X-Request-ID: a\n\r\n",
            b"X-Request-ID: a\r\r\n",
            b"X-Request-ID : a\r\n",
            b"X-Request-ID: %b\r\n" % (b"a" * 129),
            b" X-Request-ID: a\r\n",
            b"x: X-Request-ID: a\r\n",
        ],
    )
    def test_a_line_that_is_none_is_read_in_full(self, peer: Peer, line: bytes) -> None:
        learn(peer)
        asked = request(b"GET", SELECT, fields=line + AUTH)
        assert peer.service.repeats.answer(asked) is None
        try:
            parse_request_head(asked[:-2], max_body_bytes=1)
            wanted = 200
        except FramingError as error:
            wanted = error.status
        assert statuses(peer.talk(asked)) == [wanted]

    def test_behind_an_empty_line_it_is_another_request(self, peer: Peer) -> None:
        learn(peer)
        asked = GET + b"X-Request-ID: a\r\n"
        assert peer.service.repeats.answer(asked) is None
        assert statuses(peer.talk(asked)) == [200, 400]

    def test_a_second_one_stays(self, peer: Peer) -> None:
        learn(peer)
        line = NUMBERED % b"a"
        assert peer.service.repeats.answer(request(b"GET", SELECT, fields=line + AUTH)) is not None
        assert peer.service.repeats.answer(request(b"GET", SELECT, fields=2 * line + AUTH)) is None


class TestOthers:
    @pytest.mark.parametrize(
        ("method", "fields"),
        [
            (b"HEAD", AUTH),
            (b"GET", AUTH + b"Connection: close\r\n"),
            (b"GET", AUTH + b'If-None-Match: "x"\r\n'),
            (b"GET", AUTH + b"X-SQ-API-Key: K\r\n"),
            (b"GET", AUTH + b"A: b\r\n" * 70),
            (b"GET", AUTH + b"A: %b\r\n" % (b"b" * 3000)),
        ],
    )
    def test_are_not_remembered(self, peer: Peer, method: bytes, fields: bytes) -> None:
        asked = request(method, SELECT, fields=fields)
        assert statuses(peer.talk(asked)) == [200]
        if not peer.closed and b"close" not in fields:
            assert statuses(peer.talk(asked) + peer.talk(asked)) == [200, 200]
        assert len(peer.service.repeats) == 0

    def test_nor_what_does_not_exist(self, peer: Peer) -> None:
        for _ in range(3):
            assert body_of(peer.talk(request(b"GET", SELECT.replace(b"p=t", b"p=none")))) == b""
        assert len(peer.service.repeats) == 0

    def test_several_in_one_piece(self, peer: Peer) -> None:
        learn(peer)
        assert statuses(peer.talk(GET * 20)) == [200] * 20

    def test_part_of_one(self, peer: Peer) -> None:
        learn(peer)
        assert statuses(peer.talk(GET[:-1])) == []
        assert statuses(peer.talk(GET[-1:])) == [200]
        assert statuses(peer.talk(b"\r\n" + GET)) == [200]
        assert statuses(peer.talk(GET)) == [200]

    def test_while_the_engine_stops(self, peer: Peer) -> None:
        learn(peer)
        peer.service.stopping = True
        assert b"Connection: close" in head_of(peer.talk(GET))

    def test_a_full_kernel_ends_no_order(self, tmp_path: Path) -> None:
        peer = Peer(tmp_path)
        text = b"x" * 60_000
        peer.talk(request(b"POST", UPDATE, text))
        learn(peer)
        for _ in range(100):
            peer.send(GET)
            peer.loop.turn(0)
        answers = peer.receive()
        assert statuses(answers) == [200] * 100
        assert answers.count(text) == 100
        peer.close()

    def test_over_the_head_limit(self, tmp_path: Path) -> None:
        peer = Peer(tmp_path, Limits(max_head_bytes=len(GET) + 20))
        peer.talk(request(b"POST", UPDATE, b"one"))
        learn(peer)
        asked = request(b"GET", SELECT, fields=AUTH + NUMBERED % b"a-number-of-some-length")
        assert peer.service.repeats.answer(asked) is None
        assert statuses(peer.talk(asked)) == [431]
        peer.close()

    def test_at_most_so_many(self, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(repeats, "MAX_ENTRIES", 3)
        monkeypatch.setattr(known, "MAX_ENTRIES", 3)
        for number in range(8):
            fields = AUTH + b"A: %d\r\n" % number
            learn(peer, request(b"GET", SELECT, fields=fields))
        assert len(peer.service.repeats) == len(peer.service.known) == 3


def test_known_lines_are_those_that_would_be_parsed() -> None:
    heads = KnownHeads()

    def parse(number: bytes, memo: KnownHeads | None) -> RequestHead:
        lines = b"Host: t\r\n" + number + AUTH
        return parse_request_head(
            b"POST /a HTTP/1.1\r\n" + lines + b"Content-Length: 3\r\n", max_body_bytes=9, known=memo
        )

    heads.keep(parse(NUMBERED % b"1", None))
    again = parse(NUMBERED % b"2", heads)
    whole = parse(b"", None)
    assert isinstance(again, known.KnownHead)
    assert again.digest == digest(b"K")
    assert again.fields == whole.fields
    assert again.content_length == 3
