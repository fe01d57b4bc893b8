"""Sockets that a service manager passes: what the environment says, and which one is meant."""

from __future__ import annotations

import pytest

from sqsuper.passed_sockets import PassedSocketError, PassedSockets, server_endpoint


@pytest.mark.parametrize(
    ("environ", "passed"),
    [
        ({}, PassedSockets()),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "7"}, PassedSockets(2)),
        (
            {"LISTEN_FDS": "2", "LISTEN_PID": "7", "LISTEN_FDNAMES": "a:b"},
            PassedSockets(2, ("a", "b")),
        ),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "8", "LISTEN_FDNAMES": "a:b"}, PassedSockets()),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, PassedSockets()),
        ({"LISTEN_FDS": "-2", "LISTEN_PID": "7"}, PassedSockets()),
        ({"LISTEN_FDS": "x", "LISTEN_PID": "7"}, PassedSockets()),
    ],
)
def test_the_environment(environ: dict[str, str], passed: PassedSockets) -> None:
    assert PassedSockets.of(environ, 7) == passed


@pytest.mark.parametrize(
    ("arguments", "index"),
    [
        ({}, 0),
        ({"index": "1"}, 1),
        ({"index": "2"}, None),
        ({"name": "b"}, 1),
        ({"name": "c"}, None),
        ({"name": "beyond"}, None),
    ],
)
def test_which_one(arguments: dict[str, str], index: int | None) -> None:
    passed = PassedSockets(2, ("a", "b", "beyond"))
    assert passed.index({"domain": "INET", **arguments}) == index


def test_none_that_was_not_passed() -> None:
    with pytest.raises(PassedSocketError) as caught:
        server_endpoint(object(), "systemd:domain=INET:index=1", PassedSockets(1, ("web",)))
    assert str(caught.value) == (
        "systemd:domain=INET:index=1: the service manager passed no such socket"
        " (LISTEN_FDS: it passed 1, by the names web)"
    )
    assert caught.value.count == 1


def test_others_are_twisteds() -> None:
    assert type(server_endpoint(object(), "tcp:0")).__name__ == "TCP4ServerEndpoint"
