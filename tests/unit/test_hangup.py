"""What a SIGHUP means."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sqsuper.hangup import Hangup


class Caller:
    """Calls at once what is to be called in the reactor's thread."""

    def callFromThread(self, call: Callable[[], object]) -> object:
        return call()


@pytest.fixture
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def hangup(terminal: list[bool]) -> tuple[Hangup, list[str]]:
    did: list[str] = []
    one = Hangup(
        lambda: did.append("reload"),
        lambda: did.append("stop"),
        reactor=Caller(),
        has_terminal=lambda: terminal[0],
    )
    return one, did


def test_a_signal_reloads(handler: None) -> None:
    one, did = hangup([False])
    one.install()
    one.startService()
    signal.raise_signal(signal.SIGHUP)
    assert did == ["reload"]


@pytest.mark.parametrize(
    ("before", "now", "what"),
    [
        (True, True, "reload"),
        (True, False, "stop"),
        (False, False, "reload"),
    ],
)
def test_a_terminal_that_is_gone_stops(before: bool, now: bool, what: str) -> None:
    terminal = [before]
    one, did = hangup(terminal)
    one.startService()
    terminal[0] = now
    one.hung_up()
    assert did == [what]


@pytest.mark.parametrize("others", [signal.SIG_IGN, lambda *_: None])
def test_who_has_the_signal_already_keeps_it(handler: None, others: Any) -> None:
    signal.signal(signal.SIGHUP, others)
    one, did = hangup([False])
    one.install()
    assert signal.getsignal(signal.SIGHUP) is others
    signal.raise_signal(signal.SIGHUP)
    assert did == []
