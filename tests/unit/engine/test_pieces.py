"""Keyring, control pipe and command line."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from sqsuper.engine.control import Control, ControlError, Report
from sqsuper.engine.guesses import MAX_ADDRESSES, Guesses
from sqsuper.engine.keyring import Keyring
from sqsuper.engine.options import MIB, Options, UsageError, parse, parse_live
from sqsuper.engine.server import log_line, report
from sqsuper.engine.timed import TimedLoop
from sqsuper.http1.credentials import digest
from sqsuper.sockets import Loop


class TestKeyring:
    def test_the_gateways_socket_takes_the_key_alone(self) -> None:
        keyring = Keyring("alice", "K")
        keyring.replace([{"sha256": digest(b"T").hex(), "label": "laptop", "scope": "ro"}])
        grant = keyring.lookup(digest(b"T"))
        assert grant is not None
        assert (grant.tenant, grant.label, grant.read_only) == ("alice", "laptop", True)
        assert keyring.lookup_key(digest(b"T")) is None
        for lookup in (keyring.lookup, keyring.lookup_key):
            found = lookup(digest(b"K"))
            assert found is not None
            assert not found.read_only
            assert lookup(digest(b"other")) is None

    @pytest.mark.parametrize(
        "bad",
        [
            {},
            {"sha256": "xyz"},
            {"sha256": "ab"},
            {"sha256": 5},
            {"sha256": "00" * 32, "scope": "admin"},
            {"sha256": "00" * 32, "expires": "tomorrow"},
            {"sha256": "00" * 32, "not_before": True},
        ],
    )
    def test_a_malformed_list_changes_nothing(self, bad: dict[str, object]) -> None:
        keyring = Keyring("alice", "K")
        keyring.replace([{"sha256": digest(b"T").hex()}])
        with pytest.raises(ValueError, match=r"."):
            keyring.replace([{"sha256": digest(b"U").hex()}, bad])
        assert keyring.lookup(digest(b"T")) is not None
        assert keyring.lookup(digest(b"U")) is None


class TestGuesses:
    def test_past_the_limit_for_a_minute(self) -> None:
        guesses = Guesses(3)
        assert [guesses.wrong("a", now) for now in (0, 10, 20)] == [None] * 3
        assert guesses.wrong("a", 30) == 31
        assert guesses.wrong("b", 30) is None
        assert guesses.wrong("a", 59.5) == 1
        assert guesses.wrong("a", 60.5) is None
        assert guesses.wrong("a", 61) == 10

    def test_none_allowed(self) -> None:
        assert Guesses(0).wrong("a", 5) == 61

    def test_addresses_are_bounded_and_the_oldest_goes(self) -> None:
        guesses = Guesses(1)
        for number in range(MAX_ADDRESSES):
            guesses.wrong(str(number), 0)
        assert guesses.wrong("0", 1) is not None
        guesses.wrong("one more", 1)
        assert guesses.wrong("0", 1) is not None
        assert guesses.wrong("1", 1) is None


class Pipe:
    """A control pipe and what came of it."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.read, self.write = os.pipe()
        self.keyrings: list[Keyring] = []
        self.ends = 0
        self.errors: list[ControlError] = []
        self.pings: list[int] = []
        self.adjusted: list[Options] = []
        self.holds: list[int] = []
        self.releases: list[int] = []
        Control(
            self.loop,
            self.read,
            "alice",
            opened=self.keyrings.append,
            ended=self._ended,
            failed=self.errors.append,
            pinged=self.pings.append,
            adjusted=self.adjusted.append,
            held=self.holds.append,
            released=self.releases.append,
        )

    def _ended(self) -> None:
        self.ends += 1

    def say(self, message: object) -> None:
        self.raw(json.dumps(message).encode() + b"\n")

    def raw(self, data: bytes) -> None:
        os.write(self.write, data)
        self.loop.turn(0)

    def hang_up(self) -> None:
        if self.write >= 0:
            os.close(self.write)
            self.write = -1
        self.loop.turn(0)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.hang_up()
    pipe.loop.close()
    os.close(pipe.read)


