"""The short way changes what a request costs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from sqsuper.gateway import client as clients
from sqsuper.gateway import plain as plains
from sqsuper.gateway.plain import PlainExchange, begin_plain
from sqsuper.gateway.rate import TokenBucket
from sqsuper.http1.credentials import Grant, digest
from sqsuper.instances import Full, Upstream
from sqsuper.testing import FakeWire
from tests.unit.gateway.support import ANSWER, GET, LIMITS, UPSTREAM, Bench

LINES = b"Host: h\r\nAuthorization: tok\r\n"
POST = b"POST /p HTTP/1.1\r\n" + LINES + b"Content-Length: 3\r\n\r\nabc"
LONG = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000
KEPT = b"Connection: keep-alive\r\n"
CLOSING = GET.replace(b"Host", b"Connection: close\r\nHost")


class Notes:
    """An access log that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def request(self, peer: str, head: Any, **facts: object) -> None:
        self.told.append((peer, head.method, head.target, head.fields, facts))

    def answered(self, peer: str, head: Any, answer: bytes, **facts: object) -> None:
        self.told.append((peer, head.method, head.target, answer, facts))

    def refused(self, *told: object, **facts: object) -> None:
        self.told.append((told, facts))


@attrs.define
class Scene(Bench):
    """A gateway that has served one request of each kind: both are known, and one connection.

    Or none, where the instance `ends` each connection, without a word.
    """

    ends: bool = False
    grants: dict[bytes, Grant] = attrs.field(factory=lambda: {digest(b"tok"): Grant("alice")})
    time: float = 0.0
    wire: FakeWire = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.connector.at_once = True

    @property
    def up(self) -> FakeWire:
        """The newest connection to the instance."""
        return self.connector.wires[-1]

    def say(self, whole: bytes) -> bytes:
        """Return an answer as the instance gives it."""
        return whole.replace(KEPT, b"") if self.ends else whole

    def answer(self, whole: bytes = ANSWER) -> None:
        """Let the instance answer."""
        up = self.up
        up.receive(self.say(whole))
        up.settle()

    def stick(self, stuck: bool) -> None:
        """Let the instance take nothing, or again what is sent."""
        self.connector.stuck = self.up.stuck = stuck
        self.up.settle()

    def lookup(self, sha256: bytes) -> Grant | None:
        return self.grants.get(sha256)

    def now(self) -> float:
        return self.time

    def begin(self) -> None:
        self.access = Notes()  # type: ignore[assignment]
        self.instances.upstreams["alice"] = UPSTREAM
        self.wire = self.client()
        for request, answer in ((GET, ANSWER), (POST, LONG), (POST, ANSWER)):
            self.wire.receive(request)
            self.answer(answer)
        self.connector.at_once = self.ends

    def outcome(self) -> list[object]:
        """Return all that can be seen from outside."""
        return [
            bytes(self.wire.sent),
            self.wire.state,
            self.wire.paused,
            [(bytes(up.sent), up.state, up.paused) for up in self.connector.wires],
            [attempt.upstream.epoch for attempt in self.connector.attempts],
            self.alice.inflight,
            self.alice.waiting,
            len(self.alice._idle),
            len(self.clients),
            [failure.status for failure in self.failures],
            len(self.instances.uses),
            self.access.told,  # type: ignore[union-attr]
        ]


Story = Callable[[Scene], None]


def asked(scene: Scene) -> None:
    scene.wire.receive(GET)


