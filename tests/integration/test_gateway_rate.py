"""A tenant's rate over real sockets."""

from __future__ import annotations

import time

import pytest

from sqsuper.config.model import Rate, Tenant
from sqsuper.testing import RecordingUpstream
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import request, tenant
from tests.running import eventually


@pytest.fixture
def limited() -> tuple[Tenant, ...]:
    return (
        tenant("alice", "tok", rate=Rate(1.0, 3)),
        tenant("bob", "bobtok"),
        tenant("carol", "caroltok", rate=Rate(0.01, 1)),
    )


def test_past_its_rate_a_tenant_gets_429_and_others_do_not(
    gateway: StartGateway, upstream: RecordingUpstream, limited: tuple[Tenant, ...]
) -> None:
    under_test = gateway(upstream=upstream, tenants=limited)
    client = under_test.connect()
    answers = []
    for _ in range(6):
        client.send(request())
        answers.append(client.answer())
    assert [answer.status for answer in answers] == [200] * 3 + [429] * 3
    over = answers[-1]
    assert over.one("x-sq-code") == "rate_limited"
    assert over.one("retry-after") == "1"
    assert over.one("access-control-allow-origin") == "*"
    assert over.body == b"this tenant makes too many requests\n"
    # A request without a body keeps the connection.
    assert over.all("connection") == []
    for _ in range(10):
        client.send(request(token="bobtok"))
        assert client.answer().status == 200
    for token in ("", "unknown"):
        client.send(request(token=token))
        assert client.answer().status == 401
    assert b"".join(upstream.received).count(b"\r\n\r\n") == 13


def test_who_waits_as_told_is_served(
    gateway: StartGateway, upstream: RecordingUpstream, limited: tuple[Tenant, ...]
) -> None:
    under_test = gateway(upstream=upstream, tenants=limited)
    client = under_test.connect()

    def ask() -> int:
        client.send(request())
        return client.answer().status

    began = time.monotonic()
    assert [ask() for _ in range(4)] == [200, 200, 200, 429]
    # What is refused meanwhile does not put it off.
    eventually(lambda: ask() == 200, timeout=3)
    assert time.monotonic() - began >= 0.9


def test_a_body_that_was_not_read_ends_the_connection(
    gateway: StartGateway, upstream: RecordingUpstream, limited: tuple[Tenant, ...]
) -> None:
    under_test = gateway(upstream=upstream, tenants=limited)
    assert under_test.ask(request(token="caroltok")).status == 200
    client = under_test.connect()
    client.send(request("/api/v2/update?p=x", method="POST", token="caroltok", body=b"x" * 5000))
    answer = client.answer()
    assert (answer.status, answer.one("connection")) == (429, "close")
    assert 90 <= int(answer.one("retry-after")) <= 100
    assert client.rest() == b""
    client.close()
    head = request(
        "/x", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST", token="caroltok"
    )
    client = under_test.connect()
    client.send(head)
    assert client.answer().status == 429  # and no 100 before it
    assert b"POST" not in b"".join(upstream.received)


def test_a_known_head_is_counted_as_well(
    gateway: StartGateway, upstream: RecordingUpstream, limited: tuple[Tenant, ...]
) -> None:
    """Whatever is remembered of a request's fields, its rate is not."""
    under_test = gateway(upstream=upstream, tenants=limited)
    client = under_test.connect()
    client.send(request(token="tok") * 50)
    statuses = [client.answer().status for _ in range(50)]
    assert statuses.count(200) in (3, 4)
    assert set(statuses) == {200, 429}


def test_on_delta_the_body_is_empty(
    gateway: StartGateway, upstream: RecordingUpstream, limited: tuple[Tenant, ...]
) -> None:
    under_test = gateway(upstream=upstream, tenants=limited)
    under_test.ask(request(token="caroltok"))
    answer = under_test.ask(request("/api/v2/delta?p=x", method="POST", token="caroltok"))
    assert (answer.status, answer.body) == (429, b"")
    assert answer.one("x-sq-error") == "this tenant makes too many requests"