def token(text: str) -> dict[str, Any]:
    return {
        "sha256": digest(text.encode()).hex(),
        "label": None,
        "scope": "rw",
        "not_before": None,
        "expires": None,
    }


class TestControl:
    def test_key_and_tokens_then_new_tokens(self, pipe: Pipe) -> None:
        pipe.say({"key": "K", "tokens": [token("a")]})
        (keyring,) = pipe.keyrings
        assert keyring.lookup(digest(b"K")) is not None
        assert keyring.lookup(digest(b"a")) is not None
        pipe.say({"tokens": [token("b")]})
        assert keyring.lookup(digest(b"a")) is None
        assert keyring.lookup(digest(b"b")) is not None
        assert keyring.lookup(digest(b"K")) is not None
        pipe.say({"tokens": []})
        assert keyring.lookup(digest(b"b")) is None
        assert len(pipe.keyrings) == 1
        assert not pipe.errors
        assert not pipe.ends

    def test_other_options(self, pipe: Pipe) -> None:
        pipe.say({"key": "K"})
        pipe.say({"options": ["--quota-mb", "5", "--coordinates", "lenient"]})
        pipe.say({"options": []})
        first, second = pipe.adjusted
        assert (first.quota, first.lenient) == (5 * MIB, True)
        assert (second.quota, second.lenient) == (None, False)
        assert pipe.errors == []

    @pytest.mark.parametrize(
        "options",
        ["--quota-mb", ["--quota-mb"], [5, 6], ["--nonsense", "1"], ["--max-loaded", "0"]],
    )
    def test_options_that_cannot_be_meant_change_nothing(self, pipe: Pipe, options: object) -> None:
        pipe.say({"key": "K"})
        pipe.say({"options": options})
        assert pipe.adjusted == []
        assert len(pipe.errors) == 1

    def test_lines_in_pieces_and_together(self, pipe: Pipe) -> None:
        lines = json.dumps({"key": "K"}) + "\n" + json.dumps({"tokens": [token("a")]}) + "\n"
        for char in lines[:10]:
            pipe.raw(char.encode())
        assert not pipe.keyrings
        pipe.raw(lines[10:].encode())
        assert pipe.keyrings[0].lookup(digest(b"a")) is not None

    @pytest.mark.parametrize("line", ["", "{", "[]", "{}", '{"key": ""}', '{"key": 5}', "\x00"])
    def test_a_first_line_without_key(self, pipe: Pipe, line: str) -> None:
        pipe.raw(line.encode() + b"\n")
        assert not pipe.keyrings
        assert len(pipe.errors) == 1

    @pytest.mark.parametrize("tokens", [{}, "x", [1], [{"sha256": "secret-bad"}]])
    def test_malformed_tokens_change_nothing(self, pipe: Pipe, tokens: object) -> None:
        pipe.say({"key": "K", "tokens": [token("a")]})
        pipe.say({"tokens": tokens})
        assert len(pipe.errors) == 1
        assert "secret-bad" not in str(pipe.errors[0])
        assert pipe.keyrings[0].lookup(digest(b"a")) is not None

    def test_holds(self, pipe: Pipe) -> None:
        pipe.say({"key": "K"})
        pipe.say({"hold": 7})
        pipe.say({"release": 7})
        pipe.say({"hold": "7"})
        assert (pipe.holds, pipe.releases) == ([7], [7])
        assert [str(error) for error in pipe.errors] == ["a control line's hold is no number"]

    def test_pings(self, pipe: Pipe) -> None:
        pipe.say({"key": "K", "ping": 1})
        pipe.say({"ping": 2})
        pipe.say({"ping": 3, "tokens": [token("a")]})
        assert pipe.pings == [1, 2, 3]
        assert pipe.keyrings[0].lookup(digest(b"a")) is not None
        for wrong in ('"4"', "true", "1.5", "[]"):
            pipe.raw(b'{"ping": %b}\n' % wrong.encode())
        assert pipe.pings == [1, 2, 3]
        assert len(pipe.errors) == 4

    def test_no_error_shows_a_key(self, pipe: Pipe) -> None:
        pipe.raw(b'{"key": "SECRET"\n')
        assert "SECRET" not in str(pipe.errors[0])
        assert pipe.errors[0].__cause__ is None

    def test_the_end_is_told_once(self, pipe: Pipe) -> None:
        pipe.say({"key": "K"})
        pipe.hang_up()
        pipe.loop.turn(0)
        assert pipe.ends == 1


