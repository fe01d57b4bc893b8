"""Other tokens and settings while the gateway serves: what changes, and what is not touched."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sqsuper.config.model import Rate
from sqsuper.testing import FixedInstances, Peer, RecordingUpstream, keep_alive
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import request, tenant
from tests.running import eventually


class Held:
    """A script that answers requests but for those with `held` in them: these it keeps."""

    def __init__(self) -> None:
        self.holding = 0
        self.release = threading.Event()

    def __call__(self, peer: Peer) -> None:
        while True:
            if b"held" in peer.request().split(b"\r\n")[0]:
                self.holding += 1
                self.release.wait(15)
            peer.send(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
def held(upstream: RecordingUpstream) -> Any:
    script = Held()
    upstream.script = script
    yield script
    script.release.set()


class TestRevoked:
    def test_it_is_refused_at_the_next_request_on_an_open_connection(
        self, gateway: StartGateway, upstream: RecordingUpstream
    ) -> None:
        one = gateway(upstream=upstream)
        client, other = one.connect(), one.connect()
        for _ in range(3):
            client.send(request())
            assert client.answer().status == 200
        other.send(request(token="bobtok"))
        assert other.answer().status == 200
        one.call(lambda: one.service.change([tenant("alice", "new")], []))
        client.send(request())
        assert client.answer().status == 401
        client.send(request(token="new"))
        assert client.answer().status == 200
        other.send(request(token="bobtok"))
        assert other.answer().status == 200

    def test_an_exchange_under_way_is_cut_and_no_other(
        self, gateway: StartGateway, upstream: RecordingUpstream, held: Held
    ) -> None:
        alice = tenant("alice", "tok", "second")
        one = gateway(upstream=upstream, tenants=(alice, tenant("bob", "bobtok")))
        tokens = ("tok", "second", "bobtok")
        clients = {token: one.connect() for token in tokens}
        for token, client in clients.items():
            client.send(request("/api/v2/held", token=token))
        eventually(lambda: held.holding == 3, "all are under way")
        one.call(lambda: one.service.change([tenant("alice", "second")], []))
        with pytest.raises((ConnectionError, EOFError)):
            clients["tok"].answer()
        held.release.set()
        assert clients["second"].answer().status == 200
        assert clients["bobtok"].answer().status == 200

    @pytest.mark.parametrize("phase", ["sending", "spooling", "relaying"])
    def test_one_is_cut_in_whatever_it_does(
        self, gateway: StartGateway, upstream: RecordingUpstream, phase: str
    ) -> None:
        def serve(peer: Peer) -> None:
            if phase == "relaying":
                peer.request()
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel")
            peer.to_end()

        upstream.script = serve
        one = gateway(upstream=upstream)
        client = one.connect()
        if phase == "relaying":
            client.send(request())
            # The answer has begun.
            assert client.sock.recv(1)
        elif phase == "sending":
            client.send(request("/u", "Content-Length: 9", method="POST") + b"hel")
            eventually(lambda: any(b"hel" in got for got in upstream.received), "the body's begin")
        else:
            client.send(request("/u", "Transfer-Encoding: chunked", method="POST"))
            client.send(b"3\r\nhel\r\n")
            eventually(lambda: one.inflight() == 1, "it is read")
        one.call(lambda: one.service.change([tenant("alice", "new")], []))
        client.until_reset()
        eventually(lambda: one.inflight() == 0, "its slot is free")
        assert len(upstream.received) == (0 if phase == "spooling" else 1)
        assert one.ask(request("/health", token="")).status == 200

    def test_one_that_waits_gets_a_401(self, gateway: StartGateway) -> None:
        instances = FixedInstances()
        one = gateway(instances=instances)
        client = one.connect()
        client.send(request())
        eventually(lambda: one.call(lambda: instances.waiting("alice")) == 1, "it waits")
        one.call(lambda: one.service.change([], ["alice"]))
        assert client.answer().status == 401
        assert one.call(lambda: instances.waiting("alice")) == 0
        client.send(request())
        assert client.answer().status == 401

    def test_a_narrower_scope_holds_from_the_next_request(
        self, gateway: StartGateway, upstream: RecordingUpstream, held: Held
    ) -> None:
        one = gateway(upstream=upstream)
        client, writing = one.connect(), one.connect()
        client.send(request("/api/v2/update?p=x"))
        assert client.answer().status == 200
        writing.send(request("/api/v2/update?held"))
        eventually(lambda: held.holding == 1, "it is under way")
        one.call(lambda: one.service.change([tenant("alice", read_only=("tok",))], []))
        client.send(request("/api/v2/update?p=x"))
        assert client.answer().status == 403
        client.send(request("/api/v2/select?p=x"))
        assert client.answer().status == 200
        held.release.set()
        assert writing.answer().status == 200


class TestSettings:
    def test_more_slots_serve_who_waits(
        self, gateway: StartGateway, upstream: RecordingUpstream, held: Held
    ) -> None:
        one = gateway(upstream=upstream, settings={"max_inflight": 1})
        clients = [one.connect() for _ in range(3)]
        for client in clients:
            client.send(request("/api/v2/held"))
        eventually(lambda: held.holding == 1, "one is served")
        assert one.inflight() == 1
        one.call(lambda: one.service.change([tenant("alice", "tok", max_inflight=3)], []))
        eventually(lambda: held.holding == 3, "all are served")
        held.release.set()
        assert [client.answer().status for client in clients] == [200] * 3

    def test_a_rate_comes_and_goes(
        self, gateway: StartGateway, upstream: RecordingUpstream
    ) -> None:
        one = gateway(upstream=upstream)
        upstream.script = keep_alive
        client = one.connect()
        slow = tenant("alice", "tok", rate=Rate(per_second=0.01, burst=1))
        one.call(lambda: one.service.change([slow], []))
        for status in (200, 429):
            client.send(request())
            assert client.answer().status == status
        # A change of something else is no new burst.
        renamed = tenant("alice", "tok", "more", rate=Rate(per_second=0.01, burst=1))
        one.call(lambda: one.service.change([renamed], []))
        client.send(request())
        assert client.answer().status == 429
        one.call(lambda: one.service.change([tenant("alice", "tok")], []))
        client.send(request())
        assert client.answer().status == 200

    def test_a_new_tenant_is_served(
        self, gateway: StartGateway, upstream: RecordingUpstream
    ) -> None:
        one = gateway(upstream=upstream)
        one.instances.upstreams["carol"] = upstream.upstream("carol")
        assert one.ask(request(token="carols")).status == 401
        one.call(lambda: one.service.change([tenant("carol", "carols")], []))
        assert one.ask(request(token="carols")).status == 200
        assert b'"tenants": 3' in one.ask(request("/health", token="")).body


def test_quiet_comes_when_the_last_request_has_ended(
    gateway: StartGateway, upstream: RecordingUpstream, held: Held
) -> None:
    one = gateway(upstream=upstream)
    one.call(lambda: one.service.quiet("alice"))
    client = one.connect()
    client.send(request("/api/v2/held"))
    eventually(lambda: held.holding == 1, "it is under way")
    assert one.call(lambda: one.service.inflight("alice")) == 1
    assert one.call(lambda: one.service.inflight("bob")) == 0
    assert one.call(one.service.all_inflight) == {"alice": 1}
    quiet: list[None] = []
    one.call(lambda: one.service.quiet("alice").addCallback(quiet.append) and None)
    one.call(lambda: one.service.quiet("bob"))
    assert quiet == []
    held.release.set()
    assert client.answer().status == 200
    eventually(lambda: quiet == [None], "it is quiet")
    assert one.call(one.service.all_inflight) == {}