def answered(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.clock.advance(0.5)
    scene.answer()


def posted(scene: Scene) -> None:
    scene.wire.receive(POST)
    scene.answer()
    scene.wire.receive(GET)
    scene.answer()


def answer(*pieces: bytes) -> Story:
    def story(scene: Scene) -> None:
        scene.wire.receive(GET)
        for piece in pieces:
            scene.up.receive(piece)

    return story


def pipelined(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.wire.receive(GET + POST)
    for _ in range(3):
        scene.answer()


def two_at_once(scene: Scene) -> None:
    scene.wire.receive(GET + GET)
    scene.answer()
    scene.answer()


def more_than_is_read(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.wire.receive(b"x" * 70_000)


def half_closed(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.wire.end()
    scene.answer()
    scene.wire.settle()


def gone(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.wire.lose()


def late(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.advance(LIMITS.upstream_timeout + 0.1)


def nearly_late(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.advance(LIMITS.upstream_timeout - 0.1)
    scene.answer()
    scene.wire.receive(GET)
    scene.answer()


def instance_ended(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.up.end()


def instance_lost(scene: Scene) -> None:
    scene.wire.receive(POST)
    scene.up.lose()


def stopping(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.stopping = True
    scene.answer()


def revoked(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.clients[0].end_if_revoked(set(scene.grants.values()))
    scene.wire.settle()


def another_is_revoked(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.clients[0].end_if_revoked({Grant("alice")})
    scene.answer()


def last_request(scene: Scene) -> None:
    scene.client().receive(CLOSING)
    scene.answer()
    scene.wire.receive(CLOSING)
    scene.answer()
    scene.wire.settle()


def more_after_the_last(scene: Scene) -> None:
    scene.client().receive(CLOSING)
    scene.answer()
    scene.wire.receive(CLOSING)
    scene.answer()
    scene.wire.receive(GET)
    scene.wire.settle()
    scene.advance(1.0)
    scene.wire.receive(GET)
    scene.advance(1.5)
    scene.wire.settle()


def last_of_a_slow_reader(scene: Scene) -> None:
    scene.client().receive(CLOSING)
    scene.answer()
    scene.wire.stuck = True
    scene.wire.receive(CLOSING)
    scene.answer(LONG)
    scene.advance(10.0)
    scene.wire.stuck = False
    scene.wire.settle()
    scene.advance(2.5)
    scene.wire.settle()


def cut_off(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.clients[0].abort()
    scene.answer()
    scene.wire.settle()


def slow_reader(scene: Scene) -> None:
    scene.wire.stuck = True
    scene.wire.receive(GET)
    scene.answer(LONG)
    scene.wire.receive(GET)
    scene.wire.stuck = False
    scene.wire.settle()
    scene.answer()


def reader_of_nothing(scene: Scene) -> None:
    scene.wire.stuck = True
    scene.wire.receive(GET)
    scene.answer()
    for _ in range(4):
        scene.advance(LIMITS.send_timeout / 3)


def answered_before_it_was_sent(scene: Scene) -> None:
    scene.stick(True)
    scene.wire.receive(POST)
    scene.answer()
    scene.wire.settle()


def sent_late(scene: Scene) -> None:
    scene.stick(True)
    scene.wire.receive(POST)
    scene.stick(False)
    scene.answer()


def others_wait(scene: Scene) -> None:
    others = [scene.client() for _ in range(3)]
    scene.wire.receive(GET)
    for other in others:
        other.receive(GET)
    scene.answer()
    scene.wire.receive(GET)


def more_than_slots(scene: Scene) -> None:
    others = [scene.client() for _ in range(3)]
    for wire in (scene.wire, *others):
        wire.receive(GET)
    for up in scene.connector.wires[-2:]:
        up.receive(scene.say(ANSWER))
    scene.advance(1.0)
    for up in scene.connector.wires[-2:]:
        up.receive(scene.say(ANSWER))
        up.end()
    scene.advance(1.0)


def refused(scene: Scene) -> None:
    scene.wire.receive(GET)
    scene.answer()
    scene.connector.at_once = False
    scene.wire.receive(GET)
    for attempt in scene.connector.undecided():
        attempt.fail()
    scene.advance(0.03)


def answers(whole: bytes, long: bytes) -> list[Story]:
    return [
        answer(whole + b"x"),
        answer(whole[:-1]),
        answer(whole[:-1], b"k"),
        answer(whole[:20], whole[20:]),
        answer(whole[:-2], b"ok"),
        answer(*(whole[i : i + 1] for i in range(len(whole)))),
        answer(whole.replace(b"200 OK", b"404 No")),
        answer(whole.replace(b"keep-alive", b"close")),
        answer(whole.replace(KEPT, b"")),
        answer(b"HTTP/1.1 100 Continue\r\n\r\n" + whole),
        answer(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
        answer(b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n"),
        answer(b"HTTP/1.1 200 OK\r\n\r\nto the end"),
        answer(whole.replace(b"Length: 2", b"Length: 2x")),
        answer(b"HTTP/1.1 200 OK\r\n" + KEPT + b"Transfer-Encoding: chunked\r\n\r\n2\r\n"),
        answer(long),
        answer(long[:70_000], long[70_000:]),
    ]


STORIES: list[Story] = [
    asked,
    answered,
    posted,
    pipelined,
    two_at_once,
    more_than_is_read,
    half_closed,
    gone,
    late,
    nearly_late,
    instance_ended,
    instance_lost,
    stopping,
    revoked,
    another_is_revoked,
    last_request,
    more_after_the_last,
    last_of_a_slow_reader,
    cut_off,
    slow_reader,
    reader_of_nothing,
    answered_before_it_was_sent,
    sent_late,
    others_wait,
    more_than_slots,
    refused,
]
KEEPS = [(story, False) for story in [*STORIES, *answers(ANSWER, LONG)]]
ENDS = [
    (story, True)
    for story in [*STORIES, *answers(ANSWER.replace(KEPT, b""), LONG.replace(KEPT, b""))]
]


def play(
    directory: Path, story: Story, monkeypatch: pytest.MonkeyPatch, *, ends: bool, short: bool
) -> Any:
    """Return the outcome, and how many requests went the short way."""
    taken = 0

    def begin(*arguments: Any) -> PlainExchange | None:
        nonlocal taken
        found = begin_plain(*arguments) if short else None
        taken += found is not None
        return found

    monkeypatch.setattr(clients, "begin_plain", begin)
    scene = Scene(directory, ends=ends)
    scene.begin()
    taken = 0
    story(scene)
    return scene.outcome(), taken


def name_of(value: object) -> str:
    if isinstance(value, bool):
        return "ends" if value else "keeps"
    return value.__qualname__.split(".")[0]  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(("story", "ends"), [*KEEPS, *ENDS], ids=name_of)
def test_both_ways_have_one_outcome(
    story: Story, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, none = play(tmp_path, story, monkeypatch, ends=ends, short=False)
    outcome, taken = play(tmp_path, story, monkeypatch, ends=ends, short=True)
    assert none == 0
    assert taken > 0 or story is two_at_once
    assert outcome == expected


def scene_of(directory: Path, ends: bool) -> Scene:
    scene = Scene(directory, ends=ends)
    scene.begin()
    return scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return scene_of(tmp_path, False)


@pytest.fixture
def ending_scene(tmp_path: Path) -> Scene:
    return scene_of(tmp_path, True)


@pytest.mark.parametrize("story", [last_request, last_of_a_slow_reader, stopping])
def test_a_last_request_goes_the_short_way_to_its_end(
    scene: Scene, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned: list[PlainExchange] = []
    general = PlainExchange.general

    def noted(plain: PlainExchange) -> Any:
        turned.append(plain)
        return general(plain)

    monkeypatch.setattr(PlainExchange, "general", noted)
    story(scene)
    assert b"Connection: close\r\n" in scene.wire.sent
    assert scene.alice.inflight == 0
    # Where its answer is looked at later, the deadlines' sweep finds none under way.
    assert turned == []


def test_paths_are_remembered_within_bounds(scene: Scene) -> None:
    known = scene.known_requests.heads[LINES]
    for at in range(3 * plains.MAX_PATHS):
        scene.wire.receive(GET.replace(b"/a", b"/a%d?c=%d" % (at, at)))
        scene.answer()
    scene.wire.receive(GET.replace(b"/a", b"/" + b"b" * 1000))
    scene.answer()
    assert len(known.paths) == plains.MAX_PATHS
    assert max(map(len, known.paths)) < 10


@pytest.mark.parametrize("barred", [b"/health", b"/health?x", b"/api/v2/reload", b"/admin/x"])
def test_what_is_not_for_the_instance_is_not_remembered(scene: Scene, barred: bytes) -> None:
    up = bytes(scene.up.sent)
    for _ in range(2):
        scene.wire.receive(GET.replace(b"/a", barred))
    assert scene.up.sent == up
    assert scene.known_requests.heads[LINES].paths <= {b"/a"}


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("a defect")


def break_answers(scene: Scene) -> None:
    scene.alice.known_answers.find = broken  # type: ignore[assignment]


def break_log(scene: Scene) -> None:
    scene.access.request = broken  # type: ignore[method-assign, union-attr]


def break_pool(scene: Scene) -> None:
    scene.alice._idle = None  # type: ignore[assignment]


@pytest.mark.parametrize("defect", [break_answers, break_log, break_pool])
def test_a_defect_ends_that_client_alone(scene: Scene, defect: Callable[[Scene], None]) -> None:
    scene.wire.receive(GET)
    defect(scene)
    scene.up.receive(ANSWER)
    assert scene.wire.state == "aborted"
    assert scene.alice.inflight == 0
    with suppress(RuntimeError):
        scene.wire.settle()  # the log may be told of the cut, too
    assert scene.clients == []


def get(target: bytes) -> bytes:
    return GET.replace(b"/a", target)


@pytest.mark.parametrize(
    "data",
    [
        GET[:-1],
        GET + b"x",
        GET + GET,
        b"\r\n" + GET,
        POST[:-1],
        POST + b"x",
        GET.replace(b"GET", b"HEAD"),
        GET.replace(b"GET", b"POST"),
        GET.replace(b"GET", b"OPTIONS"),
        GET.replace(b"GET", b"get"),
        GET.replace(b"GET ", b"GET  "),
        GET.replace(b"1.1", b"1.0"),
        GET.replace(b"1.1", b"1.2"),
        GET.replace(b" HTTP", b"#HTTP"),
        GET.replace(b"\r\n", b"\n"),
        GET.replace(b"tok", b"no"),
        GET.replace(b"Host: h", b"Host: other"),
        get(b"a"),
        get(b"*"),
        get(b"/\x7f"),
        get(b"/health"),
        get(b"/health?x"),
        get(b"/api/v2/reload"),
        get(b"/api/v2/%72eload"),
        get(b"/admin"),
        get(b"/" + b"x" * LIMITS.max_head_bytes),
    ],
)
@pytest.mark.parametrize("ends", [False, True], ids=name_of)
def test_what_is_not_plain_goes_the_general_way(tmp_path: Path, data: bytes, ends: bool) -> None:
    scene = scene_of(tmp_path, ends)
    before = scene.outcome()
    assert begin_plain(scene.clients[0], scene, data, 1.0) is None
    assert scene.outcome() == before


def expire(scene: Scene) -> None:
    (grant,) = scene.grants.values()
    grant.expires = scene.time = 9.0


def switch_off(scene: Scene) -> None:
    (grant,) = scene.grants.values()
    grant.enabled = False


def narrow(scene: Scene) -> None:
    (grant,) = scene.grants.values()
    grant.read_only = True


def take_slots(scene: Scene) -> None:
    scene.alice.resize(0, 3)


def start_anew(scene: Scene) -> None:
    scene.instances.upstreams["alice"] = Upstream("alice", 2, "KEY2", port=1)


def stop(scene: Scene) -> None:
    scene.instances.upstreams.clear()


def end_instance(scene: Scene) -> None:
    scene.up.peer_gone = True


def use_connection(scene: Scene) -> None:
    scene.client().receive(GET)


def limit_rate(scene: Scene) -> None:
    scene.rates["alice"] = TokenBucket(1.0, 5, 0.0)


def fill_up(scene: Scene) -> None:
    scene.full["alice"] = Full("quota", "no room")


def forget(scene: Scene) -> None:
    scene.known_requests.clear()


@pytest.mark.parametrize(
    "change",
    [
        expire,
        switch_off,
        narrow,
        take_slots,
        start_anew,
        stop,
        end_instance,
        use_connection,
        limit_rate,
        fill_up,
        forget,
    ],
)
def test_what_has_changed_is_asked_each_time(scene: Scene, change: Callable[[Scene], None]) -> None:
    change(scene)
    before = scene.outcome()
    assert begin_plain(scene.clients[0], scene, GET, 1.0) is None
    assert scene.outcome() == before


def take_no_connection(scene: Scene) -> None:
    scene.connector.at_once = False


@pytest.mark.parametrize(
    "change",
    [expire, switch_off, narrow, take_slots, stop, limit_rate, forget, take_no_connection],
)
def test_nothing_is_opened_for_what_has_changed(
    ending_scene: Scene, change: Callable[[Scene], None]
) -> None:
    change(ending_scene)
    before = ending_scene.outcome()
    assert begin_plain(ending_scene.clients[0], ending_scene, GET, 1.0) is None
    assert ending_scene.outcome() == before


def test_an_instance_that_ends_connections_gets_each_request_on_a_new_one(
    ending_scene: Scene,
) -> None:
    scene, before = ending_scene, len(ending_scene.connector.wires)
    for request in (GET, POST, GET):
        scene.wire.receive(request)
        assert scene.alice.inflight == 1
        scene.answer()
    new = scene.connector.wires[before:]
    assert [(up.sent.count(b" HTTP/1.1\r\n"), up.state) for up in new] == [(1, "closed")] * 3
    assert scene.alice.inflight == 0


def test_a_request_goes_to_the_instance_that_is_ready_now(ending_scene: Scene) -> None:
    start_anew(ending_scene)
    assert begin_plain(ending_scene.clients[0], ending_scene, GET, 1.0) is not None
    assert b"Bearer KEY2\r\n" in ending_scene.up.sent


def test_a_token_with_an_end_is_plain_until_then(scene: Scene) -> None:
    (grant,) = scene.grants.values()
    grant.expires = 9.0
    assert begin_plain(scene.clients[0], scene, GET, 1.0) is not None


def test_a_read_only_token_may_read(scene: Scene) -> None:
    narrow(scene)
    assert begin_plain(scene.clients[0], scene, get(b"/api/v2/select?p=a"), 1.0) is not None


def test_the_line_is_that_of_the_grammar() -> None:
    for value in range(256):
        data = b"GET /%c HTTP/1.1\r\n" % value
        taken = plains._line.match(data) is not None
        assert taken == (0x21 <= value <= 0xFF and value not in (0x23, 0x7F))
