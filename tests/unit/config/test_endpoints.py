"""Endpoint strings: taken apart, made absolute, checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.endpoints import UNIXServerEndpoint, serverFromString

from sqsuper.config.endpoints import check_endpoint, take_apart

BASE = Path("/etc/sq super")


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("tcp:1337", "tcp:1337"),
        ("tcp:1337:interface=127.0.0.1:backlog=9", "tcp:1337:interface=127.0.0.1:backlog=9"),
        (r"tcp6:1337:interface=\:\:1", r"tcp6:1337:interface=\:\:1"),
        ("unix:run/s", "unix:/etc/sq super/run/s"),
        ("unix:/run/s:mode=600", "unix:/run/s:mode=600"),
        ("unix:address=s:lockfile=0", "unix:address=/etc/sq super/s:lockfile=0"),
        (r"unix:a\:b\\c\=d", r"unix:/etc/sq super/a\:b\\c\=d"),
        ("haproxy:unix:s", "haproxy:unix:/etc/sq super/s"),
        ("ssl:8443:k.pem:c.pem", "ssl:8443:/etc/sq super/k.pem:/etc/sq super/c.pem"),
        ("ssl:8443:privateKey=k=.pem:extraCertChain=/x/e.pem:dhParameters=dh",
         "ssl:8443:privateKey=/etc/sq super/k=.pem:extraCertChain=/x/e.pem:"
         "dhParameters=/etc/sq super/dh"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
    ],
)  # fmt: skip
def test_relative_paths(text: str, made: str) -> None:
    assert take_apart(text, BASE).text == made
    # What is absolute stays as it is.
    assert take_apart(made, Path("/elsewhere")).text == made


@pytest.mark.parametrize("name", ["s", "a b", "a:b", "a=b", "a\\b", "a\\:=b"])
def test_twisted_reads_the_path_that_was_meant(name: str) -> None:
    escaped = name.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
    endpoint = take_apart(f"unix:{escaped}", BASE)
    read = serverFromString(object(), endpoint.text)
    assert isinstance(read, UNIXServerEndpoint)
    assert read._address == f"/etc/sq super/{name}"


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("tcp:1:interface=127.0.0.1", True),
        ("tcp:1:interface=127.9.9.9", True),
        ("tcp:1:127.0.0.1", True),
        ("tcp:1:interface=localhost", True),
        (r"tcp6:1:interface=\:\:1", True),
        ("unix:s", True),
        ("tcp:1", False),
        ("tcp:1:interface=", False),
        ("tcp:1:interface=0.0.0.0", False),
        (r"tcp6:1:interface=\:\:", False),
        ("tcp:1:interface=10.0.0.1", False),
        ("haproxy:tcp:1", False),
        ("ssl:1:k:c:interface=127.0.0.1", True),
        ("ssl:1:k:c", False),
    ],
)
def test_loopback(text: str, loopback: bool) -> None:
    assert take_apart(text, BASE).loopback_only is loopback


@pytest.mark.parametrize(
    "text",
    [
        "tcp", "tcp:", "tcp:x", "tcp:-1", "tcp:65536", "tcp:1:interface=127.0.0.1:zzz=1",
        "tcp:1:backlog=x", "udp:1", "1337", ":1", "=1", "", "tcp:1\\", "port=1", "haproxy:",
        "haproxy:nope:1", "unix", "unix:s:mode=x", "unix:" + "s" * 108, "ssl:1", "TCP:1",
        "ssl:1:privateKey=/no/such/file:certKey=/no/such/file", "systemd:domain=X:index=0",
        "systemd:domain=INET", "systemd:domain=INET:index=x", "systemd:domain=INET:index=0:name=a",
        "tcp:\u0661",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"endpoint|socket's path"):
        check_endpoint(take_apart(text, BASE))


@pytest.mark.parametrize(
    "text",
    ["tcp:0", "tcp:65535", "tcp:port=1:interface=127.0.0.1", r"tcp6:1:interface=\:\:1", "unix:s",
     "haproxy:tcp:1", "systemd:domain=INET6:index=1", "systemd:domain=UNIX:name=gw"],
)  # fmt: skip
def test_taken(text: str) -> None:
    check_endpoint(take_apart(text, BASE))
