"""One connection: framing, credentials, order, refusals and time limits, without a real wait."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqsuper.engine import texts
from sqsuper.engine.api import Api
from sqsuper.engine.coordinates import Reading
from sqsuper.engine.directory import DataDirectory
from sqsuper.engine.exchange import WORK, Exchange
from sqsuper.engine.keyring import Keyring
from sqsuper.engine.service import Limits, Service
from sqsuper.engine.storage import Storage
from sqsuper.http1.credentials import digest
from sqsuper.sockets import Loop

AUTH = b"Authorization: Bearer K\r\n"
UPDATE = b"/api/v2/update?p=t&c=1.1.1/1.1.1/1.1.1"
SELECT = b"/api/v2/select?p=t&c=1.1.1/1.1.1/1.1.1"


def request(method: bytes, target: bytes, body: bytes | None = None, fields: bytes = AUTH) -> bytes:
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    return b"%b %b HTTP/1.1\r\nHost: t\r\n%b%b\r\n%b" % (
        method,
        target,
        fields,
        length,
        body or b"",
    )


GET_VERSION = request(b"GET", b"/api/v2/version")


class Peer:
    """The client's end of a connection to an exchange; time passes when told."""

    def __init__(self, data: Path, limits: Limits | None = None, quota: int | None = None) -> None:
        self.now = 1000.0
        self.wall = 5000.0
        self.loop = Loop(clock=lambda: self.now)
        self.directory = DataDirectory(str(data))
        self.errors: list[BaseException] = []
        self.lines: list[str] = []
        self.storage = Storage(
            self.loop,
            self.directory,
            clock=lambda: self.now,
            log=self.lines.append,
            report=self.errors.append,
            quota=quota,
        )
        self.store = self.storage.store
        self.closed: list[Exchange] = []
        self.keyring = Keyring("alice", "K")
        self.service = Service(
            self.loop,
            Api(self.store, Reading(lenient=False)),
            self.storage.turns,
            self.storage.commits,
            limits or Limits(max_body_bytes=1_000_000),
            lookup=self.keyring.lookup,
            wall_clock=lambda: self.wall,
            closed=self.closed.append,
            report=self.errors.append,
        )
        self.sock, theirs = socket.socketpair()
        self.sock.setblocking(False)
        self.exchange = Exchange(self.service, theirs, 1)
        self.got = b""

    def close(self) -> None:
        self.exchange.abort()
        self.sock.close()
        self.storage.close()
        self.loop.close()
        self.directory.close()

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                self.loop.turn(0)

    @property
    def busy(self) -> bool:
        """Whether an answer is being made, or waits for the disk."""
        return self.exchange._state == WORK

    def turn(self) -> None:
        self.loop.turn(0)
        while self.busy:
            self.loop.turn(0.001)
        for _ in range(20):
            self.loop.turn(0)

    def receive(self) -> bytes:
        """Let the exchange work and return what came of it, all together."""
        self.got = b""
        quiet = 0
        while quiet < 10 or self.busy:
            self.loop.turn(0.001 if self.busy else 0)
            try:
                data = self.sock.recv(1 << 20)
            except BlockingIOError:
                quiet += 1
                continue
            except ConnectionResetError:
                break
            if not data:
                break
            self.got += data
            quiet = 0
        return self.got

    def talk(self, data: bytes) -> bytes:
        self.send(data)
        return self.receive()

    def ended(self) -> bool:
        self.turn()
        try:
            return self.sock.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def sweep(self, seconds: float) -> bytes:
        self.now += seconds
        self.loop.turn(0)
        self.exchange.sweep(self.now)
        return self.receive()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path)
    yield peer
    assert peer.errors == []
    peer.close()


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answers)]


def head_of(answer: bytes) -> list[bytes]:
    return answer.split(b"\r\n\r\n")[0].split(b"\r\n")


def body_of(answer: bytes) -> bytes:
    return answer.split(b"\r\n\r\n", 1)[1]


def is_refusal(answer: bytes, status: int) -> bool:
    lines = head_of(answer)
    body = body_of(answer)
    return (
        statuses(answer) == [status]
        and lines.count(b"Access-Control-Allow-Origin: *") == 1
        and lines.count(b"Connection: close") == 1
        and lines.count(b"Content-Length: %d" % len(body)) == 1
        and any(line.startswith(b"X-SQ-Code: ") for line in lines)
    )