def test_a_loop_knows_its_longest_turn() -> None:
    times = iter([0.0, 10.0, 10.25, 20.0, 20.5, 30.0, 30.125, 40.0, 40.0])
    loop = TimedLoop(clock=lambda: next(times))
    try:
        for _ in range(3):
            loop.turn(0)
        assert loop.take_longest() == 0.5
        loop.turn(0)
        assert loop.take_longest() == 0.0
    finally:
        loop.close()


def test_a_line_that_standard_error_does_not_take_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("sys.stderr", Full())
    log_line("text")
    report(ValueError("text"))


def test_report_is_lost_rather_than_waited_for() -> None:
    read, write = os.pipe()
    report = Report(write)
    report.ready()
    assert json.loads(os.read(read, 100)) == {"event": "ready"}
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 65_536)
    except BlockingIOError:
        pass
    report.ready()
    os.close(read)
    report.ready()
    os.close(write)
    Report(None).ready()


class TestOptions:
    def test_told_anew_they_are_read_as_at_the_start(self) -> None:
        words = ["--max-phext-mb", "3", "--checkpoint-idle", "0.5", "--stop-seconds", "2.5"]
        told, given = parse_live(words), parse(["7001", "--key", "K", *words])
        for name in Options.__slots__:
            if name not in ("port", "key"):
                assert getattr(told, name) == getattr(given, name)

    def test_by_hand(self) -> None:
        options = parse(["7001", "--key", "K", "--data-dir", "/data"])
        assert (options.port, options.key, options.data_dir) == (7001, "K", "/data")
        assert options.max_phext == 480 * MIB
        assert options.quota is None
        assert not options.lenient

    def test_as_the_supervisor(self) -> None:
        line = (
            "--data-dir D --name alice --listen-fd 5 --listen-fd=6 --control-fd 3 --report-fd 4"
            " --coordinates lenient --max-head-bytes 1000 --max-body-bytes 2000 --max-phext-mb 3"
            " --quota-mb 4 --max-loaded 5 --idle-timeout 0.5"
        )
        options = parse(line.split())
        assert options.listen_fds == [5, 6]
        assert (options.control_fd, options.report_fd) == (3, 4)
        assert options.lenient
        assert (options.max_head_bytes, options.max_body_bytes) == (1000, 2000)
        assert (options.max_phext, options.quota) == (3 * MIB, 4 * MIB)
        assert (options.max_loaded, options.idle_timeout, options.name) == (5, 0.5, "alice")

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "7001",
            "--key K",
            "x --key K",
            "65536 --key K",
            "-1 --key K",
            "7001 7002 --key K",
            "7001 --key",
            "7001 --key=",
            "7001 --key K --nope 1",
            "7001 --key K --coordinates loose",
            "7001 --key K --max-loaded 0",
            "7001 --key K --max-head-bytes -1",
            "7001 --key K --max-head-bytes 1e3",
            "7001 --key K --idle-timeout 0",
            "7001 --key K --idle-timeout nan",
            "7001 --key K --idle-timeout inf",
            "7001 --key K\u00e9",
            "7001 --key K --listen-fd 5",
            "--listen-fd 5",
        ],
    )
    def test_wrong_usage(self, line: str) -> None:
        with pytest.raises(UsageError):
            parse(line.split())
