"""A defect met in one connection ends that one, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from sqsuper.gateway.body import RequestBody
from sqsuper.gateway.client import ClientConnection
from sqsuper.gateway.exchange import Exchange
from sqsuper.testing import RecordingUpstream
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import request
from tests.running import eventually


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (ClientConnection, "_relay"),
        (ClientConnection, "finished"),
        (ClientConnection, "sweep"),
        (Exchange, "granted"),
        (Exchange, "connected"),
        (Exchange, "_go_on_sending"),
        (Exchange, "_spool_body"),
        (Exchange, "_pass_on"),
        (Exchange, "answer_received"),
        (RequestBody, "send"),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),
)
def test_a_defect_ends_its_own_connection(
    gateway: StartGateway,
    upstream: RecordingUpstream,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
) -> None:
    under_test = gateway(upstream=upstream, settings={"max_inflight": 1})
    sound = under_test.connect()
    sound.send(request())
    assert sound.answer().status == 200
    eventually(lambda: under_test.inflight() == 0)  # all of that exchange is over
    real = getattr(owner, method)

    def broken(self: Any, *arguments: Any) -> Any:
        buffer = getattr(self, "buffer", b"")
        head = getattr(self, "head", None)
        if b"/broken" in (head.target if head is not None else bytes(buffer)):
            raise ZeroDivisionError
        if owner is not Exchange:
            raise ZeroDivisionError
        return real(self, *arguments)

    client = under_test.connect()
    monkeypatch.setattr(owner, method, broken)
    data = request("/broken", "Transfer-Encoding: chunked", method="POST")
    client.send(data + b"5\r\nhello\r\n0\r\n\r\n")
    try:
        got = client.answer().status
    except (EOFError, ConnectionError):
        got = 0
    assert got in (0, 200)
    eventually(lambda: under_test.inflight() == 0)
    eventually(lambda: under_test.connections() == (0 if method == "sweep" else 1))
    monkeypatch.undo()
    for _ in range(2):
        assert under_test.ask(request()).status == 200
    if method != "sweep":  # which meets every connection
        sound.send(request())
        assert sound.answer().status == 200