class TestOrder:
    def test_kept_alive_and_said_so(self, peer: Peer) -> None:
        for _ in range(3):
            answer = peer.talk(GET_VERSION)
            assert body_of(answer) == b"0.5.5"
            assert b"Connection: keep-alive" in head_of(answer)
        assert peer.exchange.idle

    def test_pipelined_requests_are_answered_in_order(self, peer: Peer) -> None:
        texts = [b"%d" % number for number in range(100)]
        data = b"".join(request(b"POST", UPDATE, text) + request(b"GET", SELECT) for text in texts)
        answers = peer.talk(data)
        bodies = [part.split(b"\r\n\r\n")[1] for part in answers.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies[1::2] == texts

    def test_byte_by_byte(self, peer: Peer) -> None:
        for byte in request(b"POST", UPDATE, b"hello") + request(b"GET", SELECT):
            peer.send(bytes([byte]))
            peer.loop.turn(0)
        assert statuses(peer.receive()) == [200, 200]
        assert peer.got.endswith(b"hello")

    def test_others_have_their_turn_between_pipelined_requests(self, peer: Peer) -> None:
        peer.send(GET_VERSION * 100)
        peer.loop.turn(0)
        first = len(statuses(peer.sock.recv(1 << 20)))
        assert 0 < first < 100
        assert first + len(statuses(peer.receive())) == 100

    def test_an_error_in_the_middle_ends_it(self, peer: Peer) -> None:
        answers = peer.talk(GET_VERSION * 2 + b"GET /x HTTP/1.1\nHost: t\r\n\r\n" + GET_VERSION)
        assert statuses(answers) == [200, 200, 400]
        assert is_refusal(b"HTTP/1.1 400" + answers.split(b"HTTP/1.1 400")[1], 400)
        assert peer.ended()

    def test_half_closed_after_a_whole_request(self, peer: Peer) -> None:
        peer.send(GET_VERSION * 30)
        peer.sock.shutdown(socket.SHUT_WR)
        assert statuses(peer.receive()) == [200] * 30
        assert peer.ended()
        assert peer.closed == [peer.exchange]

    def test_closed_inside_a_body_changes_nothing(self, peer: Peer) -> None:
        peer.send(request(b"POST", UPDATE, b"hello")[:-1])
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.receive() == b""
        assert peer.store.names() == []
        assert peer.closed == [peer.exchange]

    def test_connection_close_is_answered_so_and_nothing_follows(self, peer: Peer) -> None:
        answer = peer.talk(
            request(b"GET", b"/api/v2/version", fields=AUTH + b"Connection: close\r\n")
            + request(b"POST", UPDATE, b"never")
        )
        assert statuses(answer) == [200]
        assert b"Connection: close" in head_of(answer)
        assert peer.ended()
        assert peer.store.names() == []

    @pytest.mark.parametrize(
        ("fields", "word"),
        [(b"", b"close"), (b"Connection: keep-alive\r\n", b"keep-alive")],
    )
    def test_http_1_0(self, peer: Peer, fields: bytes, word: bytes) -> None:
        answer = peer.talk(b"GET /api/v2/version HTTP/1.0\r\n" + AUTH + fields + b"\r\n")
        assert statuses(answer) == [200]
        assert b"Connection: " + word in head_of(answer)
        assert peer.ended() == (word == b"close")


class TestBodies:
    def test_chunked(self, peer: Peer) -> None:
        head = request(b"POST", UPDATE, fields=AUTH + b"Transfer-Encoding: chunked\r\n")
        answer = peer.talk(head + b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n" + GET_VERSION)
        assert statuses(answer) == [200, 200]
        assert peer.talk(request(b"GET", SELECT)).endswith(b"hello")

    @pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE"])
    def test_bodies_of_other_methods_are_read_and_left(self, peer: Peer, method: bytes) -> None:
        target = b"/api/v2/delete?p=t&c=1.1.1/1.1.1/1.1.1" if method == b"DELETE" else SELECT
        answer = peer.talk(request(method, target, b"ignored") + GET_VERSION)
        assert statuses(answer) == [200, 200]

    def test_head_has_no_body_and_the_length(self, peer: Peer) -> None:
        peer.talk(request(b"POST", UPDATE, b"hello"))
        answer = peer.talk(request(b"HEAD", SELECT))
        assert b"Content-Length: 5" in head_of(answer)
        assert body_of(answer) == b""
        answer = peer.talk(request(b"HEAD", b"/api/v2/nothing") + GET_VERSION)
        assert statuses(answer) == [404, 200]
        assert answer.endswith(b"0.5.5")

    def test_continue_comes_once_all_is_accepted(self, peer: Peer) -> None:
        whole = request(b"POST", UPDATE, b"hello", AUTH + b"Expect: 100-Continue\r\n")
        assert peer.talk(whole[:-5]) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert statuses(peer.talk(b"hello")) == [200]

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (request(b"POST", UPDATE, b"x", b"Expect: 100-continue\r\n")[:-1], 401),
            (request(b"POST", b"/api/v2/nope", b"x", AUTH + b"Expect: 100-continue\r\n")[:-1], 404),
            (request(b"POST", SELECT, b"x", AUTH + b"Expect: 100-continue\r\n")[:-1], 405),
            (
                request(b"POST", UPDATE, fields=AUTH + b"Expect: 100-continue\r\n").replace(
                    b"\r\n\r\n", b"\r\nContent-Length: 1000001\r\n\r\n"
                ),
                413,
            ),
            (request(b"POST", UPDATE, b"x", AUTH + b"Expect: 200-ok\r\n")[:-1], 417),
        ],
    )
    def test_a_refused_expectation_gets_the_final_answer_alone(
        self, peer: Peer, data: bytes, status: int
    ) -> None:
        assert is_refusal(peer.talk(data), status)
        assert peer.ended()

    def test_too_large_by_length(self, peer: Peer) -> None:
        data = request(b"POST", UPDATE).replace(
            b"\r\n\r\n", b"\r\nContent-Length: 99999999999999999999999\r\n\r\n"
        )
        assert is_refusal(peer.talk(data), 413)

    def test_too_large_by_chunks(self, peer: Peer) -> None:
        head = request(b"POST", UPDATE, fields=AUTH + b"Transfer-Encoding: chunked\r\n")
        peer.send(head + b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n")
        assert is_refusal(peer.talk(b"1\r\n"), 413)
        assert peer.store.names() == []

    def test_at_the_limit(self, peer: Peer) -> None:
        peer.send(request(b"POST", UPDATE, b"x" * 1_000_000))
        assert body_of(peer.receive()) == b"Updated 1000000 bytes"

    def test_unread_bodies_end_the_connection(self, peer: Peer) -> None:
        assert is_refusal(peer.talk(request(b"POST", UPDATE, b"x", b"")), 401)
        assert peer.ended()


class TestCredentials:
    @pytest.mark.parametrize(
        "fields",
        [
            b"Authorization: Bearer K\r\n",
            b"authorization: bEARER   K  \r\n",
            b"Authorization: K\r\n",
            b"X-SQ-API-Key: K\r\n",
            b"x-sq-api-key:K\r\n",
            b"Authorization: Basic abc\r\nX-SQ-API-KEY: K\r\n",
            b"Authorization: Bearer K\r\nX-SQ-API-KEY: unknown\r\n",
        ],
    )
    def test_taken(self, peer: Peer, fields: bytes) -> None:
        assert statuses(peer.talk(request(b"GET", SELECT, fields=fields))) == [200]

    @pytest.mark.parametrize(
        "fields",
        [
            b"",
            b"Authorization: Bearer k\r\n",
            b"Authorization: Bearer KK\r\n",
            b"Authorization: Bearer K, Bearer K\r\n",
            b"Authorization: Bearer\r\n",
            b"Authorization: Basic K\r\n",
            b"X-SQ-API-Key: Bearer K\r\n",
            b"X_SQ_API_Key: K\r\n",
            b"Proxy-Authorization: Bearer K\r\n",
            b"Cookie: token=K\r\n",
        ],
    )
    def test_not_taken_and_kept_open(self, peer: Peer, fields: bytes) -> None:
        answer = peer.talk(request(b"GET", SELECT + b"&key=K&token=K", fields=fields))
        assert statuses(answer) == [401]
        assert b"WWW-Authenticate: Bearer" in head_of(answer)
        assert b"Connection: keep-alive" in head_of(answer)
        assert statuses(peer.talk(GET_VERSION)) == [200]

    @pytest.mark.parametrize("name", [b"Authorization", b"X-SQ-API-Key"])
    def test_twice_is_refused(self, peer: Peer, name: bytes) -> None:
        assert is_refusal(peer.talk(request(b"GET", SELECT, fields=(name + b": K\r\n") * 2)), 400)

    def test_tokens_scope_and_validity(self, peer: Peer) -> None:
        def token(name: str, **facts: object) -> dict[str, object]:
            return {"sha256": digest(name.encode()).hex(), **facts}

        peer.keyring.replace(
            [
                token("rw"),
                token("ro", scope="ro"),
                token("early", not_before=5001),
                token("late", expires=5000),
            ]
        )

        def ask(name: str, method: bytes, target: bytes) -> list[int]:
            fields = b"Authorization: Bearer " + name.encode() + b"\r\n"
            return statuses(peer.talk(request(method, target, fields=fields)))

        assert ask("rw", b"POST", UPDATE) == [200]
        assert ask("ro", b"GET", SELECT) == [200]
        assert ask("ro", b"POST", b"/api/v2/delta?p=t") == [200]
        for target in (UPDATE, b"/api/v2/load?p=t", b"/api/v2/sel%65ct?p=t", b"/api/v2/selectx"):
            assert ask("ro", b"GET", target) == [403]
        assert ask("early", b"GET", SELECT) == [401]
        assert ask("late", b"GET", SELECT) == [401]
        peer.wall = 4999.0
        assert ask("late", b"GET", SELECT) == [200]
        peer.wall = 5001.0
        assert ask("early", b"GET", SELECT) == [200]
        peer.keyring.replace([])
        assert ask("rw", b"GET", SELECT) == [401]
        assert ask("K", b"GET", SELECT) == [200]

    @pytest.mark.parametrize(
        "target", [b"/api/v2/reload", b"/api/v2//%52eload?x", b"/x/../api/v2/reloadx"]
    )
    def test_reload_is_never_reached(self, peer: Peer, target: bytes) -> None:
        assert statuses(peer.talk(request(b"POST", target))) == [403]
        assert statuses(peer.talk(request(b"POST", target, fields=b""))) == [401]

    @pytest.mark.parametrize("target", [b"*", b"/", b"/api/v2/update?p=t", b"/api/v2/reload"])
    def test_options_needs_no_token(self, peer: Peer, target: bytes) -> None:
        answer = peer.talk(request(b"OPTIONS", target, fields=b""))
        lines = head_of(answer)
        assert statuses(answer) == [204]
        assert b"Access-Control-Allow-Methods: GET, POST, DELETE, HEAD, OPTIONS" in lines
        assert b"Access-Control-Max-Age: 86400" in lines
        assert lines.count(b"Access-Control-Allow-Origin: *") == 1
        assert not any(line.startswith(b"Content-Length") for line in lines)
        assert statuses(peer.talk(GET_VERSION)) == [200]

    def test_options_with_a_body_ends_the_connection(self, peer: Peer) -> None:
        answer = peer.talk(request(b"OPTIONS", b"/", b"x", b""))
        assert b"Connection: close" in head_of(answer)
        assert peer.ended()


class TestErrors:
    def test_of_the_api_keep_the_connection(self, peer: Peer) -> None:
        answer = peer.talk(request(b"POST", UPDATE, b"hello") + GET_VERSION)
        assert statuses(answer) == [200, 200]
        answer = peer.talk(request(b"POST", UPDATE + b"/x", b"hello") + GET_VERSION)
        assert statuses(answer) == [400, 200]
        assert b"X-SQ-Code: bad_coordinate" in head_of(answer)

    def test_on_delta_have_no_body(self, peer: Peer) -> None:
        for data, status in (
            (request(b"POST", b"/api/v2/delta?p=..", b""), 403),
            (request(b"GET", b"/api/v2//delta?p=..", fields=b""), 401),
            (request(b"DELETE", b"/api/v2/delta?p=t"), 405),
            (request(b"POST", b"/api/v2/delta?p=t", b"\xff"), 400),
            (b"POST /api/v2/delta HTTP/1.1\r\nHost: t\r\nX: \x00", 400),
        ):
            answer = peer.talk(data)
            assert statuses(answer) == [status]
            assert body_of(answer) == b""
            assert any(line.startswith(b"X-SQ-Error: ") for line in head_of(answer))

    def test_wrong_methods_are_told_the_right_ones(self, peer: Peer) -> None:
        answer = peer.talk(request(b"POST", SELECT) + request(b"PATCH", SELECT))
        assert statuses(answer) == [405, 405]
        assert b"Allow: GET, HEAD, OPTIONS" in head_of(answer)
        assert b"Allow: GET, POST, DELETE, HEAD, OPTIONS" in answer

    def test_full_disks_are_json(self, tmp_path: Path) -> None:
        peer = Peer(tmp_path, quota=3)
        answer = peer.talk(request(b"POST", UPDATE, b"hello"))
        assert statuses(answer) == [507]
        assert b"Content-Type: application/json" in head_of(answer)
        assert b'"code": "quota"' in body_of(answer)
        peer.close()

    def test_faults_of_ours_are_500_and_reported(self, tmp_path: Path) -> None:
        peer = Peer(tmp_path)
        peer.service.api.answer = lambda _request: 1 // 0  # type: ignore[assignment,method-assign,return-value]
        answer = peer.talk(GET_VERSION)
        assert statuses(answer) == [500]
        assert b"ZeroDivisionError" not in answer
        assert [type(error) for error in peer.errors] == [ZeroDivisionError]
        peer.close()


class TestTimes:
    def test_nothing_sent_is_closed_silently(self, peer: Peer) -> None:
        assert peer.sweep(9.9) == b""
        assert not peer.closed
        assert peer.sweep(0.2) == b""
        assert peer.closed

    def test_a_slow_head_gets_408(self, peer: Peer) -> None:
        peer.now += 9
        peer.send(b"GET")
        peer.turn()
        for _ in range(9):
            peer.now += 1
            peer.send(b"x")
            assert peer.sweep(0) == b""
        assert is_refusal(peer.sweep(1.1), 408)

    def test_idle_is_closed_silently(self, peer: Peer) -> None:
        peer.talk(GET_VERSION)
        assert peer.sweep(74) == b""
        assert not peer.closed
        assert peer.sweep(1.1) == b""
        assert peer.closed

    def test_a_pause_in_a_body(self, tmp_path: Path) -> None:
        peer = Peer(tmp_path, Limits(body_timeout=5))
        peer.send(request(b"POST", UPDATE, b"x" * 100_000)[:-50_000])
        assert peer.receive() == b""
        assert peer.sweep(4.9) == b""
        peer.send(b"x" * 40_000)
        assert peer.receive() == b""
        assert peer.sweep(4.9) == b""
        assert is_refusal(peer.sweep(0.2), 408)
        assert peer.store.names() == []
        peer.close()

    def test_a_body_in_drops(self, peer: Peer) -> None:
        peer.send(request(b"POST", UPDATE, b"x" * 100_000)[:-100_000])
        peer.turn()
        for _ in range(10):
            peer.send(b"x" * 500)
            assert peer.sweep(1) == b""
        peer.send(b"x" * 500)
        assert is_refusal(peer.sweep(1), 408)

    @pytest.mark.parametrize("what", [SELECT, b"/api/v2/get?p=t", b"/api/v2/delta?p=t"])
    def test_a_slow_reader_is_reset(self, peer: Peer, tmp_path: Path, what: bytes) -> None:
        (tmp_path / "t.phext").write_bytes(b"x" * 5_000_000)
        peer.send(request(b"GET", what))
        peer.turn()
        peer.exchange.sweep(peer.now + 74)
        assert not peer.closed
        peer.exchange.sweep(peer.now + 76)
        assert peer.closed

    def test_the_gateway_keeps_the_times_itself(self, tmp_path: Path) -> None:
        peer = Peer(tmp_path, Limits().behind_gateway())
        assert peer.sweep(1e6) == b""
        peer.send(GET_VERSION[:10])
        assert peer.sweep(1e6) == b""
        assert statuses(peer.talk(GET_VERSION[10:])) == [200]
        assert peer.sweep(1e6) == b""
        assert not peer.closed
        peer.close()

    def test_a_refused_client_is_read_for_two_seconds(self, peer: Peer) -> None:
        assert is_refusal(peer.talk(b"BAD\r\n"), 400)
        assert peer.ended()
        peer.sweep(1.9)
        assert not peer.closed
        peer.sweep(0.2)
        assert peer.closed

    def test_a_refused_client_is_read_for_8_mib(self, peer: Peer) -> None:
        assert is_refusal(peer.talk(b"BAD\r\n"), 400)
        peer.send(b"x" * (8 << 20))
        peer.turn()
        assert not peer.closed
        peer.send(b"x")
        peer.turn()
        assert peer.closed

    def test_a_refused_client_that_closes_is_gone(self, peer: Peer) -> None:
        assert is_refusal(peer.talk(b"BAD\r\n"), 400)
        peer.sock.close()
        peer.turn()
        assert peer.closed


class TestLargeAnswers:
    @pytest.mark.parametrize("end", [[], [b"", b""]], ids=["canonical", "as the file is"])
    def test_a_slow_reader_costs_little_and_gets_all(
        self, peer: Peer, tmp_path: Path, end: list[bytes]
    ) -> None:
        text = b"\x17".join([b"%d" % number + b"y" * 10_000 for number in range(900)] + end)
        (tmp_path / "t.phext").write_bytes(text)
        peer.send(request(b"GET", b"/api/v2/get?p=t") + GET_VERSION)
        peer.turn()
        got = b""
        most = 0
        while not got.endswith(b"0.5.5"):
            peer.loop.turn(0)
            most = max(most, peer.exchange._connection.pending)
            try:
                got += peer.sock.recv(100_000)
            except BlockingIOError:
                continue
        assert most <= 262_144
        assert got.split(b"\r\n\r\n", 1)[1].startswith(text)

    def test_a_file_that_shrinks_meanwhile_cuts_the_answer(
        self, peer: Peer, tmp_path: Path
    ) -> None:
        file = tmp_path / "t.phext"
        file.write_bytes(b"x" * 5_000_000 + b"\x17")
        peer.send(request(b"GET", b"/api/v2/get?p=t"))
        peer.turn()
        with file.open("r+b") as shrinking:
            shrinking.truncate(4_000_000)
        got = peer.receive()
        assert len(got) < 5_000_000
        assert peer.closed

    def test_others_have_their_turn_while_a_fast_reader_reads(
        self, peer: Peer, tmp_path: Path
    ) -> None:
        (tmp_path / "t.phext").write_bytes(b"\x17".join([b"y" * 10_000] * 900))
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        answer = peer.talk(request(b"GET", b"/api/v2/delta?p=t"))
        assert len(body_of(answer)) == 10_001 * 900 - 1


class TestStopping:
    def test_idle_connections_end_at_once(self, peer: Peer) -> None:
        peer.talk(GET_VERSION)
        peer.exchange.stop()
        assert peer.closed

    def test_a_request_under_way_is_answered_and_the_end_announced(self, peer: Peer) -> None:
        data = request(b"POST", UPDATE, b"hello")
        peer.send(data[:-2])
        peer.turn()
        peer.service.stopping = True
        peer.exchange.stop()
        assert not peer.closed
        answer = peer.talk(data[-2:])
        assert statuses(answer) == [200]
        assert b"Connection: close" in head_of(answer)
        assert peer.ended()


def test_a_large_write_lets_others_go_first(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_STEP_BYTES", 1024)
    text = "é".encode() * 2_000_000
    peer.service.limits.max_body_bytes = 10_000_000
    peer.exchange.relimit()
    peer.send(request(b"POST", UPDATE, text))
    while not peer.busy:
        peer.loop.turn(0.001)
    mine, theirs = socket.socketpair()
    mine.setblocking(False)
    other = Exchange(peer.service, theirs, 2)
    mine.send(GET_VERSION)
    for _ in range(3):
        peer.loop.turn(0)
    assert peer.busy
    assert statuses(mine.recv(1 << 16)) == [200]
    assert statuses(peer.receive()) == [200]
    assert body_of(peer.talk(request(b"GET", SELECT))) == text
    other.abort()
    mine.close()
